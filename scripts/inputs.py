"""What a notebook had read when a figure or table was made: runs and data files, under one short digest.

The library appends every text file that it reads to the list that DXLAB_READS names. A run counts by its folder, whose name holds the digest of
its settings; a file of `data/` counts by its content. Files elsewhere (open corpora, model weights) do not count: the chapters print their digests.
"""
import hashlib
from pathlib import Path

# The store opens this of every run to see what is there.
LOOKED_AT = {"spec.json"}


def _named(path: Path, root: Path) -> str | None:
    """How a file counts: its run's folder, or itself with the digest of its content; None where it does not count."""
    try:
        parts = path.relative_to(root).parts
    except ValueError:
        return None
    if len(parts) > 2 and parts[0] == "runs" and not parts[1].startswith(".") and parts[-1] not in LOOKED_AT:
        return f"runs/{parts[1]}"
    if len(parts) > 1 and parts[0] == "data" and path.is_file():
        return f"{'/'.join(parts)} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return None


def so_far(reads: Path, root: Path) -> dict:
    """{"runs": 4, "files": 1, "digest": "3f2a91c0d4e7"} of the list as it is now."""
    lines = set(reads.read_text(encoding="utf-8").splitlines()) if reads.exists() else set()
    named = sorted({name for line in lines if (name := _named(Path(line), root))})
    runs = sum(name.startswith("runs/") for name in named)
    digest = hashlib.sha256("\n".join(named).encode()).hexdigest()[:12]
    return {"runs": runs, "files": len(named) - runs, "digest": digest}
