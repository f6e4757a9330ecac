#!/usr/bin/env python3
"""Greedy tokens of every prompt of tests/golden/pairs.jsonl, one by one and without a cache: decode.json.

`margin` is the smallest gap between the best and the second logit anywhere: a decoder whose logits are right to a tenth of it
must give the same tokens. `tied` and `adapter` run 24 tokens past the end of turn; `untied` likewise.
"""
import importlib, os, sys
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))]
peft = importlib.import_module("peft")
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torch
from common import load, pairs, path, write_json

def greedy(model, ids, new):
    out, margin = [], float("inf")
    for _ in range(new):
        z = model(input_ids=torch.tensor([ids + out])).logits[0, -1]
        top = z.topk(2)
        margin = min(margin, (top.values[0] - top.values[1]).item())
        out.append(top.indices[0].item())
    return out, margin

def main():
    golden = {"new": 24}
    with torch.no_grad():
        for name in ("tied", "untied", "adapter"):
            model = load("untied" if name == "untied" else "tied")
            if name == "adapter": model = peft.PeftModel.from_pretrained(model, path("adapter", "x")[:-2]).double().eval()
            rows = [greedy(model, p["prompt_ids"], golden["new"]) for p in pairs()]
            golden[name] = {"tokens": [r[0] for r in rows], "margin": min(r[1] for r in rows)}
            print(name, golden[name]["margin"])
    write_json("decode.json", golden)

if __name__ == "__main__": main()
