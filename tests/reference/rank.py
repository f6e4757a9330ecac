#!/usr/bin/env python3
"""Log-probability of every candidate after every prompt of tests/golden/pairs.jsonl, each as a whole sequence of its own: rank.json.

`candidates` are token ids that end with 1 (end of turn), some with a common beginning, one of the end alone. `sums` is [prompt][candidate],
natural logarithm, for `tied`. `margin` is the smallest gap between two candidates of a prompt, by sum and by mean.
"""
import torch
from common import load, logprobs, pairs, write_json

CANDIDATES = [[17, 200, 1], [17, 200, 3, 96, 1], [1], [54, 1], [17, 31, 31, 8, 140, 9, 1], [230, 71, 64, 1]]

def main():
    model = load("tied")
    with torch.no_grad():
        sums = [[logprobs(model, {"prompt_ids": p["prompt_ids"], "completion_ids": c}).sum().item() for c in CANDIDATES] for p in pairs()]
    gap = lambda row: min(b - a for a, b in zip(sorted(row), sorted(row)[1:]))
    margin = min(min(gap(row), gap([s / len(c) for s, c in zip(row, CANDIDATES)])) for row in sums)
    print("margin", margin)
    write_json("rank.json", {"candidates": CANDIDATES, "sums": sums, "margin": margin})

if __name__ == "__main__": main()
