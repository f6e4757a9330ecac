"""The search of own_data.py on plain Python: what it takes for ours, and what it lets pass. No chapter is run."""
import json
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import own_data  # noqa: E402

THEIRS = "test,P1,A thin-walled lesion lies in the pancreatic head.,pancreatic cyst"


def markdown(words: str) -> dict:
    return {"cell_type": "markdown", "source": words}


def code(words: str, *outputs: str) -> dict:
    return {"cell_type": "code", "source": words.splitlines(True), "outputs": [{"text": shown} for shown in outputs]}


def hits(*cells: dict) -> list[tuple[str, str]]:
    return [(hit.cell, hit.why) for hit in own_data.Search(THEIRS).in_notebook("x", list(cells))]


class Text(unittest.TestCase):
    def test_text_follows_the_kind_of_corpus_as_in_the_books_preprocessor(self):
        # the example of `directive.rs`
        told = "On {{#synthetic}}cases.\n\n{{#when synthetic}}\nA generator wrote them.\n{{#end}}{{#when own}}\nYours.\n{{#end}}\n"
        self.assertEqual(own_data.of_own_data(told), "On cases.\n\nYours.\n")

    def test_a_reader_sees_the_text_of_links_and_no_names_of_labels(self):
        told = "See [Real text](04b-real-text.md) and {{#ref tab-synthetic}} {{#cite BC5CDR}}. Then stop!\n```sh\nsynthetic\n```\n| a | b |\n"
        self.assertEqual(own_data.sentences(told), ["See Real text and … ….", "Then stop!", "a", "b"])

    def test_no_condition_goes_over_several_cells(self):
        for name in own_data.CHAPTERS:
            for cell in own_data.stored_cells(name):
                if cell["cell_type"] == "markdown":
                    self.assertNotRegex(own_data.of_own_data(own_data.text(cell["source"])), r"\{\{#(when|end)\b", name)

    def test_chapters_and_pages_are_there_and_can_be_searched(self):
        for hit in own_data.in_stored_text(own_data.CHAPTERS + own_data.PAGES):
            self.assertTrue(hit.file and hit.cell and hit.why and hit.sentence, hit)

    def test_what_may_be_said_is_said_somewhere(self):
        read = [own_data.text(cell["source"]) for name in own_data.CHAPTERS for cell in own_data.stored_cells(name)]
        read += [(own_data.steps.ROOT / f"book/src/{name}.md").read_text(encoding="utf-8") for name in own_data.PAGES]
        everything = own_data.readable("\n".join(map(own_data.of_own_data, read)))
        self.assertEqual([phrase for phrase in own_data.ALLOWED if phrase not in everything], [])


class Ours(unittest.TestCase):
    def test_headings_sentences_and_captions_are_searched_and_code_is_not(self):
        found = hits(
            markdown("# Synthetic findings\n\nA fine sentence. The generator wrote it."),
            code("//| label: fig-x\n//| caption: Scores on the synthetic cases.\nuse dxlab::corpus::synthetic;"),
            code("// the synthetic cases\nlet generator = 1;"),
        )
        self.assertEqual(found, [
            ("cell 1", "speaks of our corpus (Synthetic)"),
            ("cell 1", "speaks of our corpus (generator)"),
            ("cell 2, caption", "speaks of our corpus (synthetic)"),
        ])

    def test_what_shows_only_for_our_findings_may_say_so(self):
        self.assertEqual(hits(markdown("{{#when synthetic}}The findings are synthetic.{{#end}}"), code("//| caption: The {{#synthetic}}cases.")), [])
        self.assertEqual(len(hits(markdown("{{#when own}}Not synthetic.{{#end}}"))), 1)

    def test_a_label_of_ours_is_found_as_whole_words_and_one_of_theirs_is_not(self):
        self.assertIn("gallstone", own_data.our_labels())
        self.assertEqual(hits(markdown("It is a Fatty liver.")), [("cell 1", "has a label of ours (Fatty liver)")])
        self.assertEqual(hits(markdown("A pancreatic cyst, a gallstone-like thing, volvulusx.")), [])
        self.assertEqual(own_data.our_labels() & own_data.SIGNS.keys(), {"pancreatic cyst"})

    def test_results_of_this_study_are_found_and_the_default_model_may_be_named(self):
        self.assertEqual(hits(markdown("On BC5CDR it gained nothing.")), [("cell 1", "speaks of this study's results (BC5CDR)")])
        self.assertEqual(hits(markdown("The default is SmolLM2-135M-Instruct.")), [])
        self.assertEqual(len(hits(markdown("The default is SmolLM2-135M-Instruct, and SmolLM2 wins."))), 1)


class Shown(unittest.TestCase):
    def shown(self, folder: str) -> own_data.Shown:
        runs = {"train-lora-long-00aa": {"name": "lora-long"}, "arm-full-00ab": {"name": "full"}}
        runs |= {"predict-zero-shot-held-00ac": {"name": "zero-shot-held"}}
        runs |= {"predict-zero-shot-held-00ad": {"name": "zero-shot-held", "spec": {"corpus_name": own_data.NAME}}}
        for name, spec in runs.items():
            (Path(folder) / name).mkdir()
            (Path(folder) / name / "spec.json").write_text(json.dumps(spec))
        (Path(folder) / "predict-zero-shot-held-00ad/preds.jsonl").write_text('{"raw": "volvulus"}\n')
        return own_data.Shown(own_data.Others("theirs", THEIRS), {"0.829 [0.801, 0.855]"}, Path(folder))

    def test_runs_and_scores_of_ours_are_found_and_theirs_are_not(self):
        with tempfile.TemporaryDirectory() as folder:
            search = self.shown(folder)
        for line, why in [
            ("runs/train-lora-long-00aa: 3 updates", "names a run of ours (train-lora-long-00aa)"),
            ("| lora-long | 0.613 |", "has a score of a run of ours (lora-long)"),
            ("| after | 0.829 \\[0.801, 0.855] |", "has a score of ours (0.829 [0.801, 0.855])"),
            ("gold: gallstone", "has a label of ours (gallstone)"),
        ]:
            self.assertEqual(search.why(line), [why])
        for line in ["lora-long (not run)", "full 0.613", "zero-shot-held 0.613", "runs/predict-zero-shot-held-00ad", "given: volvulus", f"answer: {own_data.NOTHING}"]:
            self.assertEqual(search.why(line), [], line)

    def test_only_runs_of_the_check_are_removed(self):
        names = {"mine": own_data.NAME, "theirs": "BC5CDR diseases", "findings": "findings"}
        with tempfile.TemporaryDirectory() as folder:
            for name, corpus in names.items():
                (Path(folder) / "runs" / name).mkdir(parents=True)
                (Path(folder) / "runs" / name / "spec.json").write_text(json.dumps({"name": name, "spec": {"corpus_name": corpus}}))
            with mock.patch.object(own_data.steps, "ROOT", Path(folder)):
                own_data.forget()
                self.assertEqual({spec.parent.name for spec in own_data.specs()}, {"theirs", "findings"})

    def test_the_word_for_nothing_is_that_of_the_prompts(self):
        source = (own_data.steps.ROOT / "src/task/labels.rs").read_text(encoding="utf-8")
        self.assertIn(f'map_or("{own_data.NOTHING}".into()', source)
        self.assertEqual(len(hits(markdown("One label, *no acute abnormality*, excludes all others."))), 1, "a label of ours")

    def test_scores_of_ours_are_taken_from_the_stored_tables_on_our_findings(self):
        scores = own_data.our_scores()
        self.assertGreater(len(scores), 50)
        for score in scores:
            self.assertRegex(score, r"^\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]$")


if __name__ == "__main__":
    unittest.main()
