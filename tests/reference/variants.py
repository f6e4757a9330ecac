#!/usr/bin/env python3
"""The relatives of LoRA as PEFT has them on tests/golden/tied, and the losses as PyTorch has them.

    python tests/reference/variants.py

Writes variants/<name>/ (PEFT's own two files), variants/<name>.safetensors (d mean cross-entropy / d tensor over all pairs) and variants.json:
log-probabilities of every pair under each variant, and for the adapter of peft.py the value and the gradient (norm, and every tensor's
sum of absolute values) of each loss. All arithmetic in f64.
"""
import importlib, json, os, sys
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))]
peft = importlib.import_module("peft")          # the package, not peft.py beside this file
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torch
from common import LINEAR, load, logprobs, pairs, path, write_json, write_tensors

VARIANTS = {
    "rslora": dict(r=8, lora_alpha=4, use_rslora=True, target_modules=LINEAR),
    "dora": dict(r=4, lora_alpha=8, use_dora=True, target_modules=LINEAR),
    "patterns": dict(r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "down_proj"], layers_to_transform=[0, 2],
                     rank_pattern={"layers.2.mlp.down_proj": 6, "q_proj": 2}, alpha_pattern={r"layers\.\d+\.self_attn\.k_proj": 3}),
    # two keys match a layer: the first of the file counts, whatever the alphabet says
    "overlaps": dict(r=3, lora_alpha=6, target_modules=["q_proj", "up_proj"], rank_pattern={"self_attn.q_proj": 5, "layers.0.self_attn.q_proj": 2},
                     alpha_pattern={"up_proj": 2, r"layers\.[12]\.mlp\.up_proj": 24}),
    "regex": dict(r=3, lora_alpha=6, target_modules=r"model\.layers\.[01]\.mlp\.(up|down)_proj", exclude_modules=["layers.1.mlp.up_proj"]),
}
LOSSES = {"ce": (0.0, 0.0), "dft": (1.0, 0.0), "mixture": (0.7, 0.0), "smoothed": (0.0, 0.1), "smoothed_dft": (1.0, 0.1)}

def names(model):
    """PEFT's parameter under its key in the file."""
    return {k.replace(".default.weight", "" if "magnitude" in k else ".weight").replace(".default", ""): p for k, p in model.named_parameters() if p.requires_grad}

def variant(name, settings):
    torch.manual_seed(17)
    model = peft.get_peft_model(load("tied").float(), peft.LoraConfig(lora_dropout=0.0, bias="none", task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for k, p in names(model).items():
            if "magnitude" in k: p.mul_(1 + 0.2 * torch.randn_like(p))
            else: p.copy_(torch.randn_like(p) * (0.12 if "lora_A" in k else 0.08))
    folder = path("variants", name, "x")[:-2]
    model.peft_config["default"].base_model_name_or_path = "tied"
    model.save_pretrained(folder)
    if os.path.exists(os.path.join(folder, "README.md")): os.remove(os.path.join(folder, "README.md"))
    saved = json.load(open(os.path.join(folder, "adapter_config.json")))
    for key in ("target_modules", "exclude_modules"):
        if isinstance(saved[key], list): saved[key].sort()
    for key in ("rank_pattern", "alpha_pattern"): saved[key] = settings.get(key, {})   # PEFT writes keys sorted, and reads them in the file's order
    write_json(f"variants/{name}/adapter_config.json", saved)
    model = peft.PeftModel.from_pretrained(load("tied"), folder, is_trainable=True).double()
    z = [logprobs(model, p) for p in pairs()]
    (-torch.cat(z).mean()).backward()
    write_tensors(f"variants/{name}.safetensors", {k: p.grad for k, p in names(model).items()})
    return [x.tolist() for x in z]

def loss(model, pair, dft, smoothing):
    """Sum over the completion tokens; DFT's weight is the unsmoothed probability, outside the gradient."""
    p, c = pair["prompt_ids"], pair["completion_ids"]
    z = model(input_ids=torch.tensor([p + c])).logits[0, len(p) - 1 : -1]
    each = torch.nn.functional.cross_entropy(z, torch.tensor(c), reduction="none", label_smoothing=smoothing)
    prob = z.log_softmax(-1).gather(1, torch.tensor(c)[:, None])[:, 0].exp().detach()
    return (each * ((1 - dft) + dft * prob)).sum(), len(c)

def losses(settings):
    model = peft.PeftModel.from_pretrained(load("tied"), path("adapter", "x")[:-2], is_trainable=True).double()
    parts = [loss(model, p, *settings) for p in pairs()]
    mean = sum(x for x, _ in parts) / sum(n for _, n in parts)
    mean.backward()
    grads = {k: p.grad for k, p in names(model).items()}
    return {"dft": settings[0], "label_smoothing": settings[1], "loss": mean.item(),
            "norm": torch.sqrt(sum((g**2).sum() for g in grads.values())).item(), "mean_abs": {k: g.abs().mean().item() for k, g in grads.items()}}

if __name__ == "__main__":
    write_json("variants.json", {"logprobs": {n: variant(n, s) for n, s in VARIANTS.items()}, "losses": {n: losses(s) for n, s in LOSSES.items()}})
