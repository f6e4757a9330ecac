"""Which cells of a Rust notebook one cell needs: those that declare a name that it uses, and so on backwards.

It reads words and does not parse, so it keeps too many cells rather than too few: a word in a comment or a string counts as a use. What it cannot
see is a run that an earlier cell leaves in the store; whoever runs only the cells found here must be ready to run all of them.
"""
import re

WORD = re.compile(r"[A-Za-z_]\w*")
# cells are formatted by rustfmt: what a cell declares for those after it begins in the first column
LET = re.compile(r"^let\s+([^=:;]+)", re.MULTILINE)
ITEM = re.compile(r"^(?:pub\s+)?(?:fn|struct|enum|const|static|type|trait)\s+(\w+)", re.MULTILINE)
FOR_ALL = re.compile(r"^(?::dep|use|impl|macro_rules)\b|\bset_var\(", re.MULTILINE)


def declared(source: str) -> set[str]:
    """Names that a cell declares for the cells after it."""
    names = {word for pattern in LET.findall(source) for word in WORD.findall(pattern)}
    return (names | set(ITEM.findall(source))) - {"mut", "ref", "Some", "Ok"}


def changeable(source: str) -> set[str]:
    """Variables that a cell declares and a later one may change."""
    return {word for pattern in LET.findall(source) for word in re.findall(r"\bmut\s+(\w+)", pattern)}


def needed(sources: list[str], target: int) -> list[int]:
    """Places of the cells of code that the one at `target` needs, itself last."""
    kept, used = [target], set(WORD.findall(sources[target]))
    for at in range(target - 1, -1, -1):
        words = set(WORD.findall(sources[at]))
        variables = set().union(*(changeable(source) for source in sources[:at]))
        if FOR_ALL.search(sources[at]) or declared(sources[at]) & used or variables & used & words:
            kept.append(at)
            used |= words
    return kept[::-1]
