#!/usr/bin/env python3
"""`make report`: from a fresh clone to the report and the workbook.

    report.py           tools, notebooks, book, workbook
    report.py book      the book from the notebooks as they are stored
"""
import glob
import os
import subprocess
import sys
from pathlib import Path

import kernel
import steps
import tools
from steps import ROOT, TOOLS

PAGES = ROOT / "book/build/html/index.html"
PDF = ROOT / "book/build/report.pdf"
WORKBOOK = ROOT / "results.xlsx"


def command() -> Path:
    """`dxlab` as the tools' last step built it."""
    return ROOT / "target" / kernel.rustc()["host"] / "debug" / "dxlab"


def checked(path: Path) -> None:
    """Stops at findings that `dxlab data check` refuses, before anything runs for hours."""
    done = subprocess.run([str(command()), "data", "check", str(path)], cwd=ROOT, capture_output=True, text=True)
    steps.say(done.stdout.rstrip())
    if done.returncode:
        sys.exit(f"{done.stderr.rstrip()}\ndxlab: the report was not begun: mend {path} first")


def notebooks(plan: steps.Plan) -> None:
    """All notebooks, top to bottom; what they show is stored when it changed."""
    names = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    known = [steps.estimate(f"notebook {name}") for name in names]
    if all(known):
        steps.remember("notebooks", sum(known))
    with plan.step("notebooks", f"{len(names)} notebooks", "runs every cell in the Rust kernel and keeps what it shows"):
        if subprocess.run([str(tools.PYTHON), str(ROOT / "scripts/notebooks.py"), "--write"], cwd=ROOT).returncode:
            sys.exit("dxlab: a notebook failed, see above; the report was not built")


def book(plan: steps.Plan) -> None:
    """HTML and PDF by mdbook; a missing PDF is an error here."""
    env = os.environ | {"PATH": f"{tools.BIN}{os.pathsep}{os.environ['PATH']}"}
    with plan.step("book", "the report", "chapters from the executed notebooks, as HTML and PDF"):
        PDF.unlink(missing_ok=True)
        steps.build([str(tools.BIN / "mdbook"), "build", "book"], "book", env=env)
        if not PDF.exists():
            sys.exit(f"dxlab: mdbook made no {PDF}: see {TOOLS / 'log/book.log'}")


def workbook(plan: steps.Plan) -> None:
    """Every prediction of every run, in one spreadsheet."""
    runs = sorted(glob.glob(str(ROOT / "runs/*/preds.jsonl")))
    if not runs:
        sys.exit("dxlab: the notebooks left no runs/*/preds.jsonl, so there is nothing to put into results.xlsx")
    with plan.step("workbook", "results.xlsx", f"every case of {len(runs)} runs with the raw answer, its labels and the metrics"):
        steps.build([str(command()), "workbook", *runs, "--of", "findings", "--grid", "configs/grid.toml", "--out", str(WORKBOOK)], "workbook")


def main() -> None:
    own = steps.own_findings()
    if sys.argv[1:] == ["book"]:
        book(steps.Plan(1))
    else:
        plan = steps.Plan(tools.STEPS + 3)
        tools.install(plan)
        if own:
            checked(own)
        notebooks(plan)
        book(plan)
        workbook(plan)
    for file in (PAGES, PDF, WORKBOOK):
        if file.exists():
            steps.say(f"      {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
