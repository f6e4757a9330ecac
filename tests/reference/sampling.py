#!/usr/bin/env python3
"""What transformers' logits warpers leave of a distribution: tests/golden/sampling.json.

Temperature, top-k, top-p and min-p are put in a row by `generate`'s own `_get_logits_processor`, so that their order is transformers' too.
The last row of logits has ties at the top-k bar (all of them stay). `margin` is the smallest distance of a cumulative probability from
1 - top_p and of a probability from its min-p bar: an implementation that is right to a tenth of it must keep the same tokens.
"""
import numpy as np, torch
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM
from common import write_json

SETTINGS = [{"temperature": 0.7}, {"temperature": 2.5}, {"top_k": 1}, {"top_k": 5}, {"top_k": 500}, {"top_p": 0.5}, {"top_p": 0.95}, {"top_p": 1e-3}, {"min_p": 0.1}, {"min_p": 1.0},
            {"temperature": 0.6, "top_k": 20, "top_p": 0.95}, {"temperature": 1.5, "top_k": 12, "top_p": 0.8, "min_p": 0.15}, {"temperature": 0.3, "top_p": 0.9, "min_p": 0.02}]

def rows():
    rng = np.random.default_rng(23)
    out = [rng.normal(0, 2, 40), rng.normal(0, 6, 40), rng.normal(-3, 0.2, 40), np.repeat(rng.normal(0, 2, 10), 4)[rng.permutation(40)]]
    return [x.astype(np.float32).astype(np.float64) for x in out]

def warpers(settings):
    """`generate` on a model of no size, asked only which processors it would use."""
    model = Qwen3ForCausalLM(Qwen3Config(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, head_dim=8, vocab_size=40))
    config = GenerationConfig(do_sample=True, **({"temperature": 1.0, "top_k": 0, "top_p": 1.0} | settings))
    return model._get_logits_processor(config, input_ids_seq_length=1, device="cpu")

def margin(scores, kept, settings, processors):
    """As in the header, for one row; `scores` before any filter."""
    best = float("inf")
    for p in processors:
        name = type(p).__name__
        if name == "TopPLogitsWarper":
            c = torch.sort(scores).values.softmax(-1).cumsum(-1)
            best = min(best, (c - (1 - settings["top_p"])).abs().min().item())
        if name == "MinPLogitsWarper":
            q = scores.softmax(-1)
            bar = (q - settings["min_p"] * q.max()).abs()
            best = min(best, bar[bar > 0].min().item())
        scores = p(torch.zeros(1, 1, dtype=torch.long), scores)
    return best

def main():
    golden, least = {"logits": [x.tolist() for x in rows()], "cases": []}, float("inf")
    for settings in SETTINGS:
        processors = warpers(settings)
        names = [type(p).__name__ for p in processors]
        assert names == [n + "LogitsWarper" for n, k in (("Temperature", "temperature"), ("TopK", "top_k"), ("TopP", "top_p"), ("MinP", "min_p")) if k in settings], names
        for i, logits in enumerate(rows()):
            if i == 3 and "top_p" in settings: continue      # which of equals top-p keeps is left to the sort
            scores = torch.tensor(logits)[None]
            kept = processors(torch.zeros(1, 1, dtype=torch.long), scores).softmax(-1)[0]
            least = min(least, margin(scores, kept, settings, processors))
            golden["cases"].append({"row": i, "settings": settings, "probabilities": {str(t): kept[t].item() for t in range(40) if kept[t] > 0}})
    print("margin", least)
    write_json("sampling.json", golden | {"margin": least})

if __name__ == "__main__": main()
