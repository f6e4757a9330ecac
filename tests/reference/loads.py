#!/usr/bin/env python3
"""Does transformers load a tokenizer folder written by dxlab, and render conversations as Qwen3's own template does?

    python loads.py FOLDER [TEXTS]      TEXTS: one {"text", "ids"} a line, ids by `Tokenizer::encode(text, true)`; optional
"""
import json, sys
from transformers import AutoTokenizer
from common import path

t = AutoTokenizer.from_pretrained(sys.argv[1])
assert (t.eos_token, t.pad_token, t.bos_token) == ("<|im_end|>", "<|endoftext|>", None)
for row in json.load(open(path("chat.json"), encoding="utf8")):
    got = t.apply_chat_template(row["messages"], tokenize=False, add_generation_prompt=row["add_generation_prompt"], enable_thinking=row["enable_thinking"])
    assert got == row["text"], (got, row["text"])
for line in open(sys.argv[2], encoding="utf8") if len(sys.argv) > 2 else []:
    row = json.loads(line)
    assert t(row["text"]).input_ids == row["ids"], row["text"]
print("agrees", len(t))
