#!/usr/bin/env python3
"""A model folder of Qwen3's or Qwen3.5's real shape, for checks where its weights are not to be had: config.json, tokenizer, and with --weights random ones.

    python qwen3_folder.py VOCABULARY OUT --size 0.6b|4b|8b|3.5-4b [--weights]

VOCABULARY holds Qwen3's vocab.json and merges.txt; Qwen3.5 gets the same tokenizer and its own larger embedding. Without weights the folder serves `dxlab train CONFIG --dry-run`; with them every command
works on it end to end, and what the model says means nothing.
"""
import argparse, json, os
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3_5ForCausalLM, Qwen3_5TextConfig
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer
from transformers import AddedToken
from tokenizer import MARKS, SPECIAL

# hidden, intermediate, layers, heads, tied head (Qwen3 technical report, table 1)
SIZES = {"0.6b": (1024, 3072, 28, 16, True), "4b": (2560, 9728, 36, 32, True), "8b": (4096, 12288, 36, 32, False)}

ENDS = dict(bos_token_id=151643, eos_token_id=151645, dtype="bfloat16")

def qwen3(size):
    hidden, intermediate, layers, heads, tied = SIZES[size]
    return Qwen3Config(hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=8, head_dim=128,
                       vocab_size=151936, tie_word_embeddings=tied, rope_theta=1e6, rms_norm_eps=1e-6, max_position_embeddings=40960, attention_bias=False,
                       architectures=["Qwen3ForCausalLM"], **ENDS), Qwen3ForCausalLM

def qwen3_5():
    """Qwen3.5-4B as public configs have it; whether its head is tied is not known for sure, here it is."""
    return Qwen3_5TextConfig(hidden_size=2560, intermediate_size=9216, num_hidden_layers=32, num_attention_heads=16, num_key_value_heads=4, head_dim=256,
                             vocab_size=248320, tie_word_embeddings=True, linear_num_key_heads=16, linear_num_value_heads=32, linear_key_head_dim=128,
                             linear_value_head_dim=128, max_position_embeddings=262144, rope_parameters={"rope_type": "default", "rope_theta": 1e7,
                             "partial_rotary_factor": 0.25}, architectures=["Qwen3_5ForCausalLM"], **ENDS), Qwen3_5ForCausalLM

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("vocabulary"); ap.add_argument("out"); ap.add_argument("--size", choices=[*SIZES, "3.5-4b"], default="0.6b"); ap.add_argument("--weights", action="store_true")
    a = ap.parse_args()
    read = lambda name: open(os.path.join(a.vocabulary, name), encoding="utf8").read()
    merges = [tuple(line.split(" ")) for line in read("merges.txt").split("\n") if line and not line.startswith("#version")]
    tokens = Qwen2Tokenizer(vocab=json.loads(read("vocab.json")), merges=merges)
    tokens.add_tokens([AddedToken(f"<|{x}|>", special=True, normalized=False) for x in SPECIAL] + [AddedToken(x, special=False, normalized=False) for x in MARKS])
    assert tokens.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>", "</think>"]) == [151643, 151645, 151668]
    config, model = qwen3_5() if a.size == "3.5-4b" else qwen3(a.size)
    if a.weights:
        torch.manual_seed(7)
        model(config).to(torch.bfloat16).save_pretrained(a.out)
    config.save_pretrained(a.out)
    tokens.save_pretrained(a.out)

if __name__ == "__main__": main()
