"""The parts of scripts/peft_train.py that need neither PyTorch nor a model."""
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import peft_train  # noqa: E402


class Tokenizer:
    """A token a letter; the template writes `role:content|` and, for an answer, `assistant:`."""

    eos_token_id = 0

    def apply_chat_template(self, messages, tokenize, add_generation_prompt, enable_thinking):
        assert not tokenize and add_generation_prompt and not enable_thinking
        return "".join(f"{one['role']}:{one['content']}|" for one in messages) + "assistant:"

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [ord(letter) for letter in text]}


def row(question: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


class PeftTrain(unittest.TestCase):
    def test_the_loss_is_on_the_answer_and_its_end_alone(self):
        ids, labels = peft_train.encode(Tokenizer(), row("A stone.", "gallstone"), 1000)
        learnt = [label for label in labels if label != -100]
        self.assertEqual("".join(map(chr, learnt[:-1])), "gallstone")
        self.assertEqual(learnt[-1], Tokenizer.eos_token_id)
        self.assertEqual(len(ids), len(labels))
        self.assertEqual(ids[-len(learnt):], learnt)
        self.assertIsNone(peft_train.encode(Tokenizer(), row("A stone.", "gallstone"), len(ids) - 1))

    def test_a_batch_holds_no_more_tokens_than_it_may_and_no_row_is_lost(self):
        rows = [([1] * n, [1] * n) for n in (5, 9, 3, 20, 4, 4)]
        chunks = list(peft_train.batches(rows, 20))
        self.assertEqual([one for chunk in chunks for one in chunk], rows)
        for chunk in chunks:
            self.assertTrue(len(chunk) == 1 or max(len(ids) for ids, _ in chunk) * len(chunk) <= 20)

    def test_a_line_without_an_answer_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "train.jsonl"
            path.write_text(json.dumps(row("a", "b")) + "\n" + json.dumps({"messages": [{"role": "user", "content": "a"}]}) + "\n")
            with self.assertRaises(SystemExit) as stopped:
                peft_train.lines(path)
            self.assertIn("line 2", str(stopped.exception))


if __name__ == "__main__":
    unittest.main()
