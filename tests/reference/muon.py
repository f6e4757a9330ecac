#!/usr/bin/env python3
"""Steps of torch.optim.Muon (PyTorch 2.15) on a wide and a tall matrix, with its Newton-Schulz in f32 in place of its bf16. Writes muon.json.
    python3 tests/reference/muon.py"""
import json, os
import torch
import torch.optim._muon as muon

def newton_schulz(grad, coefficients, steps, eps):
    """torch.optim._muon._zeropower_via_newtonschulz without the cast to bfloat16."""
    a, b, c = coefficients
    x = grad.double()
    if x.size(0) > x.size(1): x = x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if grad.size(0) > grad.size(1) else x).to(grad.dtype)

muon._zeropower_via_newtonschulz = newton_schulz
torch.manual_seed(5)
cases = []
for shape in [(4, 9), (8, 3)]:
    start = torch.randn(shape)
    p = torch.nn.Parameter(start.clone())
    opt = torch.optim.Muon([p], lr=0.02, weight_decay=0.1, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw")
    grads, after = [], []
    for _ in range(3):
        g = torch.randn(shape)
        p.grad = g.clone()
        opt.step()
        grads.append(g.flatten().tolist()); after.append(p.detach().flatten().tolist())
    cases.append({"shape": shape, "start": start.flatten().tolist(), "grads": grads, "after": after})
out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "muon.json")
json.dump({"lr": 0.02, "weight_decay": 0.1, "momentum": 0.95, "torch": torch.__version__, "cases": cases}, open(out, "w"), indent=0)
print(out)
