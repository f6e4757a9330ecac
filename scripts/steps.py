"""Steps that say what they do, why, how long it takes and how long it took; done steps are skipped.

A step is in place when its stamp in `.tools/stamps` holds the key it would be made from (versions, digests).
Estimates come from this machine's own last run where there was one, else from the table below (two cores). A first guess of a step that
computes is multiplied by this machine's pace: how long the steps done here for the first time took against theirs (`.tools/pace.json`).
"""
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
STAMPS = TOOLS / "stamps"
SECONDS = TOOLS / "seconds.json"
PACE = TOOLS / "pace.json"
HEARTBEAT = 10.0

# Seconds on two idle cores with empty caches, for a machine that has no record of its own yet.
FIRST_GUESS = {
    "rust-src": 10,
    "python": 60,
    "smollm2": 20,
    "hpo": 20,
    "evcxr_jupyter": 600,
    "mdbook-pandoc": 120,
    "preprocessor": 60,
    "dxlab": 1000,
    "kernel": 180,
    "kernel-check": 150,
    "book": 10,
    "workbook": 20,
}
# These wait for the network: how long they take says nothing about the machine.
DOWNLOADS = {"rust-src", "python", "smollm2", "hpo"}


def spell(seconds: float) -> str:
    """42 -> '42 s', 400 -> '6 min 40 s'."""
    whole = round(seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60:02d} s"


def digest(*parts: object) -> str:
    """One short name for everything a step is made from; a file counts by its content, a folder by its name."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.read_bytes() if isinstance(part, Path) and part.is_file() else str(part).encode())
        sha.update(b"\0")
    return sha.hexdigest()[:16]


def say(line: str) -> None:
    print(line, flush=True)


def bad_input(what: str) -> None:
    """Ends with the exit code of bad input."""
    print(what, file=sys.stderr, flush=True)
    raise SystemExit(2)


def read_numbers(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def write_numbers(path: Path, numbers: dict) -> None:
    TOOLS.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(numbers, indent=1, sort_keys=True))
    part.replace(path)


def remember(name: str, seconds: float) -> None:
    """Keeps how long a step took; the first time also for the estimates of the steps that were never done here."""
    known = read_numbers(SECONDS)
    if name in FIRST_GUESS.keys() - DOWNLOADS - known.keys():
        sums = read_numbers(PACE)
        took, guessed = sums.get("took", 0) + seconds, sums.get("guessed", 0) + FIRST_GUESS[name]
        write_numbers(PACE, {"took": round(took, 1), "guessed": guessed})
    write_numbers(SECONDS, known | {name: round(seconds, 1)})


def pace() -> float:
    """Seconds that this machine takes for one second of the first guesses: a ratio of sums, so long steps weigh more; 1 before any step."""
    sums = read_numbers(PACE)
    return sums["took"] / sums["guessed"] if sums.get("took") and sums.get("guessed") else 1.0


def estimate(name: str) -> float | None:
    """Seconds that a step will take: what it took here, else its first guess at this machine's pace."""
    known = read_numbers(SECONDS).get(name)
    guess = FIRST_GUESS.get(name)
    if known is not None or guess is None:
        return known
    return guess if name in DOWNLOADS else guess * pace()


class Plan:
    """The numbered steps of one command."""

    def __init__(self, total: int):
        self.total, self.at, self.start = total, 0, time.monotonic()

    @contextmanager
    def step(self, name: str, what: str, why: str, skips: bool = False):
        """Announce, time and remember one step. An exception leaves no record.

        A step that `skips` finds out by itself whether there is anything to do; only what it took to do it is remembered.
        """
        self.at += 1
        guess = estimate(name)
        about = f"about {spell(guess)}" if guess else "no estimate yet"
        about += ", a moment when nothing changed" * skips
        say(f"[{self.at}/{self.total}] {what}: {why} ({about})")
        begin = time.monotonic()
        yield
        took = time.monotonic() - begin
        if not skips or took > 10:
            remember(name, took)
        say(f"      done in {spell(took)}, {spell(time.monotonic() - self.start)} since the start")

    def stamped(self, name: str, key: str, there: bool, what: str, why: str, make) -> None:
        """Run `make` unless its product is there and the stamp says that it was made from the same `key`."""
        stamp = STAMPS / name

        def make_and_stamp() -> None:
            make()
            STAMPS.mkdir(parents=True, exist_ok=True)
            stamp.write_text(key)

        self.unless(there and stamp.exists() and stamp.read_text() == key, name, what, why, make_and_stamp)

    def unless(self, there: bool, name: str, what: str, why: str, make) -> None:
        """Run `make` unless its product is known to be there."""
        if there:
            self.at += 1
            say(f"[{self.at}/{self.total}] {what}: in place")
            return
        with self.step(name, what, why):
            make()


def own_findings() -> Path | None:
    """The file or folder that DXLAB_FINDINGS names, made absolute, as the notebooks run in a folder of their own; None where it is not set."""
    named = os.environ.get("DXLAB_FINDINGS")
    if not named:
        return None
    path = Path(named).expanduser().absolute()
    if not path.exists():
        sys.exit(f"dxlab: DXLAB_FINDINGS names `{named}`, and {path} does not exist: give a path from this folder, or an absolute one")
    os.environ["DXLAB_FINDINGS"] = str(path)
    return path


class Heartbeat:
    """Prints `line()` every few seconds until the block ends."""

    def __init__(self, line, every: float = HEARTBEAT):
        self.line, self.every, self.over = line, every, threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self._beat, daemon=True)
        self.thread.start()
        return self

    def _beat(self):
        while not self.over.wait(self.every):
            say(self.line())

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def build(command: list[str], name: str, env: dict | None = None, cwd: Path = ROOT) -> str:
    """Run a long command, report how far it is every few seconds, return what it wrote to stdout.

    What it says on stderr goes to `.tools/log/<name>.log`; its end is shown when the command fails.
    """
    log = TOOLS / "log" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    begin, guess = time.monotonic(), estimate(name)

    def progress() -> str:
        crates = len(re.findall(r"^\s*Compiling ", log.read_text(errors="replace"), re.M))
        so_far = f"{crates} crates compiled, " if crates else ""
        took = time.monotonic() - begin
        of = "" if not guess else f" of about {spell(guess)}" if took < guess else f", longer than the {spell(guess)} that were expected"
        return f"      … {so_far}{spell(took)}{of}"

    with log.open("wb") as err, Heartbeat(progress):
        try:
            done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=err, text=True)
        except FileNotFoundError:
            sys.exit(f"dxlab: `{command[0]}` was not found: install it (see README.md) and run the command again")
    if done.returncode:
        tail = "\n".join((log.read_text(errors="replace") + done.stdout[-2000:]).splitlines()[-40:])
        sys.exit(f"{tail}\n\ndxlab: `{' '.join(command)}` failed with exit code {done.returncode}; all of it is in {log}")
    return done.stdout
