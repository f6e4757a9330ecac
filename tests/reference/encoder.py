#!/usr/bin/env python3
"""Encoders as transformers has them: tiny random BERT, RoBERTa and ModernBERT for token classification, and a tiny sentence embedder.

    python tests/reference/encoder.py
    python tests/reference/encoder.py --check FOLDER     # instead: golden.json and the models of another maker, computed again here
    python tests/reference/encoder.py --minilm FOLDER    # instead: minilm.json, from the real all-MiniLM-L6-v2 in FOLDER

Writes tests/golden/encoder. <family>/golden.safetensors holds two sequences (`ids.0`, `ids.1`, `labels.0`, `labels.1`; -100 is ignored), `hidden.N` after
the last layer, `logits.N`, `loss` (mean cross-entropy over all labelled tokens of both), `loss.weighted` (class weights 1, 2, …) and `grad.<tensor>`, the
gradient of `loss`. All arithmetic in f64 on the weights as stored (f32), eager attention, no dropout.
"""
import argparse, json, os, sys
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (AutoModelForTokenClassification, BertConfig, BertForTokenClassification, BertModel, ModernBertConfig, ModernBertForTokenClassification,
                          RobertaConfig, RobertaForTokenClassification)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import path, write_json, write_tensors

LABELS = ["O", "B-disease", "I-disease", "B-drug", "I-drug"]
TEXTS = [
    "The liver shows a 14 mm cyst in segment VII.",
    "Sjögren's syndrome, naïve T-cells; 37 °C 🙂 fever.",
    "Renal cysts (two) were seen: the left kidney's cyst is simple, the right kidney's is not, and the liver is normal.",
    "",
]
SHAPE = dict(hidden_size=12, num_attention_heads=2, intermediate_size=16, id2label=dict(enumerate(LABELS)), label2id={x: i for i, x in enumerate(LABELS)})

def families(roberta_words):
    return {
        "bert": (BertForTokenClassification, BertConfig(vocab_size=40, num_hidden_layers=2, max_position_embeddings=24, **SHAPE)),
        "roberta": (RobertaForTokenClassification, RobertaConfig(vocab_size=roberta_words, num_hidden_layers=2, max_position_embeddings=26, type_vocab_size=1, layer_norm_eps=1e-5,
                                                                 pad_token_id=1, **SHAPE)),
        # layers 0 and 2 see everything, layer 1 two tokens to either side
        "modernbert": (ModernBertForTokenClassification, ModernBertConfig(vocab_size=40, num_hidden_layers=3, max_position_embeddings=24, local_attention=4, global_attn_every_n_layers=2,
                                                                          pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2, **SHAPE)),
    }

def shake(model, seed):
    """Random weights of which no part is negligible."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name.lower() and name.endswith("weight"): p.copy_(1 + 0.25 * torch.randn_like(p))
            elif p.dim() == 1: p.copy_(0.2 * torch.randn_like(p))
            elif "embed" in name: p.copy_(0.5 * torch.randn_like(p))
            else: p.copy_(torch.randn_like(p) * 1.3 / p.shape[1] ** 0.5)
    return model

def examples(vocab):
    g = torch.Generator().manual_seed(5)
    out = []
    for n in (5, 13):
        labels = torch.randint(0, len(LABELS), (n,), generator=g)
        labels[0] = labels[-1] = -100
        out.append((torch.randint(3, vocab, (n,), generator=g), labels))   # ids 0 to 2 are control tokens
    return out

def outputs(folder, examples):
    """Hidden states, logits and the sums of the losses of a saved model."""
    model = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    out, flat = {}, []
    for i, (ids, labels) in enumerate(examples):
        result = model(input_ids=ids[None], output_hidden_states=True)
        base = getattr(model, model.base_model_prefix)(input_ids=ids[None]).last_hidden_state
        out.update({f"ids.{i}": ids, f"labels.{i}": labels, f"hidden.{i}": base[0], f"logits.{i}": result.logits[0]})
        flat.append((result.logits[0], labels))
    z, y = (torch.cat(x) for x in zip(*flat))
    loss = torch.nn.functional.cross_entropy(z, y, ignore_index=-100)
    weights = torch.arange(1, z.shape[1] + 1, dtype=torch.float64)
    out["loss"] = loss[None]
    out["loss.weighted"] = torch.nn.functional.cross_entropy(z, y, weight=weights, ignore_index=-100)[None]
    loss.backward()
    for name, p in model.named_parameters(): out[f"grad.{name}"] = p.grad
    return out

def save(model, folder):
    model.save_pretrained(path("encoder", folder, "x")[:-2])
    write = lambda name: print(f"encoder/{folder}/{name}", os.path.getsize(path("encoder", folder, name)))
    write("config.json"); write("model.safetensors")
    return path("encoder", folder, "x")[:-2]

def encodings(tokens, texts):
    """Ids without the special tokens' place in doubt: offsets in code points, (0, 0) and no word for special ones."""
    rows = []
    for text in texts:
        e = tokens.encode(text)
        rows.append({"text": text, "ids": e.ids, "offsets": [list(x) for x in e.offsets], "words": e.word_ids})
    return rows

def wordpiece():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"the liver shows a cyst in segment of 14 mm renal left kidney is s ##jo ##gr ##en syndrome simple normal and . , ; : ( ) ' - ° ##s ##c fever # [ ] ##ve".split()]
    tokens = Tokenizer(models.WordPiece({x: i for i, x in enumerate(pieces)}, unk_token="[UNK]", max_input_chars_per_word=100))
    tokens.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
    tokens.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokens.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokens.decoder = decoders.WordPiece()
    tokens.add_special_tokens(pieces[:5])
    return tokens, len(pieces)

def embedder():
    tokens, words = wordpiece()
    model = shake(BertModel(BertConfig(vocab_size=words, hidden_size=12, num_attention_heads=2, intermediate_size=16, num_hidden_layers=2, max_position_embeddings=24)), 23)
    folder = save(model, "embedder")
    rows = encodings(tokens, TEXTS)
    tokens.enable_truncation(8); tokens.enable_padding(length=8)           # as the real file has them: to be switched off by who reads it
    tokens.save(path("encoder", "embedder", "tokenizer.json"))
    with open(path("encoder", "embedder", "sentence_bert_config.json"), "w") as f: json.dump({"max_seq_length": 16, "do_lower_case": False}, f)
    with open(path("encoder", "embedder", "1_Pooling", "config.json"), "w") as f:
        json.dump({"word_embedding_dimension": 12, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}, f)
    write_json("encoder/embedder/golden.json", embedded(folder, rows, 16))

def embedded(folder, rows, most):
    """sentence-transformers' pipeline: cut, BERT, mean over all tokens, unit length."""
    model = BertModel.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    for row in rows:
        ids = row["ids"] if len(row["ids"]) <= most else row["ids"][: most - 1] + row["ids"][-1:]
        with torch.no_grad(): mean = model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0)
        row["embedding"] = [round(x, 8) for x in (mean / mean.norm()).tolist()]
    return rows

def byte_level():
    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokens.train_from_iterator(TEXTS, trainer)
    tokens.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    return tokens

def check(folder):
    golden = json.load(open(os.path.join(folder, "golden.json")))
    for name in ("bert", "roberta", "modernbert"):
        g = golden[name]
        ours = outputs(os.path.join(folder, name), [(torch.tensor(g["ids"]), torch.tensor(g["labels"]))])
        apart = lambda a, b: (a.flatten() - torch.tensor(b, dtype=torch.float64).flatten()).abs().max().item()
        worst = 0.0
        for k, want in g["grads"].items():
            flat = ours[f"grad.{k}"].flatten()
            worst = max(worst, apart(flat.norm(), want["norm"]), apart(flat[:4], want["first4"]))
        print(f"{name}: logits {apart(ours['logits.0'], g['logits']):.1e}, loss {abs(ours['loss'].item() - g['loss']):.1e}, gradients {worst:.1e} of {len(g['grads'])} tensors")

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--check"); ap.add_argument("--minilm")
    a = ap.parse_args()
    if a.check: return check(a.check)
    if a.minilm:
        tokens = Tokenizer.from_file(os.path.join(a.minilm, "tokenizer.json")); tokens.no_truncation(); tokens.no_padding()
        texts = [*TEXTS[:3], " ".join(TEXTS[:3] * 12)]                      # the last one is cut at 256 tokens
        rows = embedded(a.minilm, encodings(tokens, texts), 256)
        return write_json("encoder/minilm.json", [{k: row[k] for k in ("text", "embedding")} for row in rows])
    tokens = byte_level()
    tokens.save(path("encoder", "roberta", "tokenizer.json"))
    write_json("encoder/roberta/tokens.json", encodings(tokens, TEXTS))
    for seed, (name, (kind, config)) in enumerate(families(tokens.get_vocab_size()).items()):
        folder = save(shake(kind(config), 31 + seed), name)
        write_tensors(f"encoder/{name}/golden.safetensors", outputs(folder, examples(config.vocab_size)))
    embedder()

if __name__ == "__main__": main()
