#!/usr/bin/env python3
"""Formats the code cells of the notebooks as rustfmt formats the crate; with --check it only says which are not.

A cell is no file: it is wrapped into a function for rustfmt, its options (`//|`) and dependencies (`:dep`) stay in front.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INDENT = 4


def formatted(source: str) -> str:
    """The cell as it should be; a cell that rustfmt cannot read, as one that shows a mistake on purpose, stays as it is."""
    lines = source.splitlines()
    head = 0
    while head < len(lines) and lines[head].startswith(("//|", ":")):
        head += 1
    body = "\n".join(lines[head:]).strip("\n")
    if not body.strip():
        return source
    # strings over several lines keep their place: what is put in front of every line here is taken off again below
    inside = "\n".join(" " * INDENT + line if line.strip() else line for line in body.splitlines())
    wrapped = "fn cell() {\n" + inside + "\n}\n"
    # lines may be wider by the wrapper's indent
    width = f"max_width={120 + INDENT}"
    config = ["--edition", "2024", "--config-path", str(ROOT), "--config", width]
    run = subprocess.run(["rustfmt", *config], input=wrapped, capture_output=True, text=True)
    if run.returncode:
        return source
    inner = run.stdout.rstrip("\n").splitlines()[1:-1]
    out = [line[INDENT:] if line.startswith(" " * INDENT) else line for line in inner]
    return "\n".join(lines[:head] + out)


def main() -> None:
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("--check", action="store_true", help="change nothing; exit code 1 where a cell would change")
    arguments = about.parse_args()
    found = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        book = json.loads(path.read_text(encoding="utf-8"))
        changed = False
        for number, cell in enumerate(book["cells"], 1):
            old = "".join(cell["source"])
            new = formatted(old) if cell["cell_type"] == "code" else old
            if new != old:
                found.append(f"{path.name}, cell {number}")
                cell["source"], changed = new.splitlines(keepends=True), True
        if changed and not arguments.check:
            path.write_text(json.dumps(book, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for place in found:
        print(f"{'not formatted' if arguments.check else 'formatted'}: {place}")
    sys.exit(bool(found) and arguments.check)


if __name__ == "__main__":
    main()
