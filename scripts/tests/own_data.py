#!/usr/bin/env python3
"""Runs the notebooks on findings of somebody else: a small made-up spreadsheet with other labels and other lengths.

Every chapter on findings has to run on it, and nothing that it shows may speak of our corpus: no "synthetic", no label of ours, no
conclusion of this study. Nothing is stored. `make check-own` starts it; it takes some ten minutes, as a small model is trained.

    own_data.py [NAME...]      01-data, …; all chapters on findings without names
"""
import argparse
import csv
import json
import os
import random
import re
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import kernel  # noqa: E402
import notebooks  # noqa: E402
import steps  # noqa: E402

# Of the spreadsheet, its config and their runs.
NAME = "dxlab-check-own"
CHAPTERS = ["00-summary", "01-data", "02-prompts", "03-fine-tuning", "03a-one-step", "03b-choices", "04-evaluation", "05-failures"]
SIGNS = {
    "hepatic abscess": "A rim-enhancing collection of {n} mm lies in segment {segment}.",
    "pancreatic cyst": "A thin-walled lesion of {n} mm lies in the pancreatic {part}.",
    "aortic aneurysm": "The infrarenal aorta measures {n} mm below the renal arteries.",
    "splenic infarct": "There is a wedge-shaped area of {n} mm without contrast in the {part} of the spleen.",
    "Crohn disease": "The terminal ileum has a thick wall with a comb sign over {n} mm.",
    "adrenal adenoma": "The left adrenal gland holds a nodule of {n} mm and {segment} HU.",
}
OTHERS = [
    "No free fluid.",
    "No enlarged lymph nodes; the largest measures {n} mm.",
    "The gallbladder is unremarkable.",
    "The spine is degenerated at {segment} levels.",
    "The lung bases are clear.",
    "The bladder holds {n} ml.",
    "Contrast was given with a delay of {n} s.",
    "The {part} of the left kidney is normal.",
    "Compared with a study {segment} months ago there is little change.",
    "The uterus measures {n} mm.",
    "A drain ends {n} mm above the {part} of the liver.",
]


def said(sentence: str, dice: random.Random) -> str:
    return sentence.format(n=dice.randint(11, 99), segment=dice.randint(2, 8), part=dice.choice(["head", "body", "tail", "upper pole", "lower pole"]))


CONFIG = """name = "dxlab-check-own"
model = "embedded"
corpus = "findings"
prompt = "plain"
validation = 0.0

[adapter]
r = 8
alpha = 16

[training]
seed = 7
epochs = 2
batch_tokens = 1024
accumulate = 1
eval_every = 50
max_norm = 1.0
schedule = { lr = 2e-3, warmup = 0.05, floor = 0.1 }
"""
# What may stand in an output although it has one of the words: names of commands, files and corpora that are ours and are said to be.
OURS = re.compile(r"synthetic|\bgenerator\b", re.IGNORECASE)


def spreadsheet(path: Path) -> None:
    """78 rows in two splits, at most three labels each, without a validation group."""
    dice = random.Random(7)
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["split", "case_id", "input_finding", "output_disease"])
        for i in range(78):
            labels = dice.sample(sorted(SIGNS), dice.choice([1, 1, 2, 3]))
            sentences = [said(sentence, dice) for sentence in [*(SIGNS[label] for label in labels), *dice.sample(OTHERS, 6)]]
            dice.shuffle(sentences)
            rows.writerow(["train" if i < 58 else "test", f"P{i:03}", " ".join([*sentences, f"Study {i}."]), ", ".join(labels)])


def shown(cell) -> str:
    """Everything that a cell shows, as text."""
    parts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        parts += [output.get("text", ""), data.get("text/markdown", ""), data.get("text/plain", ""), data.get("image/svg+xml", "")]
    return "\n".join("".join(part) for part in parts)


def faults(name: str, arguments) -> list[str]:
    """Runs one chapter; what is wrong with it."""
    run = notebooks.Run(notebooks.FOLDER / f"{name}.ipynb", arguments)
    try:
        run.execute()
    except notebooks.Bad as bad:
        return [str(bad)]
    found = []
    for at, index in enumerate(run.code, 1):
        for line in shown(run.fresh.cells[index]).splitlines():
            if OURS.search(line):
                found.append(f"{name}, cell {at}: speaks of our corpus: {line.strip()[:160]}")
    return found


def forget() -> None:
    """Removes the runs that were made here, also those of an earlier start that was stopped."""
    for spec in (steps.ROOT / "runs").glob("*/spec.json"):
        told = json.loads(spec.read_text(encoding="utf-8"))
        if told.get("name", "").startswith(NAME) or told.get("spec", {}).get("corpus_name", "").startswith(NAME):
            shutil.rmtree(spec.parent)


def main() -> None:
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("names", nargs="*", default=CHAPTERS)
    wrong: list[str] = []
    arguments = about.parse_args()
    kernel.seed(check=False)
    forget()
    with tempfile.TemporaryDirectory() as folder:
        table, config = Path(folder) / f"{NAME}.csv", Path(folder) / f"{NAME}.toml"
        spreadsheet(table)
        config.write_text(CONFIG, encoding="utf-8")
        os.environ.update(DXLAB_FINDINGS=str(table), DXLAB_CONFIG=str(config))
        for name in arguments.names:
            found = faults(name, SimpleNamespace(timeout=1800))
            steps.say(f"{'FAIL ' if found else 'ok   '} {name} on findings of somebody else")
            for fault in found:
                steps.say(f"      {fault}")
            wrong += found
    forget()
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
