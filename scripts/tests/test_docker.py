"""The Dockerfile without an engine: what it copies exists and reaches the builder, and what it runs is known."""
import ast
import json
import re
import tomllib
import unittest
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def instructions() -> list[tuple[str, str]]:
    """Keyword and rest of every instruction, continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def of(keyword: str) -> list[str]:
    return [rest for found, rest in instructions() if found == keyword]


def ignored(path: str) -> bool:
    """By the last line of .dockerignore that fits the path or a folder above it."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!")
        if pattern and not line.startswith("#"):
            parts = path.split("/")
            prefixes = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
            if any(fnmatch(prefix, pattern) for prefix in prefixes):
                out = not line.startswith("!")
    return out


class Dockerfile(unittest.TestCase):
    def test_what_it_copies_exists_and_is_sent_to_the_builder(self):
        copied = [rest.split()[:-1] for rest in of("COPY") if not rest.startswith("--from")]
        self.assertGreater(len(copied), 5)
        for path in sum(copied, []):
            self.assertTrue((ROOT / path).exists(), path)
            self.assertFalse(ignored(path), f"{path} is in .dockerignore")

    def test_runs_and_results_stay_at_home(self):
        for path in ("runs/train-x/adapter/adapter_model.safetensors", ".git/config", ".tools/venv/bin/python", "results.xlsx", ".env", "scripts/tools.py"):
            self.assertTrue(ignored(path), path)

    def test_stages_that_are_copied_from_are_there(self):
        stages = [rest.split()[-1] for rest in of("FROM") if " AS " in rest]
        for rest in of("COPY"):
            if rest.startswith("--from="):
                self.assertIn(rest.split()[0].removeprefix("--from="), stages)

    def test_everything_that_cargo_needs_to_read_the_workspace_is_copied(self):
        copied = {path.rstrip("/") for rest in of("COPY") if not rest.startswith("--from") for path in rest.split()[:-1]}
        manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
        self.assertLessEqual({*manifest["workspace"]["members"], "src", "benches", "Cargo.lock", "rust-toolchain.toml"}, copied)
        for source in (ROOT / "src").rglob("*.rs"):
            for name in re.findall(r'include_(?:str|bytes)!\("((?:\.\./)[^"]+)"\)', source.read_text()):
                path = (source.parent / name).resolve().relative_to(ROOT)
                self.assertTrue(any(path.is_relative_to(root) for root in copied), f"{source}: {path} is not copied")

    def test_the_toolchain_is_the_projects(self):
        channel = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
        self.assertTrue(of("FROM")[0].startswith(f"rust:{channel}-"))

    def test_the_command_and_its_flags_are_known_and_the_model_is_the_installed_one(self):
        command, flags = json.loads(of("CMD")[0]), re.findall(r"^    (\w+):", (ROOT / "src/cli/serve.rs").read_text(), re.M)
        self.assertEqual(json.loads(of("ENTRYPOINT")[0])[0], "dxlab")
        self.assertEqual(command[0], "serve")
        for flag in (word for word in command if word.startswith("--")):
            self.assertIn(flag.removeprefix("--").replace("-", "_"), flags)
        self.assertTrue(any(rest.endswith(f"models.py {command[command.index('--model') + 1]}") for rest in of("RUN")))

    def test_it_runs_without_rights_and_is_asked_for_its_health(self):
        users = of("USER")
        self.assertEqual(len(users), 1)
        self.assertNotIn(users[0], ("root", "0"))
        health = of("HEALTHCHECK")[0]
        port = of("EXPOSE")[0]
        self.assertIn(f"http://127.0.0.1:{port}/health", health)
        self.assertIn('.route("/health"', (ROOT / "src/serve/routes.rs").read_text())
        probe = ast.literal_eval(health.split("CMD", 1)[1].strip())
        self.assertTrue(any(f" {probe[0]}" in rest for rest in of("RUN")), f"{probe[0]} is installed")
        self.assertEqual(json.loads(of("CMD")[0])[-1], port)


if __name__ == "__main__":
    unittest.main()
