"""Reads the pip list out of environment.yml, the one list of the project's Python packages.

Only the shape that file has is understood: `dependencies:`, a `- pip:` entry and one `- name==version` a line.
"""
import re
from pathlib import Path

PIN = re.compile(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[A-Za-z0-9.+!_-]+")


def pip_list(text: str, where: str = "environment.yml") -> list[str]:
    """The pinned packages in the order of the file; anything not pinned to one version is an error."""
    packages, depth = [], None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].rstrip()
        entry = re.fullmatch(r"( *)- +(.+)", line)
        if not entry:
            continue
        indent, item = len(entry[1]), entry[2].strip().strip("\"'")
        if depth is not None and indent <= depth:
            depth = None
        if item == "pip:":
            depth = indent
        elif depth is not None:
            if not PIN.fullmatch(item):
                raise SystemExit(f"{where} line {number}: expected `- name==version` below `- pip:`, got `{item}`: pin it to one version")
            packages.append(item)
    if not packages:
        raise SystemExit(f"{where}: expected a `- pip:` list of pinned packages, found none")
    return packages


def read(path: Path) -> list[str]:
    return pip_list(path.read_text(), path.name)
