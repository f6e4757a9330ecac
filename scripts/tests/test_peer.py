"""The table of `benches/peer.py`, from lines as both sides print them."""
import argparse
import importlib.util
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("peer", ROOT / "benches" / "peer.py")
peer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(peer)


def run(side: str, label: str, speed: float, peak: int = 100, what: str = "train", **more) -> dict:
    line = {"side": side, "tool": side, "what": what, "label": label, "proof": False, peer.SPEED[what]: speed, "peak_mib": peak}
    return line | more


def told(lines: list, load: float = 0.1, **more) -> dict:
    fixed = {"case": "mini", "date": "2026-01-01T00:00:00+00:00", "cpu": "A", "cores": 2, "load": [load, 0, 0], "rounds": 3, "failed": [], "agreement": None}
    return fixed | {"lines": lines} | more


TRAIN = [run("dxlab", "f32, batch 8", s, 250, mfu=0.5) for s in (900, 3000, 3100)] + [run("peer", "f32, batch 8", s, 1000) for s in (1000, 1400, 9000)]
TRAIN += [run("peer", "bf16, batch 16", s, 2000) for s in (1500, 1501, 1499)]
PROOF = [
    run("peer", "f32, batch 8", 1, proof=True, first_loss=9.25, last_loss=9.0, grad=0.1),
    run("dxlab", "f32, batch 8", 1, proof=True, first_loss=9.2501, last_loss=9.3, grad=0.0),
]


class Table(unittest.TestCase):
    def test_ratios_are_of_medians_to_the_peer_at_its_best(self):
        text = peer.table(told(TRAIN + PROOF))
        self.assertIn("| dxlab, f32, batch 8 | 3,000.0 | 2.14 × | 2.00 × | 250 | 0.12 × | 0.50 | 3 |", text)
        self.assertIn("| transformers + PEFT, f32, batch 8 | 1,400.0 | 1.00 × | 0.93 × | 1,000 | 0.50 × | – | 3 |", text)
        self.assertIn("| transformers + PEFT, bf16, batch 16 (best) | 1,500.0 | 1.07 × | 1.00 × |", text)

    def test_a_loss_that_rises_and_a_gradient_of_zero_are_shown(self):
        text = peer.table(told(TRAIN + PROOF))
        self.assertIn("| peer, f32, batch 8 | 9.250000 | +0.0e+00 | 9.000000 | yes | yes |", text)
        self.assertIn("| dxlab, f32, batch 8 | 9.250100 | +1.0e-04 | 9.300000 | **no** | **no** |", text)

    def test_runs_of_the_proof_do_not_count_as_speed(self):
        self.assertEqual([entry["rounds"] for entry in peer.medians(TRAIN + PROOF, "train")], [3, 3, 3])

    def test_a_busy_machine_is_warned_of(self):
        self.assertNotIn("Warning", peer.table(told(TRAIN + PROOF, load=0.5)))
        self.assertIn("Warning", peer.table(told(TRAIN + PROOF, load=0.51)))

    def test_decoding_has_no_memory_and_tells_how_many_prompts_agree(self):
        lines = [run("dxlab", "f32, batch 8", 2000, what="decode"), run("peer", "f32, batch 8", 400, what="decode")]
        text = peer.table(told(lines, agreement=peer.agreement([[1, 2], [3, 4]], [[1, 2], [3, 5]])))
        self.assertIn("| dxlab, f32, batch 8 | 2,000.0 | 5.00 × | 5.00 × | 1 |", text)
        self.assertIn("1 of 2 prompts", text)
        self.assertNotIn("first loss", text)
        self.assertIn("dxlab answered 1 prompts, the peer 2", peer.agreement([[1]], [[1], [2]]))

    def test_reading_long_prompts_is_told_in_prompt_tokens(self):
        lines = [run("dxlab", "f32, batch 4", 900, what="prefill"), run("peer", "f32, batch 4", 600, what="prefill"), run("peer", "bf16, batch 1", 450, what="prefill")]
        text = peer.table(told(lines))
        self.assertIn("prompt tokens/s", text)
        self.assertIn("| dxlab, f32, batch 4 | 900.0 | 1.50 × | 1.50 × | 1 |", text)
        self.assertIn("| transformers, bf16, batch 1 | 450.0 |", text)

    def test_both_sides_of_smollm2_are_asked_the_same(self):
        with tempfile.TemporaryDirectory() as folder:
            case = Path(folder)
            (case / "long").mkdir()
            (case / "long/pairs.jsonl").write_text('{"prompt_ids": [1, 2, 3]}\n{"prompt_ids": [4, 5]}\n')
            a = argparse.Namespace(
                case=case, gguf=Path("model.gguf"), q8_0=None, dxlab="dxlab", python="python", peer=None, steps=4, limit=16, train=True, decode=True, prefill=True,
                train_batch=[8], decode_batch=[8], prefill_batch=[4, 1],
            )
            ways = peer.ways(a, False)
        flags = lambda way, *leave: [part for part in way["command"] if part.startswith("--") and part not in leave]
        for what, same in (("train", ["--batch", "--steps"]), ("decode", ["--batch", "--new", "--limit"]), ("prefill", ["--batch", "--new"])):
            ours, theirs = ([way for way in ways if way["what"] == what and way["side"] == side] for side in ("dxlab", "peer"))
            self.assertEqual(flags(ours[0]), same)
            self.assertEqual(flags(theirs[0], "--dtype"), same)
            self.assertIn(str(peer.OWN), theirs[0]["command"])
        self.assertEqual({way["tokens"] for way in ways if way["what"] == "prefill"}, {5})
        self.assertIn("from the GGUF file, stored weights, batch 8", [way["label"] for way in ways])

    def test_without_the_peer_there_is_no_ratio_and_that_is_said(self):
        with self.assertRaisesRegex(SystemExit, "no run of the peer"):
            peer.table(told(TRAIN[:3] + PROOF))


if __name__ == "__main__":
    unittest.main()
