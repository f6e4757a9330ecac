#!/usr/bin/env python3
"""Checks in the real kernel that the runner fails where Jupyter's own tools do not; takes about a minute.

Every notebook in `notebooks/` here but `good` has one fault. Started by `make check`.
"""
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FAULTS = {  # notebook: what the runner's complaint must hold
    "panic": "the sum must be three",
    "question_mark": "invalid digit found in string",
    "not_rust": "no_such_function",
    "changed": "stdout changed",
}


def run(name: str) -> subprocess.CompletedProcess:
    command = [sys.executable, HERE.parent / "notebooks.py", "--check", HERE / "notebooks" / f"{name}.ipynb"]
    return subprocess.run(command, capture_output=True, text=True)


def main() -> None:
    wrong = []
    for name, words in FAULTS.items():
        done = run(name)
        told = done.returncode == 1 and words in done.stdout and "not reached" not in done.stdout
        print("ok   " if told else "FAIL ", f"the runner rejects {name}.ipynb", flush=True)
        wrong += [] if told else [f"{name}: exit code {done.returncode}\n{done.stdout}{done.stderr}"]
    done = run("good")
    print("ok   " if done.returncode == 0 else "FAIL ", "the runner accepts good.ipynb", flush=True)
    wrong += [] if done.returncode == 0 else [f"good: exit code {done.returncode}\n{done.stdout}{done.stderr}"]
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
