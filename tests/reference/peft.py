#!/usr/bin/env python3
"""A LoRA adapter saved by PEFT on tests/golden/tied, its log-probabilities, its gradients, and five AdamW steps from it.

Writes adapter/ (PEFT's own files; r 4, alpha 8, every linear layer, A and B both random), logprobs.json, grads.safetensors,
steps.json, after.safetensors. All arithmetic in f64; tensors are stored in f32 under the names in adapter_model.safetensors.
"""
import importlib, json, os, sys
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))]
peft = importlib.import_module("peft")          # the package, not this file
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torch
from common import LINEAR, load, logprobs, pairs, path, write_json, write_tensors

SETTINGS = {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.1, "pairs_per_step": 2}

def names(model):
    """PEFT's parameter under its key in the file."""
    return {k.replace(".default", ""): p for k, p in model.named_parameters() if p.requires_grad}

def mean_loss(model, batch):
    """Cross-entropy of the completion tokens only, averaged over tokens (not over examples)."""
    z = [logprobs(model, b) for b in batch]
    return -torch.cat(z).mean()

def main():
    torch.manual_seed(13)
    base = load("tied")
    golden = {"base": [logprobs(base, p).tolist() for p in pairs()]}
    model = peft.get_peft_model(base.float(), peft.LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM", target_modules=LINEAR))
    with torch.no_grad():
        for k, p in names(model).items(): p.copy_(torch.randn_like(p) * (0.12 if "lora_A" in k else 0.08))
    folder = path("adapter", "x")[:-2]
    model.peft_config["default"].base_model_name_or_path = "tied"
    model.save_pretrained(folder)
    if os.path.exists(os.path.join(folder, "README.md")): os.remove(os.path.join(folder, "README.md"))
    settings = json.load(open(os.path.join(folder, "adapter_config.json")))
    settings["target_modules"].sort()           # PEFT keeps a set: its order changes from run to run
    write_json("adapter/adapter_config.json", settings)
    model = peft.PeftModel.from_pretrained(load("tied"), folder, is_trainable=True).double()
    golden["adapter"] = [logprobs(model, p).tolist() for p in pairs()]
    write_json("logprobs.json", golden)

    loss = mean_loss(model, pairs())
    loss.backward()
    grads = {k: p.grad for k, p in names(model).items()}
    write_tensors("grads.safetensors", grads)
    norm = torch.sqrt(sum((g**2).sum() for g in grads.values())).item()

    opt = torch.optim.AdamW(list(names(model).values()), lr=SETTINGS["lr"], betas=SETTINGS["betas"], eps=SETTINGS["eps"], weight_decay=SETTINGS["weight_decay"])
    losses, norms = [], []
    for step in range(5):
        opt.zero_grad()
        first = step * 2 % len(pairs())
        l = mean_loss(model, pairs()[first : first + 2])
        l.backward()
        losses.append(l.item())
        norms.append(torch.sqrt(sum((p.grad**2).sum() for p in names(model).values())).item())
        opt.step()
    write_tensors("after.safetensors", names(model))
    write_json("steps.json", {"full_batch": {"loss": loss.item(), "grad_norm": norm}, "adamw": SETTINGS | {"losses": losses, "grad_norms": norms},
                              "full_batch_loss_after": mean_loss(model, pairs()).item()})

if __name__ == "__main__": main()
