"""What a cell showed, made comparable: streams merged, cargo's chatter and progress lines dropped, numbers within a tolerance."""
import math
import re

NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
CARGO = re.compile(r"^\s*(Compiling|Checking|Finished|Blocking|Updating|Downloading|Downloaded|Locking|Adding) ")
# Lines that tell how far a cell is start so; they are shown while it runs and neither stored nor compared.
PROGRESS = "… "
# Relative, absolute. A coordinate of a figure is a whole pixel, so a rounding may move it by one.
TOLERANCE = {"image/svg+xml": (1e-4, 1.01)}
USUAL = (1e-4, 1e-6)


def text(value) -> str:
    """nbformat stores text as one string or as a list of lines."""
    return "".join(value) if isinstance(value, list) else str(value)


def kept(stream: str, words: str) -> str:
    """A stream without progress lines and, on stderr, without what cargo says."""
    lines = [line for line in words.splitlines(True) if not line.startswith(PROGRESS)]
    return "".join(line for line in lines if not (stream == "stderr" and (CARGO.match(line) or not line.strip())))


def shown(outputs: list) -> dict:
    """{'stdout' | 'stderr' | 'error' | mime type: text} of one cell."""
    found: dict[str, str] = {}
    for output in outputs:
        kind = output["output_type"]
        if kind == "stream":
            words = kept(output["name"], text(output["text"]))
            if words.strip():
                found[output["name"]] = found.get(output["name"], "") + words
        elif kind == "error":
            found["error"] = text(output.get("evalue") or "\n".join(output.get("traceback", [])) or "the kernel gave no reason")
        else:
            found.update({mime: text(value) for mime, value in output["data"].items()})
    return found


def same(one: str, other: str, tolerance=USUAL) -> bool:
    """Equal text, numbers equal within the tolerance."""
    if one == other:
        return True
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    relative, absolute = tolerance
    pairs = zip(map(float, NUMBER.findall(one)), map(float, NUMBER.findall(other)))
    return all(math.isclose(a, b, rel_tol=relative, abs_tol=absolute) for a, b in pairs)


def excerpt(one: str, other: str) -> tuple[str, str]:
    """Both texts around the first place where they differ."""
    at = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
    begin = max(0, at - 40)
    return one[begin : at + 80], other[begin : at + 80]


def differences(stored: list, fresh: list) -> list[str]:
    """One sentence for every part of a cell's output that changed."""
    before, now = shown(stored), shown(fresh)
    found = []
    for part in sorted(before.keys() | now.keys()):
        one, other = before.get(part, ""), now.get(part, "")
        if not same(one, other, TOLERANCE.get(part, USUAL)):
            was, got = excerpt(one, other)
            found.append(f"{part} changed: stored …{was!r}…, now …{got!r}…")
    return found


def canonical(outputs: list, count: int) -> list:
    """The outputs as they are stored: no stderr, no progress, one stream, nothing that changes from run to run."""
    words, rest = "", []
    for output in outputs:
        if output["output_type"] == "stream":
            if output["name"] == "stdout":
                words += kept("stdout", text(output["text"]))
        else:
            output = dict(output) | {"metadata": {}}
            if output["output_type"] == "execute_result":
                output["execution_count"] = count
            rest.append(output)
    stream = [{"output_type": "stream", "name": "stdout", "text": words}] if words.strip() else []
    return stream + rest
