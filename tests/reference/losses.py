#!/usr/bin/env python3
"""Every loss of src/train/loss.rs by PyTorch, token by token and gradient by gradient, on a small output projection. Writes losses.json.
    python3 tests/reference/losses.py

Logits are hidden @ head.T; the label-smoothed cross-entropy is torch.nn.functional's; DFT weighs a token by the probability of its target,
detached. All arithmetic in f64."""
import json, os
import torch
from torch.nn.functional import cross_entropy

torch.manual_seed(3)
TOKENS, WIDTH, VOCABULARY = 5, 6, 9
CASES = {"cross_entropy": (0.0, 0.0), "dft": (1.0, 0.0), "mixture": (0.7, 0.0), "smoothed": (0.0, 0.1), "smoothed_dft": (1.0, 0.1), "smoothed_mixture": (0.25, 0.2)}
hidden = torch.randn(TOKENS, WIDTH, dtype=torch.float64)
head = torch.randn(VOCABULARY, WIDTH, dtype=torch.float64)
targets = torch.randint(VOCABULARY, (TOKENS,))

def case(dft, smoothing):
    h, w = hidden.clone().requires_grad_(), head.clone().requires_grad_()
    logits = h @ w.T
    p = logits.softmax(-1).gather(1, targets[:, None])[:, 0].detach()
    tokens = cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing) * ((1 - dft) + dft * p)
    tokens.sum().backward()
    return {"dft": dft, "label_smoothing": smoothing, "tokens": tokens.tolist(), "loss": tokens.sum().item(),
            "d_hidden": h.grad.flatten().tolist(), "d_head": w.grad.flatten().tolist()}

out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "losses.json")
with open(out, "w") as f:
    json.dump({"torch": torch.__version__, "shape": [TOKENS, WIDTH, VOCABULARY], "hidden": hidden.flatten().tolist(), "head": head.flatten().tolist(),
               "targets": targets.tolist(), "cases": {name: case(*settings) for name, settings in CASES.items()}}, f, indent=0)
    f.write("\n")
print(out)
