#!/usr/bin/env python3
"""Qwen3's tokenizer and chat format as transformers has them: tests/golden/tokenizer.json and chat.json.

    python tokenizer.py FOLDER [TEMPLATE.jinja]

FOLDER holds Qwen3's vocab.json and merges.txt. 200 synthetic sentences of our own go through them. TEMPLATE is Qwen3's own chat template
(the `chat_template` of its tokenizer_config.json); chat.json holds what it renders for conversations of our own. Neither the vocabulary nor
the template is committed. Without TEMPLATE chat.json is left as it is.
"""
import json, os, random, sys
from transformers import AddedToken
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer
from common import path

SPECIAL = "endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start quad_end vision_start vision_end vision_pad image_pad video_pad".split()
MARKS = "<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|> <tool_response> </tool_response> <think> </think>".split()

ORGANS = ["liver", "left kidney", "right kidney", "spleen", "pancreas", "gallbladder", "adrenal glands", "sigmoid colon", "terminal ileum", "urinary bladder"]
FINDS = ["a simple cyst", "a hypodense lesion", "diffuse steatosis", "a calcification", "no focal abnormality", "mild wall thickening", "an enhancing mass", "several stones"]
ENDS = [".", ";", " (series 4, image 112).", ",\nunchanged since 12/03/2019.", "!\n\n", " -- can't be excluded.", "?", "...", "  "]
ODD = ["Sjögren's syndrome, naïve T-cells, 37 °C, μg/dL", "e\u0301chographie; caf\u00e9 vs cafe\u0301", "肝臓に嚢胞を認める。", "почка без изменений", "🙂 no pain 👩‍⚕️", "I'LL we've it's DON'T they'd",
       "1234567890 3.14159 1e-6 2×10³", "tabs\tand\r\nlines\n\n\n  end ", " leading space", "   ", "\n", "x=[1,2];if(a<b){return;}", "ALT/AST>3×ULN", "T4N0M0 (pT3b)", "a\u00a0non-breaking\u2003space", "ﬁne ﬂow ﬀ", "½ dose, №5, ™",
       "<think> is not always thought", "half <|im_end of a token", "Ünlü İstanbul ẞ", "عربي وعبري שלום", "हिन्दी देवनागरी", "한국어 간 낭종"]

def sentences():
    r = random.Random(17)
    out = list(ODD)
    while len(out) < 196:
        one = lambda: f"{r.choice(['The', 'the', 'In the', 'Both'])} {r.choice(ORGANS)} {r.choice(['shows', 'show', 'with', 'contains', 'has'])} {r.choice(FINDS)} measuring {r.randint(2, 148)}{r.choice([' mm', 'mm', ' x %d cm' % r.randint(1, 9), '.%d cm' % r.randint(0, 9)])}{r.choice(ENDS)}"
        out.append(r.choice(["", "FINDINGS: ", "1. ", "- ", "\t"]) + r.choice([" ", "", "\n"]).join(one() for _ in range(r.randint(1, 3))))
    return out + ["Hello world", "<|im_start|>user\nThe liver is normal.<|im_end|>\n", "<think>\n\n</think>\n\nRenal cyst", "a<|endoftext|>b<tool_call>c"]

def chats():
    s, u, a = [lambda t, r=r: {"role": r, "content": t} for r in ("system", "user", "assistant")]
    ask, more, odd = "List the diagnoses.\n\nA 14 mm cyst.", "The liver is fatty.", "\n\n  {vocabulary} trailing \n"
    for messages in ([u(ask)], [s("You are a physician."), u(ask)], [s("Rules:\n- short"), u(ask), a("Renal cyst"), u(more)], [s(""), u(odd)],
                     [u(ask), a("Renal cyst"), u(more), a("Fatty liver, Gallstone"), u("Both kidneys are small.")]):
        for thinking in (True, False):
            yield messages, True, thinking
    for messages in ([u(ask), a("Renal cyst")], [s("You are a physician."), u(ask), a("Renal cyst"), u(more), a("Fatty liver")],
                     [u(ask), a("<think>\nA cyst is seen.\n</think>\n\nRenal cyst")], [u(ask), a("<think>\nx\n</think>\n\nRenal cyst"), u(more)]):
        yield messages, False, True

def main():
    folder = sys.argv[1]
    merges = [tuple(line.split(" ")) for line in open(os.path.join(folder, "merges.txt"), encoding="utf8").read().split("\n") if line and not line.startswith("#version")]
    t = Qwen2Tokenizer(vocab=json.load(open(os.path.join(folder, "vocab.json"), encoding="utf8")), merges=merges)
    t.add_tokens([AddedToken(f"<|{x}|>", special=True, normalized=False) for x in SPECIAL] + [AddedToken(x, special=False, normalized=False) for x in MARKS])
    assert t.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>", "</think>"]) == [151643, 151645, 151668] and t("Hello world").input_ids == [9707, 1879]
    rows = [{"text": x, "ids": t(x).input_ids, "decoded": t.decode(t(x).input_ids)} for x in sentences()]
    assert len(rows) == 200
    with open(path("tokenizer.json"), "w", encoding="utf8") as f: f.write("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]\n")
    if len(sys.argv) > 2:
        template = open(sys.argv[2], encoding="utf8").read()
        rows = []
        for messages, prompt, thinking in chats():
            text = t.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=prompt, enable_thinking=thinking)
            rows.append({"messages": messages, "add_generation_prompt": prompt, "enable_thinking": thinking, "text": text, "ids": t(text).input_ids})
        with open(path("chat.json"), "w", encoding="utf8") as f: f.write("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]\n")
    for name in ("tokenizer.json", "chat.json"): print(name, os.path.getsize(path(name)))

if __name__ == "__main__": main()
