#!/usr/bin/env python3
"""Does peft load an adapter that dxlab saved, and give the same log-probabilities?

    dxlab score --model MODEL --adapter ADAPTER --pairs PAIRS --out SCORES
    python loads_adapter.py MODEL ADAPTER PAIRS SCORES          PAIRS with prompt_ids and completion_ids; prints the largest difference
"""
import json, os, sys, warnings
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))]   # peft the package, not peft.py beside this file
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

model, adapter, pairs, scores = sys.argv[1:5]
with warnings.catch_warnings():
    warnings.filterwarnings("error", category=UserWarning)   # peft only warns of missing and of unknown tensors
    m = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), adapter).eval()
worst = 0.0
with torch.no_grad():
    for pair, line in zip(open(pairs), open(scores)):
        pair, ours = json.loads(pair), json.loads(line)["logprobs"]
        p, c = pair["prompt_ids"], pair["completion_ids"]
        z = m(input_ids=torch.tensor([p + c])).logits[0, len(p) - 1 : -1].log_softmax(-1)
        theirs = z.gather(1, torch.tensor(c)[:, None])[:, 0].tolist()
        assert len(ours) == len(theirs)
        worst = max(worst, max(abs(a - b) for a, b in zip(ours, theirs)))
print(f"{type(m.peft_config['default']).__name__} rank {m.peft_config['default'].r} dora {m.peft_config['default'].use_dora} rslora {m.peft_config['default'].use_rslora}: largest difference {worst:.2e}")
assert worst < 1e-4
