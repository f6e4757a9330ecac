"""The documents against the source tree: every config key has its row in docs/config.md, and what the documents name exists."""
import json
import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# Heading of docs/config.md and the struct that serde reads the file into.
CONFIGS = {
    "Training": "TrainConfig",
    "Encoder": "EncoderTrainConfig",
    "Grid": "GridConfig",
    "Search": "SearchConfig",
    "Pretraining": "PretrainConfig",
    "Prompt": "Recipe",
    "Prompt study": "PromptStudy",
    "Leak list": "Allowed",
    "Credits": "Credit",
}
# Described once, under Training.
SHARED = {"Pretraining": "training."}
STRUCT = re.compile(r"((?:^[ \t]*#\[[^\n]*\n|^[ \t]*//[^\n]*\n)*)^[ \t]*pub struct (\w+) \{\n(.*?)^[ \t]*\}", re.M | re.S)
FIELD = re.compile(r"((?:^\s*#\[[^\n]*\]\n|^\s*//[^\n]*\n)*)^\s*pub (\w+): ([^\n]+),(?: //[^\n]*)?$", re.M)


class Structs:
    """The structs of src that serde reads, found by name wherever they stand."""

    def __init__(self):
        self.found = {}
        for path in sorted((ROOT / "src").rglob("*.rs")):
            for attributes, name, body in STRUCT.findall(path.read_text()):
                if "Deserialize" in attributes:
                    self.found.setdefault(name, []).append((path, attributes, body))

    def named(self, name: str, near: Path | None = None) -> tuple | None:
        """The struct of that name: of the same file, else one that refuses unknown keys, else any."""
        all_of_it = self.found.get(name, [])
        here = [one for one in all_of_it if one[0] == near]
        strict = [one for one in all_of_it if "deny_unknown_fields" in one[1]]
        return (here or strict or all_of_it or [None])[0]

    def keys(self, name: str, near: Path | None = None) -> list[set[str]]:
        """Every key below a struct as the set of dotted names that it can be written by."""
        path, _, body = self.named(name, near)
        keys = []
        for attributes, field, kind in FIELD.findall(body):
            if re.search(r"serde\([^)]*\b(skip|flatten)\b", attributes):
                continue
            names = {field} | set(re.findall(r'(?:rename|alias) = "(\w+)"', attributes))
            inner = re.sub(r"^(?:(?:Option|Vec|Box)<)+(.*?)>+$", r"\1", kind.strip()).rsplit("::", 1)[-1]
            if self.named(inner, path):
                keys += [{f"{name}.{rest}" for name in names for rest in below} for below in self.keys(inner, path)]
            else:
                keys.append(names)
        return keys


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def rows(section: str) -> list[set[str]]:
    """The names in the first cell of every row of a section's tables."""
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [set(re.findall(r"`([\w.]+)`", cell)) for cell in cells]


class Config(unittest.TestCase):
    def test_every_key_has_a_row_with_type_default_and_meaning_and_every_row_a_key(self):
        structs, page = Structs(), sections((DOCS / "config.md").read_text())
        self.assertEqual(list(page), list(CONFIGS), "docs/config.md has one section for each config")
        for heading, struct in CONFIGS.items():
            self.assertIsNotNone(structs.named(struct), f"no struct `{struct}` in src: tell scripts/tests/test_docs.py its new name")
            keys, told = structs.keys(struct), rows(page[heading])
            shared = SHARED.get(heading)
            keys = [names for names in keys if not (shared and any(name.startswith(shared) for name in names))]
            lacking = [min(names) for names in keys if not any(names & row for row in told)]
            self.assertEqual(lacking, [], f"docs/config.md, {heading}: add a row for each")
            stale = [min(row) for row in told if not any(names & row for names in keys)]
            self.assertEqual(stale, [], f"docs/config.md, {heading}: the code has no such key")
            for line in page[heading].splitlines():
                if line.startswith("| `"):
                    self.assertEqual(len(re.split(r"(?<!\\)\|", line)), 6, f"four cells: {line}")

    def test_a_key_that_the_page_lacks_would_be_seen(self):
        keys = Structs().keys("TrainConfig")
        self.assertGreater(len(keys), 35)
        for expected in ("training.schedule.lr", "adapter.rank_pattern", "training.muon.momentum", "name"):
            self.assertTrue(any(expected in names for names in keys), expected)


class Paths(unittest.TestCase):
    def test_every_file_that_a_document_names_exists(self):
        wanted = re.compile(r"`((?:src|tests|scripts|benches|configs|data|docs|notebooks|book)/[\w./-]+\.\w+)`|\]\(([\w./-]+?)(?:#[\w-]+)?\)")
        wrong = []
        for page in [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]:
            for code, link in wanted.findall(page.read_text()):
                place = ROOT / code if code else page.parent / link
                made_or_yours = any(part in str(place) for part in ("book/build", "NAME", "/my-"))
                if not made_or_yours and not place.exists():
                    moved = [str(path.relative_to(ROOT)) for room in ("src", "tests") for path in (ROOT / room).rglob(place.name)]
                    wrong.append(f"{page.name}: {code or link}" + (f" (now {' or '.join(moved)}?)" if moved else ""))
        self.assertEqual(wrong, [])

    def test_every_test_that_the_table_of_papers_names_exists(self):
        named = re.findall(r"`((?:src|tests)/[\w./-]+\.rs)` `(\w+)`", (DOCS / "papers.md").read_text())
        self.assertGreater(len(named), 20)
        gone = [f"{file} {test}" for file, test in named if (ROOT / file).exists() and f"fn {test}(" not in (ROOT / file).read_text()]
        self.assertEqual(gone, [])

    def test_the_readme_is_short(self):
        self.assertLessEqual(len((ROOT / "README.md").read_text().splitlines()), 120)

    def test_design_numbers_its_seven_rules(self):
        text = sections((DOCS / "design.md").read_text())["Seven rules"]
        self.assertEqual(re.findall(r"^(\d)\. ", text, re.M), list("1234567"))


class Labels(unittest.TestCase):
    """Figures and tables of all notebooks share one book, which is built long after a notebook was edited."""

    def cells(self) -> list[tuple[str, str, str]]:
        """Notebook, kind of cell and its text; the Markdown pages too."""
        notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
        found = [(path.stem, cell["cell_type"], "".join(cell["source"])) for path in notebooks for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
        return found + [(path.stem, "markdown", path.read_text(encoding="utf-8")) for path in sorted((ROOT / "book/src").glob("*.md"))]

    def test_a_label_names_one_figure_or_table_and_every_reference_one_of_them(self):
        stands, named = {}, []
        for name, kind, text in self.cells():
            for label in re.findall(r"^//\| label: *(\S+)", text, re.M) if kind == "code" else []:
                self.assertNotIn(label, stands, f"{name} and {stands.get(label)} both have a label `{label}`")
                stands[label] = name
            named += [(name, label) for label in re.findall(r"\{\{#ref ([^}\s]+)\}\}", text)]
        self.assertGreater(len(stands), 50)
        self.assertGreater(len(named), 50)
        self.assertEqual([f"{name}: {label}" for name, label in named if label not in stands], [])


if __name__ == "__main__":
    unittest.main()
