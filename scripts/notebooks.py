#!/usr/bin/env python3
"""Runs notebooks top to bottom in the Rust kernel and fails on everything a reader would call an error.

Jupyter's own tools take a panicked cell for a good one, because evcxr catches the panic and answers "ok". Here a
cell is bad when it does not compile, panics, returns an error by `?` or says anything on stderr; with --check also
when what it shows differs from what is stored. Tags of a cell: `no-compare` (times and the like), `raises-exception`.
"""
import argparse
import copy
import hashlib
import logging
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete, CellExecutionError, DeadKernelError
from nbclient.util import ensure_async

import compare
import inputs
import kernel
import needed
import steps

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
KERNEL = {"display_name": "Rust (dxlab)", "language": "rust", "name": "dxlab"}
LANGUAGE = {"file_extension": ".rs", "mimetype": "text/rust", "name": "Rust"}
# evcxr reads stderr beside stdout: an error may arrive with the next cell, so one more cell is run at the end.
FLUSH = 'std::thread::sleep(std::time::Duration::from_millis(200)); println!("flushed");'


class Client(NotebookClient):
    """Keeps what a cell printed although the kernel had called it done already, which nbclient drops: evcxr reads the lines of its
    process beside the end of a cell."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.asked = {}
        self.heard, self.said = time.monotonic(), ""

    def hear(self, text: str) -> None:
        """A sign of life: when it came, and its last line."""
        self.heard = time.monotonic()
        self.said = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), self.said)

    async def _async_poll_output_msg(self, parent_msg_id, cell, cell_index):
        self.asked[parent_msg_id] = (cell, cell_index)
        while True:
            message = await ensure_async(self.kc.iopub_channel.get_msg(timeout=None))
            of = message["parent_header"].get("msg_id")
            if message["msg_type"] == "stream":
                self.hear(message["content"]["text"])
            try:
                if of == parent_msg_id:
                    self.process_message(message, cell, cell_index)
                elif of in self.asked and message["msg_type"] == "stream":
                    self.process_message(message, *self.asked[of])
            except CellExecutionComplete:
                return


class Bad(Exception):
    """Why a notebook failed; the message is for the reader."""


def uncompared(cell) -> bool:
    """Whether what a cell shows may differ from run to run. Then the digest of its source tells whether its output is that of an older text."""
    return "no-compare" in cell.metadata.get("tags", [])


def first_line(source: str) -> str:
    """What a cell is about: its first line of code."""
    lines = [line.strip() for line in source.splitlines()]
    return next((line[:60] for line in lines if line and not line.startswith("//")), "")


def complaint(cell, allowed: bool) -> str | None:
    """What is wrong with an executed cell."""
    found = compare.shown(cell.outputs)
    if allowed:
        return None
    if "error" in found:
        return "\n".join(part for part in (found["error"], found.get("stderr", "")) if part)
    return found.get("stderr")


LABEL = re.compile(r"^//\| label: (\S+)", re.MULTILINE)


class Run:
    """One execution of one notebook."""

    def __init__(self, path: Path, arguments):
        self.path, self.arguments, self.name = path, arguments, path.stem
        self.stored = nbformat.read(path, 4)
        self.fresh = copy.deepcopy(self.stored)
        self.code = [i for i, cell in enumerate(self.fresh.cells) if cell.cell_type == "code" and cell.source.strip()]
        self.seconds: list[float] = []

    def execute(self, wanted: list[int] | None = None) -> None:
        """Run the cells of these indices one after the other, all of them where none are given; raises Bad at the first that fails."""
        client = Client(
            self.fresh, kernel_name=KERNEL["name"], timeout=None, startup_timeout=300, record_timing=False,
            coalesce_streams=True, allow_errors=True, resources={"metadata": {"path": str(self.path.parent)}},
        )
        self.began = time.monotonic()
        self.fresh.cells.append(nbformat.v4.new_code_cell(FLUSH))
        with tempfile.TemporaryDirectory() as folder:
            self.reads = Path(folder) / "reads"
            os.environ["DXLAB_READS"] = str(self.reads)
            with client.setup_kernel():
                for at, index in enumerate([*(self.code if wanted is None else wanted), len(self.fresh.cells) - 1], 1):
                    self.cell(client, at, index)
        self.fresh.cells.pop()

    def cell(self, client, at: int, index: int) -> None:
        """One cell, with a sign of life every few seconds; the last line that it printed is shown, as trainings and questions print progress."""
        cell, begin = self.fresh.cells[index], time.monotonic()
        place = self.code.index(index) + 1 if index in self.code else len(self.code)
        where = f"{self.name}, cell {place}/{len(self.code)}"
        client.heard, client.said, silent = begin, "", False

        def alive() -> str:
            nonlocal silent
            if time.monotonic() - client.heard > self.arguments.timeout and not silent:
                silent = True
                client.km.provisioner.process.kill()  # nbclient then finds the kernel dead
            return f"      … {where}: {steps.spell(time.monotonic() - begin)}  {client.said[:110] or first_line(cell.source)}"

        with steps.Heartbeat(alive):
            try:
                client.execute_cell(cell, index, execution_count=at)
            except DeadKernelError:
                why = f"printed nothing for {self.arguments.timeout} s and was stopped (--timeout allows more)" if silent else "the kernel died"
                raise Bad(f"{where}: {why}: `{first_line(cell.source)}`")
            except CellExecutionError as error:
                raise Bad(f"{where}: {error}")
        self.seconds.append(time.monotonic() - (self.began if at == 1 else begin))
        if wrong := complaint(cell, "raises-exception" in cell.metadata.get("tags", [])):
            raise Bad(f"{where} (or the one before): `{first_line(cell.source)}`\n{indent(wrong)}")
        if uncompared(cell):
            cell.metadata["dxlab_source"] = hashlib.sha256(cell.source.encode()).hexdigest()[:12]
        if LABEL.search(cell.source):
            cell.metadata["dxlab"] = {"inputs": inputs.so_far(self.reads, ROOT), "seconds": round(time.monotonic() - self.began)}

    def other_inputs(self) -> list[str]:
        """Figures and tables that were made from other runs or data than those stored."""
        made = lambda cell: cell.metadata.get("dxlab", {}).get("inputs")
        pairs = [(self.stored.cells[index], self.fresh.cells[index]) for index in self.code]
        return [LABEL.search(new.source)[1] for old, new in pairs if LABEL.search(new.source) and made(old) != made(new)]

    def changes(self) -> list[str]:
        """What the cells show now and did not when they were stored."""
        found = []
        for at, index in enumerate(self.code, 1):
            old, new = self.stored.cells[index], self.fresh.cells[index]
            if not uncompared(new):
                found += [f"cell {at}: {change}" for change in compare.differences(old.outputs, new.outputs)]
            elif old.metadata.get("dxlab_source") != new.metadata.get("dxlab_source"):
                found.append(f"cell {at}: was edited after its output was stored")
        return found

    def write(self) -> None:
        """Store the fresh outputs in canonical form, beside first and then under the name."""
        count = 0
        for index, cell in enumerate(self.fresh.cells):
            cell.metadata.pop("execution", None)
            before = self.stored.cells[index].metadata.get("dxlab")
            if before and before["inputs"] == cell.metadata.get("dxlab", {}).get("inputs"):
                cell.metadata["dxlab"] = before  # the same work: its seconds need not change with every writing
            if cell.cell_type == "code":
                count += 1
                cell.execution_count = count
                cell.outputs = [nbformat.from_dict(output) for output in compare.canonical(cell.outputs, count)]
        self.fresh.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
        part = self.path.with_suffix(".tmp")
        nbformat.write(self.fresh, part)
        part.replace(self.path)


def indent(words: str) -> str:
    """At most forty lines, without a panic's stack."""
    words = words.split("stack backtrace:")[0]
    return "\n".join("      " + line for line in words.strip().splitlines()[:40])


def canonical_already(run: Run) -> bool:
    """Nothing but a tolerated difference would be written."""
    cells = [cell for cell in run.stored.cells if cell.cell_type == "code"]
    counted = all(cell.execution_count == count and "execution" not in cell.metadata for count, cell in enumerate(cells, 1))
    return counted and run.stored.metadata == {"kernelspec": KERNEL, "language_info": LANGUAGE}


def one(path: Path, arguments) -> bool:
    """Run one notebook and say in one line how it went."""
    run = Run(path, arguments)
    guess = steps.estimate(f"notebook {run.name}")
    steps.say(f"      {run.name}: {len(run.code)} code cells" + (f", about {steps.spell(guess)}" if guess else ", no estimate yet"))
    try:
        run.execute()
    except Bad as bad:
        steps.say(f"FAIL  {run.name}: {bad}")
        return False
    took = time.monotonic() - run.began
    changes = run.changes()
    if arguments.check and changes:
        steps.say(f"FAIL  {run.name}: shows something else than what is stored (`make notebooks` stores it anew)\n{indent(chr(10).join(changes))}")
        return False
    stored, other = "", run.other_inputs()
    if arguments.write and (changes or other or not canonical_already(run)):
        run.write()
        stored = f"; stored, {len(changes)} outputs changed"
    elif arguments.check and other and not os.environ.get("DXLAB_FINDINGS"):
        steps.say(f"note  {run.name}: shows the same from other inputs than those stored: {', '.join(other)} (`make notebooks` stores their digests)")
    slowest = max(range(len(run.seconds)), key=lambda i: run.seconds[i] if i else 0)
    steps.say(
        f"ok    {run.name}: {steps.spell(took)} (first result after {steps.spell(run.seconds[0])}, "
        f"slowest later cell {slowest + 1} of {len(run.code)}: {steps.spell(run.seconds[slowest])}){stored}"
    )
    steps.remember(f"notebook {run.name}", took)
    return True


def labelled(label: str) -> tuple[Path, int]:
    """The notebook and the index of the cell that makes a figure or table."""
    known = []
    for path in sorted(FOLDER.glob("*.ipynb")):
        for index, cell in enumerate(nbformat.read(path, 4).cells):
            found = LABEL.search(cell.source) if cell.cell_type == "code" else None
            if found and found[1] == label:
                return path, index
            known += [found[1]] if found else []
    sys.exit(f"dxlab: no figure or table `{label}`; there are: {', '.join(known)}")


def reproduce(label: str, place: tuple[Path, int], arguments) -> bool:
    """Run what one figure or table needs, keep what it shows, and say whether it is what is stored."""
    path, index = place
    run = Run(path, arguments)
    before = [one for one in run.code if one <= index]
    places = needed.needed([run.stored.cells[one].source for one in before], len(before) - 1)
    some = [before[at] for at in places]
    steps.say(f"      {label}: {run.name}, cell {len(before)} of {len(run.code)}, with {len(some) - 1} of the {len(before) - 1} before it")
    changes, wrong = made(run, index, some)
    if (wrong or changes) and some != before:
        steps.say("      not as stored: once more, with all cells before it")
        run = Run(path, arguments)
        changes, wrong = made(run, index, before)
    if wrong:
        steps.say(f"FAIL  {run.name}: {wrong}")
        return False
    endings = {"image/svg+xml": "svg", "text/markdown": "md", "stdout": "txt"}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for kind, words in compare.shown(run.fresh.cells[index].outputs).items():
        if kind in endings:
            file = arguments.out / f"{label}.{endings[kind]}"
            file.write_text(words, encoding="utf-8")
            steps.say(f"      {file}")
    steps.say(f"{'FAIL ' if changes else 'ok   '} {label}: {steps.spell(time.monotonic() - run.began)}, "
              + ("other than what is stored\n" + indent(chr(10).join(changes)) if changes else "as stored"))
    return not changes


def made(run: Run, index: int, cells: list[int]) -> tuple[list[str], Bad | None]:
    """Run these cells: how what the cell of `index` shows differs from what is stored, or why one failed."""
    try:
        run.execute(cells)
    except Bad as bad:
        return [], bad
    return compare.differences(run.stored.cells[index].outputs, run.fresh.cells[index].outputs), None


def find(names: list[str]) -> list[Path]:
    """Notebook files for names such as `01-data`, paths, or nothing at all, which means all of them."""
    known = sorted(FOLDER.glob("*.ipynb"))
    if not names:
        return known
    found = []
    for name in names:
        path = Path(name) if name.endswith(".ipynb") else FOLDER / f"{name}.ipynb"
        if not path.exists():
            sys.exit(f"dxlab: no notebook `{name}`; there are: {', '.join(p.stem for p in known) or 'none'}")
        found.append(path.resolve())
    return found


def main() -> None:
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("names", nargs="*", metavar="NAME", help="01-data or a path; default: all in notebooks/")
    about.add_argument("--timeout", type=int, default=1800, help="seconds that a cell may run without printing anything (default %(default)s)")
    what = about.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="fail when a cell shows something else than what is stored")
    what.add_argument("--write", action="store_true", help="store what the cells show")
    what.add_argument("--reproduce", metavar="LABEL", help="run only what one figure or table needs, such as fig-curve, and compare it with what is stored")
    about.add_argument("--out", type=Path, default=ROOT / "book/build/reproduced", help="folder that --reproduce writes to (default %(default)s)")
    arguments = about.parse_args()
    steps.own_findings()
    logging.getLogger("traitlets").setLevel(logging.CRITICAL)
    paths = find(arguments.names)
    place = labelled(arguments.reproduce) if arguments.reproduce is not None else None  # a mistyped label should not cost a build
    kernel.seed(check=False)  # a moment when nothing changed; otherwise the first cell would build for minutes, unseen
    try:
        if arguments.reproduce is not None:
            sys.exit(not reproduce(arguments.reproduce, place, arguments))
        good = [one(path, arguments) for path in paths]
    except NoSuchKernel:
        sys.exit("dxlab: Jupyter does not know the kernel `dxlab`: run `make tools` and start this with .tools/venv/bin/python")
    steps.say(f"      {sum(good)} of {len(good)} notebooks ran without error")
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
