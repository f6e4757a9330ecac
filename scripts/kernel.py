#!/usr/bin/env python3
"""The notebooks' Rust kernel: evcxr on the project's lock file and release-speed profile, quick to start.

    kernel.py CONNECTION_FILE   what Jupyter calls
    kernel.py --seed            build what every kernel starts from (the slow part, once)
    kernel.py --seed --check    the same and a `cargo check`, which evcxr falls back to when it cannot tell a type

A kernel needs a build folder of its own: two in one folder overwrite each other's cells. So the dependencies are
built once in the project's `target/` (the same build that `cargo test` and the command use), gathered in
`target/kernel/seed`, and every kernel starts from a private copy, whose big files are hard links.
Half of a warm start is rust-analyzer reading the sources of all dependencies; `rust-analyzer-home/bin/cargo`
shows it only the packages named in `SEEN`.
"""
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
KERNEL = ROOT / "target" / "kernel"
SEED = KERNEL / "seed"
LINKED = (".rlib", ".rmeta", ".so", ".a", ".o")
# Packages whose types notebooks hold in variables. A type of another package needs an annotation in its `let`.
SEEN = "ctx|dxlab|anyhow|serde|serde_json|evcxr_runtime|polars|polars-(core|lazy|ops)"

# What evcxr's generated manifest gets wrong for numerical work; must equal [profile.dev] in Cargo.toml.
PROFILE = {
    "CARGO_PROFILE_DEV_OPT_LEVEL": "3",
    "CARGO_PROFILE_DEV_DEBUG_ASSERTIONS": "false",
    "CARGO_PROFILE_DEV_OVERFLOW_CHECKS": "false",
    "CARGO_TERM_COLOR": "never",
}
MANIFEST = """\
[package]
name = "ctx"
version = "1.0.0"
edition = "2024"

[lib]
crate-type = ["cdylib"]
path = "src/lib.rs"

[profile.dev]
opt-level = 3
debug = false
strip = "debuginfo"
rpath = true
lto = false
debug-assertions = false
codegen-units = 16
panic = "unwind"
incremental = true
overflow-checks = false

[dependencies]
dxlab = {{ path = "{root}" }}
"""


def rustc() -> dict:
    """`rustc -vV` as a table."""
    told = subprocess.run(["rustc", "-vV"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return dict(line.split(": ", 1) for line in told.splitlines() if ": " in line)


def ingredients() -> str:
    """Names everything that decides whether a gathered dependency may be used again; not the crate's own sources."""
    sha = hashlib.sha256(json.dumps([rustc(), MANIFEST, PROFILE], sort_keys=True).encode())
    for part in ("Cargo.lock", "Cargo.toml", ".cargo/config.toml"):
        sha.update((ROOT / part).read_bytes())
    return sha.hexdigest()


def quietly(command: list[str], log: str, **options) -> subprocess.CompletedProcess:
    """Build through `steps.build`, which shows progress."""
    sys.path.insert(0, str(ROOT / "scripts"))
    import steps

    return steps.build(command, log, **options)


def build_env() -> dict:
    """The environment in which evcxr itself calls cargo; a difference here means that everything is built twice."""
    own = {"CARGO_TARGET_DIR": "target", "CARGO_BUILD_BUILD_DIR": "target", "RUSTFLAGS": "-Cprefer-dynamic"}
    return os.environ | PROFILE | own


def units(messages: str):
    """(folder, package, hash, files) of every registry unit in cargo's JSON messages, below `target/`.

    cargo keeps a unit's marks in `.fingerprint/<package>-<hash>` beside the `deps` or `build` folder of its files.
    """
    for line in messages.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        package = message.get("package_id", "")
        if not package.startswith("registry+"):
            continue
        name = re.search(r"[#/]([^#/@]+)@[^@]*$", package)[1]
        if message["reason"] == "build-script-executed":
            made = Path(message["out_dir"]).parent
            yield made.parent.parent, name, made.name.rsplit("-", 1)[1], [made]
        elif message["reason"] == "compiler-artifact":
            files = [Path(file) for file in message["filenames"]]
            if "custom-build" in message["target"]["kind"]:
                made = files[0].parent
                yield made.parent.parent, name, made.name.rsplit("-", 1)[1], [made]
            else:
                unit = files[0].stem.rsplit("-", 1)[1]
                marks = [files[0].parent / f"{message['target']['name'].replace('-', '_')}-{unit}.d"]
                yield files[0].parent.parent, name, unit, files + marks


def place(source: Path, target: Path) -> None:
    """Hard-link what may be, copy the rest."""
    if source.is_dir():
        for inner in source.iterdir():
            place(inner, target / inner.name)
        return
    if not source.exists() or target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not hard_linked(source, target):
        shutil.copy2(source, target)


def duplicate(source: Path, target: Path) -> None:
    """All of the seed's build folder but what cells made in it, as `place` does; in one walk, as a kernel's start waits for it."""
    os.mkdir(target)
    for entry in os.scandir(source):
        to = os.path.join(target, entry.name)
        if entry.is_dir():
            if entry.name != "incremental":
                duplicate(entry.path, to)
        elif not re.match(r"(lib)?(ctx|code_\d+)\b", entry.name):
            if not hard_linked(entry, to):
                shutil.copy2(entry.path, to)


def hard_linked(source, target) -> bool:
    """Links what cargo never rewrites; a rewritten mark must not reach the original."""
    if not source.name.endswith(LINKED) or "dxlab" in source.name:
        return False
    try:
        os.link(source, target)
        return True
    except OSError:  # another file system, or one without links
        return False


def gather(messages: str) -> None:
    """Bring the dependencies built in `target/` into the seed."""
    shutil.rmtree(SEED, ignore_errors=True)
    for folder, package, unit, files in units(messages):
        to = SEED / "target" / folder.relative_to(ROOT / "target")
        for file in files:
            place(file, to / file.relative_to(folder))
        place(folder / ".fingerprint" / f"{package}-{unit}", to / ".fingerprint" / f"{package}-{unit}")


def seed(check: bool) -> None:
    """Build the dependencies in `target/`, gather them, and build the crate on top as evcxr will."""
    if not Path(sysroot(), "lib/rustlib/src/rust/library/Cargo.toml").exists():
        sys.exit("dxlab: the kernel needs the standard library's source and rustup has not installed it: run `rustup component add rust-src`")
    # `cargo metadata`, which evcxr and rust-analyzer call offline, also wants the packages of other systems
    quietly(["cargo", "fetch", "--locked"], "fetch")
    messages = quietly(["cargo", "build", "--locked", "--package", "dxlab", "--message-format=json-render-diagnostics"], "dxlab")
    with lock():
        key, stamp = ingredients(), SEED / "made-from"
        if not stamp.exists() or stamp.read_text() != key:
            gather(messages)
        (SEED / "src").mkdir(parents=True, exist_ok=True)
        for name, text in {"Cargo.toml": MANIFEST.format(root=ROOT), "src/lib.rs": ""}.items():
            if not (SEED / name).exists() or (SEED / name).read_text() != text:
                (SEED / name).write_text(text)
        shutil.copy(ROOT / "Cargo.lock", SEED / "Cargo.lock")
        for verb in ["build"] + ["check"] * check:
            quietly(["cargo", "--offline", verb, "--target", rustc()["host"]], "kernel" if verb == "build" else "kernel-check", env=build_env(), cwd=SEED)
        stamp.write_text(key)


def sysroot() -> str:
    return subprocess.run(["rustc", "--print", "sysroot"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


class lock:
    """One process at a time at the seed."""

    def __enter__(self):
        KERNEL.mkdir(parents=True, exist_ok=True)
        self.file = open(KERNEL / "lock", "w")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_):
        self.file.close()


def sweep() -> None:
    """Remove what kernels that were killed left behind."""
    for old in KERNEL.glob("run.*"):
        if not Path("/proc", old.name.split(".")[1]).exists():
            shutil.rmtree(old, ignore_errors=True)


def copy_of_seed(private: Path) -> None:
    """The private folder: Cargo.lock always; the seed when it fits, brought up to date with edited sources first."""
    private.mkdir(parents=True)
    with lock():
        stamp = SEED / "made-from"
        if stamp.exists() and stamp.read_text() == ingredients():
            command = ["cargo", "--offline", "build", "--quiet", "--target", rustc()["host"]]
            subprocess.run(command, cwd=SEED, env=build_env(), stdin=subprocess.DEVNULL)
        else:
            print("dxlab: the kernel's seed is missing or out of date, the first cell may take minutes: run `make kernel`", file=sys.stderr)
        duplicate(SEED / "target", private / "target")
    shutil.copy(ROOT / "Cargo.lock", private / "Cargo.lock")


def kernel_env(private: Path) -> dict:
    """evcxr's environment: offline, the project's profile, and a cargo for rust-analyzer that shows few packages."""
    cargo, home = shutil.which("cargo"), os.environ.get("CARGO_HOME", str(Path.home() / ".cargo"))
    config = private / "config" / "evcxr"
    config.mkdir(parents=True)
    # Builds get the real CARGO_HOME back, else every source path and so every dependency would be new.
    # A fixed linker, because evcxr changes RUSTFLAGS when it finds lld.
    # Its first build, of an empty crate, has cargo forget the lock file; without it the newest versions that this machine has ever
    # fetched would be taken, and built.
    kept, lost = (json.dumps(str(folder / "Cargo.lock")) for folder in (ROOT, private))
    again = f"std::fs::copy({kept}, {lost}).expect(\"Cargo.lock\");"
    (config / "init.evcxr").write_text(f":build_env CARGO_HOME={home}\n:linker system\n{again}\n")
    own = {
        "EVCXR_TMPDIR": str(private),
        "XDG_CONFIG_HOME": str(private / "config"),
        "CARGO_HOME": str(ROOT / "scripts" / "rust-analyzer-home"),
        "CARGO_NET_OFFLINE": "true",
        "CANDLE_NUM_THREADS": "1",  # as src/process.rs
        "DXLAB_HOME": os.environ.get("DXLAB_HOME", str(ROOT)),
        "DXLAB_REAL_CARGO": cargo or "cargo",
        "DXLAB_REAL_CARGO_HOME": home,
        "DXLAB_SEEN": SEEN,
    }
    return os.environ | PROFILE | own


def serve(connection: str) -> int:
    """Run evcxr on a private copy of the seed until Jupyter ends it."""
    sweep()
    private = KERNEL / f"run.{os.getpid()}"
    copy_of_seed(private)
    evcxr = TOOLS / "bin" / "evcxr_jupyter"
    command = [str(evcxr) if evcxr.exists() else "evcxr_jupyter", "--control_file", connection]
    # What it says itself (a heartbeat that broke because Jupyter was done) is no news for the reader of a notebook.
    (TOOLS / "log").mkdir(parents=True, exist_ok=True)
    with open(TOOLS / "log" / "evcxr.log", "ab") as said:
        child = subprocess.Popen(command, env=kernel_env(private), stdout=subprocess.DEVNULL, stderr=said)
    for hang_up in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(hang_up, lambda *_: child.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # interrupts reach evcxr as a message
    code = child.wait()
    shutil.rmtree(private, ignore_errors=True)
    return code


if __name__ == "__main__":
    if sys.argv[1:2] == ["--seed"]:
        seed(check="--check" in sys.argv)
    elif len(sys.argv) == 2:
        sys.exit(serve(sys.argv[1]))
    else:
        sys.exit(__doc__)
