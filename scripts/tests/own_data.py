#!/usr/bin/env python3
"""Runs the notebooks on findings of somebody else: a small made-up spreadsheet with other labels and other lengths.

Every chapter on findings has to run on it, and nothing that it shows may speak of our corpus: no "synthetic", no label of ours, no
score of ours, no conclusion of this study. Searched are what the cells show, and the text around them as the book prints it for a user's
own data: `{{#when own}}` stays, `{{#when synthetic}}` goes, captions count, code does not. Nothing is stored. `make check-own` starts it;
it takes some ten minutes, as a small model is trained.

    own_data.py [NAME...]            01-data, …; all chapters on findings without names
    own_data.py --bc5cdr [NAME...]   on a spreadsheet of abstracts of BC5CDR in its place; needs DXLAB_DATA
    own_data.py --text [NAME...]     only the text of the notebooks and pages as they are stored; plain Python, a second
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
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import kernel  # noqa: E402
import steps  # noqa: E402

# Of the spreadsheet, its config and their runs.
NAME = "dxlab-check-own"
CHAPTERS = [
    "00-summary", "01-data", "02-prompts", "03-fine-tuning", "03a-one-step", "03b-choices", "03c-votes", "04-evaluation", "04a-counting",
    "05-failures", "99-runs",
]
# Chapters of the book that are no notebooks and speak of the findings.
PAGES = ["introduction", "discussion", "limits", "reproducibility"]
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
# Words that only our findings deserve, and names of what our results are about.
CORPUS = re.compile(r"synthetic|\bgenerator\b|\blabels of this corpus\b", re.IGNORECASE)
STUDY = re.compile(r"SmolLM2|(?i:\bBC5CDR\b|\bNCBI\b)")
# What a sentence with one of these words may say whatever the findings are, and why. A test asks that each still stands somewhere.
ALLOWED = {
    "SmolLM2-135M-Instruct": "the default model by its whole name",
    "SmolLM2 is a small general model": "what the default model is",
    "SmolLM2 is installed by": "how the default model comes",
    "trains SmolLM2 and the two base models": "what a grid's config holds",
    "synthetic where nothing else is said": "the default cases",
    "texts of the synthetic training cases": "what the carried models have read",
    "belongs to the synthetic corpus": "that a split is not the user's",
    "synthetic notes": "the notes of another task",
    "The abstracts of BC5CDR and NCBI name": "what these corpora hold",
    "the abstracts of BC5CDR … and of the NCBI disease corpus … with the diseases they name": "what these corpora hold",
    "BC5CDR and NCBI disease: their annotators": "who labelled these corpora",
    "BC5CDR … and NCBI disease …:": "where related public data are",
}
# What prompts ask for where there is nothing to name and the file has no label that says so (`word_for_nothing` of the labels task).
NOTHING = "none"
# A score with its interval, as tables print it; where two of the three are equal, or the score is next to nothing, it may be anybody's.
INTERVAL = re.compile(r"(\d\.\d{3}) \\?\[(\d\.\d{3}), (\d\.\d{3})\]")


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


def text(value) -> str:
    """nbformat stores text as one string or as a list of lines."""
    return value if isinstance(value, str) else "".join(value)


def shown(cell: dict) -> str:
    """Everything that a cell shows, as text."""
    parts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        kinds = ("text/markdown", "text/plain", "image/svg+xml")
        parts += [output.get("text", ""), *(data.get(kind, "") for kind in kinds)]
    return "\n".join(map(text, parts))


def without_code(words: str) -> str:
    """Markdown without fenced blocks; spans of code stay, as a reader reads them with the sentence."""
    return re.sub(r"^(```|~~~).*?^\1[^\n]*$", "", words, flags=re.M | re.S)


def of_own_data(words: str) -> str:
    """What `book/preprocessor` (directive.rs, `conditions`) leaves of a text when the findings are a user's own."""
    def kept(found: re.Match) -> str:
        return found[2].strip("\n") if found[1].strip() == "own" else ""

    words = words.replace("{{#synthetic}}", "")
    return re.sub(r"\{\{#when ([^}]*)\}\}(.*?)\{\{#end\}\}", kept, words, flags=re.S)


def readable(words: str) -> str:
    """Links by their text, other directives (`ref`, `cite`) as a mark: what they name is no word of the sentence."""
    words = re.sub(r"\{\{#\w+ [^}]*\}\}", "…", words)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", words)


def sentences(words: str) -> list[str]:
    """The sentences of a Markdown text, cells of a table and headings one each."""
    found = []
    for line in without_code(of_own_data(words)).splitlines():
        for cell in readable(line).split("|") if line.startswith("|") else [readable(line)]:
            found += re.split(r"(?<=[.!?:;]) +(?=[^a-z ])", cell.strip())
    return [sentence for sentence in found if sentence]


@dataclass(frozen=True)
class Hit:
    """A sentence that speaks of our findings or of this study's results, and where it stands."""

    file: str
    cell: str
    why: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.file}, {self.cell}: {self.why}: {self.sentence[:240]}"


def labels_of(path: Path) -> set[str]:
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {label.strip() for row in rows for label in row["output_disease"].split(",")} - {""}


def our_labels() -> set[str]:
    """Those of the synthetic findings, without marks of doubt."""
    files = [*(steps.ROOT / "data/findings").glob("t[re]*.jsonl"), *(steps.ROOT / "data/findings-sealed").glob("test.jsonl")]
    found = set().union(*(labels_of(path) for path in files if path.stem in ("train", "test")))
    return {re.sub(r" \(possible\)$", "", label) for label in found}


def any_of(names) -> re.Pattern | None:
    """One of the names as whole words, the longest first."""
    listed = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])(?:{listed})(?![\w-])", re.IGNORECASE) if listed else None


class Search:
    """What may not stand in a chapter on findings of somebody else. `theirs`: all that is theirs, so that a label of ours may be there."""

    def __init__(self, theirs: str):
        self.labels = any_of(label for label in our_labels() if not any_of([label]).search(theirs))

    def why(self, sentence: str) -> list[str]:
        """Reasons against a sentence of the text around the cells."""
        rest = sentence
        for phrase in ALLOWED:
            rest = rest.replace(phrase, "")
        found = [f"speaks of our corpus ({match[0]})" for match in [CORPUS.search(rest)] if match]
        found += [f"has a label of ours ({match[0]})" for match in [self.labels.search(rest)] if match]
        return found + [f"speaks of this study's results ({match[0]})" for match in [STUDY.search(rest)] if match]

    def in_text(self, file: str, cell: str, words: str) -> list[Hit]:
        return [Hit(file, cell, why, sentence) for sentence in sentences(words) for why in self.why(sentence)]

    def in_notebook(self, name: str, cells: list[dict]) -> list[Hit]:
        """In Markdown cells and captions, counted as Jupyter shows them: Markdown and code cells together, from 1."""
        found = []
        for at, cell in enumerate(cells, 1):
            words = text(cell["source"])
            if cell["cell_type"] == "markdown":
                found += self.in_text(f"{name}.ipynb", f"cell {at}", words)
            elif caption := re.search(r"^//\| caption: *(.*)$", words, re.M):
                found += self.in_text(f"{name}.ipynb", f"cell {at}, caption", caption[1])
        return found

    def in_page(self, name: str) -> list[Hit]:
        words = (steps.ROOT / f"book/src/{name}.md").read_text(encoding="utf-8")
        return [hit for at, line in enumerate(blocks(words), 1) for hit in self.in_text(f"book/src/{name}.md", f"block {at}", line)]


def blocks(words: str) -> list[str]:
    """The paragraphs of a page; what depends on the corpus is settled first, as it may go over several."""
    return [block for block in of_own_data(words).split("\n\n") if block.strip()]


def stored_cells(name: str) -> list[dict]:
    return json.loads((steps.ROOT / f"notebooks/{name}.ipynb").read_text(encoding="utf-8"))["cells"]


def our_scores() -> set[str]:
    """Scores with intervals in the stored tables on our findings, which are those whose caption changes with the corpus."""
    found = set()
    for name in CHAPTERS:
        for cell in stored_cells(name):
            if cell["cell_type"] == "code" and "{{#synthetic}}" in text(cell["source"]):
                tables = [text(output.get("data", {}).get("text/markdown", "")) for output in cell["outputs"]]
                found |= {match[0].replace("\\", "") for match in INTERVAL.finditer("\n".join(tables)) if len(set(match.groups())) == 3 and float(match[1]) >= 0.02}
    return found


def told(spec: Path) -> tuple[dict, bool]:
    """What a run says of itself, and whether it was made here."""
    found = json.loads(spec.read_text(encoding="utf-8"))
    return found, found.get("name", "").startswith(NAME) or found.get("spec", {}).get("corpus_name", "").startswith(NAME)


@dataclass(frozen=True)
class Others:
    """The cases of somebody else, and every text that is theirs."""

    title: str
    words: str


class Shown:
    """What may not stand in what the cells show. Made anew for every chapter, as a chapter makes runs."""

    def __init__(self, theirs: Others, scores: set[str], runs: Path = steps.ROOT / "runs"):
        specs = {spec.parent: told(spec) for spec in runs.glob("*/spec.json")}
        own = {folder for folder, (_, here) in specs.items() if here}
        # an answer may hold any name; it is then the model's
        answers = [file.read_text(encoding="utf-8") for folder in own for file in folder.glob("*.jsonl")]
        self.search, self.scores = Search("\n".join([theirs.words, NOTHING, *answers])), scores
        self.folders = any_of(folder.name for folder in specs.keys() - own)
        # names of one word (`lora`, `full`) stand for other things too
        names = {specs[folder][0].get("name", "") for folder in specs} - {specs[folder][0].get("name", "") for folder in own}
        self.names = any_of(name for name in names if "-" in name)

    def why(self, line: str) -> list[str]:
        found = self.search.why(line)
        found += [f"names a run of ours ({match[0]})" for match in [self.folders and self.folders.search(line)] if match]
        if re.search(r"\d\.\d{3}", line):
            found += [f"has a score of a run of ours ({match[0]})" for match in [self.names and self.names.search(line)] if match]
        plain = line.replace("\\", "")
        return found + [f"has a score of ours ({match[0]})" for match in INTERVAL.finditer(plain) if match[0] in self.scores]


def faults(name: str, theirs: Others, scores: set[str], arguments) -> list[str]:
    """Runs one chapter; what is wrong with it."""
    import notebooks  # needs the installed tools, which the rest does without

    run = notebooks.Run(notebooks.FOLDER / f"{name}.ipynb", arguments)
    try:
        run.execute()
    except notebooks.Bad as bad:
        return [str(bad)]
    shows = Shown(theirs, scores)
    found = list(map(str, Search(theirs.words).in_notebook(name, run.fresh.cells)))
    for index in run.code:
        for line in shown(run.fresh.cells[index]).splitlines():
            found += [f"{name}.ipynb, cell {index + 1}, output: {why}: {line.strip()[:160]}" for why in shows.why(line)]
    return found


def specs() -> frozenset[Path]:
    return frozenset((steps.ROOT / "runs").glob("*/spec.json"))


def forget() -> None:
    """Removes the runs of this check, also those of an earlier start that was stopped; no other run, as it may be somebody's."""
    for spec in specs():
        if told(spec)[1]:
            shutil.rmtree(spec.parent)


def settle(folder: Path) -> tuple[Path, Path]:
    """Where the spreadsheet goes, and a config that trains on it; the notebooks are told of both."""
    table, config = folder / f"{NAME}.csv", folder / f"{NAME}.toml"
    config.write_text(CONFIG, encoding="utf-8")
    os.environ.update(DXLAB_FINDINGS=str(table), DXLAB_CONFIG=str(config))
    return table, config


def findings(folder: Path) -> Others:
    """The made-up spreadsheet."""
    table, _ = settle(folder)
    spreadsheet(table)
    return Others("findings of somebody else", table.read_text(encoding="utf-8"))


def documents(path: Path):
    """Title with abstract, and the names of diseases in it, of each document of a PubTator file; each once, those with a comma left out."""
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        lines = block.splitlines()
        text = " ".join(line.split("|", 2)[2] for line in lines[:2])
        fields = [line.split("\t") for line in lines[2:]]
        names = [row[3].lower() for row in fields if len(row) > 5 and row[4] == "Disease" and "," not in row[3]]
        yield lines[0].split("|", 1)[0], text, list(dict.fromkeys(names))


def abstracts(folder: Path) -> Others:
    """A spreadsheet of abstracts of BC5CDR where `DXLAB_DATA` has them, with the diseases that they name."""
    data = os.environ.get("DXLAB_DATA") or sys.exit("own_data.py --bc5cdr: set DXLAB_DATA to the folder with the open corpora")
    table, _ = settle(folder)
    with open(table, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["split", "case_id", "input_finding", "output_disease"])
        for split, part, most in [("train", "Training", 150), ("test", "Test", 60)]:
            path = Path(data) / "bc5cdr" / f"CDR_{part}Set.PubTator.txt"
            if not path.is_file():
                sys.exit(f"own_data.py --bc5cdr: no file {path}")
            named = [document for document in documents(path) if document[2]]
            rows.writerows([split, number, text, ", ".join(names)] for number, text, names in named[:most])
    return Others("abstracts of BC5CDR", table.read_text(encoding="utf-8"))


def in_stored_text(names: list[str]) -> list[Hit]:
    """Hits in the text of chapters and pages as they are stored."""
    with tempfile.TemporaryDirectory() as folder:
        spreadsheet(Path(folder) / "theirs.csv")
        search = Search((Path(folder) / "theirs.csv").read_text(encoding="utf-8"))
    pages = [hit for name in names if name in PAGES for hit in search.in_page(name)]
    return [hit for name in names if name not in PAGES for hit in search.in_notebook(name, stored_cells(name))] + pages


def main() -> None:
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("names", nargs="*", default=CHAPTERS + PAGES)
    about.add_argument("--bc5cdr", action="store_true", help="on the abstracts of BC5CDR; needs DXLAB_DATA")
    about.add_argument("--text", action="store_true", help="only search the text of the notebooks and pages as they are stored")
    wrong: list[str] = []
    arguments = about.parse_args()
    if arguments.text:
        hits = in_stored_text(arguments.names)
        for hit in hits:
            steps.say(str(hit))
        sys.exit(bool(hits))
    kernel.seed(check=False)
    forget()
    with tempfile.TemporaryDirectory() as folder:
        theirs = abstracts(Path(folder)) if arguments.bc5cdr else findings(Path(folder))
        scores = our_scores()
        for name in arguments.names:
            page = name in PAGES
            found = list(map(str, in_stored_text([name]))) if page else faults(name, theirs, scores, SimpleNamespace(timeout=1800))
            steps.say(f"{'FAIL ' if found else 'ok   '} {name} on {theirs.title}")
            for fault in found:
                steps.say(f"      {fault}")
            wrong += found
    forget()
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
