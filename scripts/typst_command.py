"""A `typst` command on the Python package of that name: `typst compile IN OUT`, which is all that pandoc calls.

Letters come from the fonts typst carries and from the Source Sans package, never from the machine, so that the
PDF is the same everywhere; its time stamp is SOURCE_DATE_EPOCH, else that of the last commit.
"""
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import font_source_sans_pro
import typst

TAKES_VALUE = {"--root", "--font-path", "--format", "-f", "--features", "--input", "--ppi", "--pdf-standard"}


def moment() -> int | None:
    """Seconds since 1970 that the PDF is stamped with."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    told = subprocess.run(["git", "log", "-1", "--format=%ct"], capture_output=True, text=True, cwd=Path(__file__).parent)
    return int(told.stdout) if told.returncode == 0 and told.stdout.strip() else None


def parse(words: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Positional words, and options as {name: values}."""
    given, options, rest = [], {}, iter(words)
    for word in rest:
        name, _, value = word.partition("=")
        if name in TAKES_VALUE:
            options.setdefault(name, []).append(value or next(rest, ""))
        elif word == "-" or not word.startswith("-"):
            given.append(word)
    return given, options


def main() -> None:
    words = sys.argv[1:]
    if words[:1] in (["--version"], ["-V"]):
        print("typst", version("typst"))
        return
    if words[:1] not in (["compile"], ["c"]):
        sys.exit(f"typst: this is a small stand-in that knows `compile` and `--version` only, got {words}")
    given, options = parse(words[1:])
    if len(given) != 2:
        sys.exit(f"typst: expected an input and an output, got {given}")
    source, output = given
    fonts = [str(Path(font_source_sans_pro.__file__).parent / "files"), *options.get("--font-path", [])]
    more = {"root": options["--root"][-1]} if "--root" in options else {}
    if stamp := moment():
        more["timestamp"] = stamp
    text = sys.stdin.buffer.read() if source == "-" else source
    try:
        pdf = typst.compile(text, font_paths=fonts, ignore_system_fonts=True, **more)
    except (RuntimeError, typst.TypstError) as error:
        sys.exit(f"typst: {error}")
    sys.stdout.buffer.write(pdf) if output == "-" else Path(output).write_bytes(pdf)


if __name__ == "__main__":
    main()
