#!/usr/bin/env python3
"""Random tiny Qwen3 checkpoints and transformers' logits on them: tests/golden/{tied,untied}, tests/golden/pairs.jsonl.

Run first; peft.py and decode.py read what this writes. The checkpoints are read back from their files before the forward, so what is
rounded to bf16 in the file is rounded in the reference too. Weights and activations are f64 (transformers itself keeps the
norms' and the rotary tables' arithmetic in f32, which moves a logit by less than 1e-5).
"""
import json, os
import numpy as np, torch
from common import GOLDEN, checkpoint, load, path, sequences, write_tensors

PAIRS_SEED = 25    # chosen so that no greedy step of decode.py is nearly a tie

def hub_style_config(folder):
    """Rewrites config.json as the hub's Qwen3 checkpoints have it (transformers 4): rope_theta on top, torch_dtype, inert sliding window."""
    c = json.load(open(path(folder, "config.json")))
    theta = c.pop("rope_parameters")["rope_theta"]
    for k in ("dtype", "layer_types"): c.pop(k, None)
    c |= {"rope_theta": theta, "rope_scaling": None, "torch_dtype": "bfloat16", "sliding_window": None, "use_sliding_window": False,
          "max_window_layers": c["num_hidden_layers"], "transformers_version": "4.51.0"}
    with open(path(folder, "config.json"), "w") as f: json.dump(c, f, indent=2, sort_keys=True); f.write("\n")

def main():
    checkpoint(True).to(torch.bfloat16).save_pretrained(path("tied", "x")[:-2])
    hub_style_config("tied")
    checkpoint(False).save_pretrained(path("untied", "x")[:-2], max_shard_size="330KB")
    for folder in ("tied", "untied"):
        model = load(folder)
        out = {}
        with torch.no_grad():
            for i, ids in enumerate(sequences(model.config.vocab_size)):
                out[f"ids.{i}"] = torch.tensor(ids, dtype=torch.int64)
                out[f"logits.{i}"] = model(input_ids=torch.tensor([ids])).logits[0]
        print(folder, "logits: std", out["logits.1"].std().item(), "max", out["logits.1"].abs().max().item())
        write_tensors(f"{folder}/logits.safetensors", out)
        for name in sorted(os.listdir(os.path.join(GOLDEN, folder))): print(" ", name, os.path.getsize(path(folder, name)))
    rng = np.random.default_rng(PAIRS_SEED)
    with open(path("pairs.jsonl"), "w") as f:   # prompt and completion of four lengths each; the last completion id ends the turn
        for n, m in ((9, 4), (21, 7), (14, 1), (30, 5)):
            ids = rng.integers(2, 256, n + m).tolist()
            f.write(json.dumps({"prompt_ids": ids[:n], "completion_ids": ids[n:-1] + [1]}) + "\n")

if __name__ == "__main__": main()
