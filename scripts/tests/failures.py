#!/usr/bin/env python3
"""Checks in the real kernel that the runner fails where Jupyter's own tools do not; takes about two minutes.

Every notebook in `notebooks/` here but `good` has one fault; that of `silent` is that its second cell never ends. Started by `make check`.
"""
import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).resolve().parent
FAULTS = {  # notebook: what the runner's complaint must hold
    "panic": "the sum must be three",
    "question_mark": "invalid digit found in string",
    "not_rust": "no_such_function",
    "changed": "stdout changed",
    "edited": "was edited after its output was stored",
    "silent": "printed nothing for 20 s",
}
OPTIONS = {"silent": ["--timeout", "20"]}


def run(name: str) -> subprocess.CompletedProcess:
    command = [sys.executable, HERE.parent / "notebooks.py", "--check", *OPTIONS.get(name, []), HERE / "notebooks" / f"{name}.ipynb"]
    return subprocess.run(command, capture_output=True, text=True)


def kept_when_late() -> bool:
    """A line that a kernel sends after it has called its cell done stays with that cell."""
    sys.path.insert(0, str(HERE.parent))
    import notebooks
    from nbformat import v4

    def message(cell: str, kind: str, **content) -> dict:
        return {"parent_header": {"msg_id": cell}, "msg_type": kind, "header": {"msg_type": kind}, "content": content}

    def said(cell: str, text: str) -> dict:
        return message(cell, "stream", name="stdout", text=text)

    done = {"execution_state": "idle"}
    sent = [said("1", "first\n"), message("1", "status", **done), said("1", "late\n"), said("2", "second\n"), message("2", "status", **done)]
    client = notebooks.Client(v4.new_notebook(cells=[v4.new_code_cell("a"), v4.new_code_cell("b")]), record_timing=False)
    channel = SimpleNamespace(get_msg=lambda timeout: sent.pop(0))
    client.kc, client.clear_before_next_output = SimpleNamespace(iopub_channel=channel), False

    async def run_both() -> None:
        for at, cell in enumerate(client.nb.cells):
            await client._async_poll_output_msg(str(at + 1), cell, at)

    asyncio.run(run_both())
    return [[output["text"] for output in cell.outputs] for cell in client.nb.cells] == [["first\n", "late\n"], ["second\n"]]


def main() -> None:
    late = kept_when_late()
    print("ok   " if late else "FAIL ", "the runner keeps a line that comes late", flush=True)
    wrong = [] if late else ["a late line was lost"]
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
