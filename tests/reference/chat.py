#!/usr/bin/env python3
"""Chat templates as transformers renders them, and tokenizers as the tokenizers library runs them: tests/golden/chat.

    python chat.py                    # conversations.json, and byte.json, pieces*.json with ids
    python chat.py SMOLLM2.gguf       # smollm2.json: ids of texts and conversations with SmolLM2's own vocabulary and template

The templates (tests/golden/chat/*.jinja) are our own, in the style of published ones. transformers' clock is set to the day that dxlab
always says. Nothing of SmolLM2 is written but ids: its tokenizer is built from the file's metadata with the two steps of its pre-tokenizer
(digits one by one, then GPT-2's words), which transformers 5.24 does not take from a GGUF file.
"""
import datetime, glob, json, os, sys
import jinja2
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers.utils import chat_template_utils as t
from common import path, write_json

class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None): return cls(2024, 7, 26, 12, 0)
t.datetime = Clock

TOKENS = {"llama2": ("<s>", "</s>"), "mistral3": ("<s>", "</s>"), "nosystem": ("<s>", "</s>"), "llama3": ("<|begin_of_text|>", "<|eot_id|>"),
          "r1": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"), "smollm2": ("<|im_start|>", "<|im_end|>"), "qwen3": (None, "<|im_end|>"),
          "qwen25": (None, "<|im_end|>"), "json": (None, "<|im_end|>")}
TEXTS = ["The liver shows a 14 mm cyst in segment VII.", "No hydronephrosis; the kidneys aren't enlarged.\n", "\n\n 1. Renal cyst\n 2. Gallstones  ",
         "Sjögren's syndrome, naïve T-cells, 37 °C, 12345", "肝臓に嚢胞 🙂", " ", "", "x=[1,2];{a}\t\tb", "<b>&amp;</b> \"quoted\" 'so' \\ end"]

def conversations():
    s, u, a = [lambda text, r=r: {"role": r, "content": text} for r in ("system", "user", "assistant")]
    for text in TEXTS: yield [u(text)]
    yield [s("You are a physician."), u(TEXTS[0])]
    yield [s("  Rules:\n- short "), u(TEXTS[2]), a(" Renal cyst\n"), u(TEXTS[1])]
    yield [u(TEXTS[0]), a("Renal cyst"), u(TEXTS[3]), a("<think>\nsmall\n</think>\n\nGallstone"), u("And now?")]
    yield [u(TEXTS[0]), a("Renal cyst, Gallstone")]
    yield [s("You are a physician."), u(TEXTS[0]), a("Renal cyst"), u(TEXTS[1]), a("no acute abnormality")]
    yield [u(TEXTS[0]), a("<think>\nA cyst is seen.\n</think>\n\nRenal cyst")]
    yield [a("first"), u("then")]

def named(name):
    bos, eos = TOKENS[name]
    return {k: v for k, v in (("bos_token", bos), ("eos_token", eos)) if v}

def render(source, messages, prompt, thinking, tokens):
    try: return {"text": t.render_jinja_template([messages], chat_template=source, add_generation_prompt=prompt, enable_thinking=thinking, **tokens)[0][0]}
    except jinja2.exceptions.TemplateError as e: return {"error": str(e)}

def templates():
    rows = []
    for file in sorted(glob.glob(path("chat", "*.jinja"))):
        name = os.path.basename(file)[:-6]
        source = open(file, encoding="utf8").read()
        for messages in conversations():
            answered = messages[-1]["role"] == "assistant"
            for thinking in (True, False) if name == "qwen3" else (False,):
                rows.append({"template": name, "messages": messages, "prompt": not answered, "thinking": thinking,
                             **render(source, messages, not answered, thinking, named(name))})
    with open(path("chat", "conversations.json"), "w", encoding="utf8") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]\n")
    json.dump({name: named(name) for name in TOKENS}, open(path("chat", "tokens.json"), "w"), ensure_ascii=False, indent=1)

def vocabulary_texts():
    return [x for x in TEXTS if x.strip()] * 3 + ["user assistant system INST SYS [INST] [/INST] <<SYS>> <</SYS>> Today is 26 Jul 2024"] * 3

def pieces(layout):
    """A small SentencePiece-like BPE: characters and merges learnt from our texts, all bytes, <unk> <s> </s> in front."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    learner.train_from_iterator(vocabulary_texts(), trainers.BpeTrainer(vocab_size=220, min_frequency=2, show_progress=False))
    learnt = json.loads(learner.to_str())["model"]
    front = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    merges = [tuple(m) for m in learnt["merges"]]
    words = ["".join(m) for m in merges]
    characters = [w for w in learnt["vocab"] if w not in words]
    vocab = {w: i for i, w in enumerate(front + words + characters)}
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    if layout == "prepend":
        tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tok.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=layout, split=False)
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tok.add_special_tokens([AddedToken(x, normalized=False, special=True) for x in ("<unk>", "<s>", "</s>")])
    return tok

WORDS3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

def byte_level(style):
    """A byte-level BPE cut as Llama 3's or SmolLM's."""
    from tokenizers import Regex
    cut = {"llama3": [pre_tokenizers.Split(Regex(WORDS3), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)],
           "smollm": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]}[style]
    tok = Tokenizer(models.BPE(ignore_merges=style == "llama3"))
    tok.pre_tokenizer = pre_tokenizers.Sequence(cut)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(vocabulary_texts(), trainers.BpeTrainer(vocab_size=360, min_frequency=2, show_progress=False,
                            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    special = {"llama3": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"],
               "smollm": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]}[style]
    tok.add_special_tokens([AddedToken(x, normalized=False, special=True) for x in special])
    return tok

def tokenizers():
    rendered = [r["text"] for r in json.load(open(path("chat", "conversations.json"), encoding="utf8"))
                if "text" in r and r["template"] in ("llama2", "llama3", "smollm2")][::4]
    for name, tok in [("pieces-" + x, pieces(x)) for x in ("prepend", "always", "first", "never")] + [("byte-" + x, byte_level(x)) for x in ("llama3", "smollm")]:
        rows = [{"text": x, "ids": tok.encode(x, add_special_tokens=False).ids} for x in TEXTS + rendered + ["<s>[INST] Hello!", "<s>Hello!", "a  b<s> c</s>"]]
        tok.save(path("chat", name + ".tokenizer.json"), pretty=False)
        write_json(os.path.join("chat", name + ".json"), rows)

def scores():
    """Merges that transformers derives from a SentencePiece vocabulary with scores, several splits of a token and equal scores among them."""
    from transformers.tokenization_utils_base import generate_merges
    letters, words = list("abcd▁"), ["ab", "bc", "abc", "cd", "abcd", "▁a", "▁ab", "bcd", "dd", "ddd", "dddd", "▁abcd", "▁▁", "▁▁▁▁"]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + words + letters
    values = {x: 0.0 for x in tokens} | {x: -float(i // 2) for i, x in enumerate(words)} | {x: -100.0 - i for i, x in enumerate(letters)}
    merges = generate_merges({x: i for i, x in enumerate(tokens)}, values, tokens[:259])
    write_json("chat/scores.json", {"words": words + letters, "scores": [values[x] for x in words + letters], "merges": merges})

STRINGS = ["The liver shows a 14 mm cyst in segment VII.", "Impression:\n 1. Renal cyst\n\n2. Gallstones", "Sjögren's syndrome, 37 °C; aren't", "肝臓 🙂",
           "BP 120/80  mmHg, HR  72", "<|im_start|>user\nA cyst.<|im_end|>\n", "a\tb\r\n\r\n12  34\n\n\n5"]

def smollm2(file):
    from gguf import GGUFReader
    field = lambda key: GGUFReader(file).fields[key].contents()
    names, kinds, merges = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type"), field("tokenizer.ggml.merges")
    tok = Tokenizer(models.BPE(vocab={x: i for i, x in enumerate(names)}, merges=[tuple(m.split(" ")) for m in merges]))
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tok.add_special_tokens([AddedToken(x, normalized=False, special=True) for x, kind in zip(names, kinds) if kind == 3])
    source = field("tokenizer.chat_template")
    ids = lambda text: tok.encode(text, add_special_tokens=False).ids
    rows = []
    for messages in conversations():
        prompt = messages[-1]["role"] != "assistant"
        text = render(source, messages, prompt, False, named("smollm2"))["text"]
        rows.append({"messages": messages, "prompt": prompt, "ids": ids(text)})
    write_json("chat/smollm2.json", {"strings": [{"text": x, "ids": ids(x)} for x in STRINGS], "chats": rows})

if __name__ == "__main__":
    if len(sys.argv) > 1: smollm2(sys.argv[1])
    else:
        templates()
        tokenizers()
        scores()
