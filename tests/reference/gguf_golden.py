#!/usr/bin/env python3
"""A tiny Qwen3 in a GGUF file by PyPI's own writer, with a tensor of every type that dxlab reads: tests/golden/gguf.

`pip install gguf`. Float, legacy and Q8_0 tensors are quantised by gguf-py; it cannot quantise K types, so their blocks are random bytes with
small scales (which also tries every bit of the layout). Values are gguf-py's dequantisation, logits transformers' on those values in f64.
"""
import json, os
import numpy as np, torch
from gguf import GGMLQuantizationType as T, GGUFWriter, TokenType
from gguf.quants import dequantize, quantize
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM
from common import path, sequences, write_json, write_tensors

HIDDEN, INNER, HEADS, KV, DIM, LAYERS, VOCAB = 256, 64, 2, 1, 32, 2, 320
# Bytes of a block, and where its f16 scales are with a factor that keeps the weights near ±0.1.
K = {T.Q2_K: (84, {80: 6e-3, 82: 9e-3}), T.Q3_K: (110, {108: 1.5e-3}), T.Q4_K: (144, {0: 3e-4, 2: 2.2e-3}),
     T.Q5_K: (176, {0: 1.5e-4, 2: 2.2e-3}), T.Q6_K: (210, {208: 6e-5})}
TYPES = {"token_embd": T.Q8_0, "blk.0.attn_q": T.Q4_K, "blk.0.attn_k": T.Q5_K, "blk.0.attn_v": T.Q3_K, "blk.0.attn_output": T.Q5_1,
         "blk.0.ffn_gate": T.Q2_K, "blk.0.ffn_up": T.Q6_K, "blk.0.ffn_down": T.Q8_0, "blk.1.attn_q": T.BF16, "blk.1.attn_k": T.F16,
         "blk.1.attn_v": T.F32, "blk.1.attn_output": T.Q4_0, "blk.1.ffn_gate": T.Q4_1, "blk.1.ffn_up": T.Q4_K, "blk.1.ffn_down": T.Q5_0}
SPECIAL = ["endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start", "box_end", "quad_start", "quad_end",
           "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad"]
MARKS = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
         "<tool_response>", "</tool_response>", "<think>", "</think>"]
TEXTS = ["The liver shows a 14 mm cyst in segment VII.", "No hydronephrosis; the kidneys aren't enlarged.", "The spleen is normal. The liver is normal.",
         "A simple cyst of the left kidney measures 2.5 cm.\n\nGallbladder: stones, no wall thickening.", " \n\n  x", "肝臓 🙂 naïve", ""]

def stored(rng, kind, shape):
    """Data as it lies in the file, and what it means."""
    if kind in K:
        size, scales = K[kind]
        blocks = rng.integers(0, 256, (shape[0], shape[1] // 256, size), dtype=np.uint8)
        for at, scale in scales.items():
            d = (scale * (0.5 + rng.random(blocks.shape[:2]))).astype(np.float16)
            blocks[:, :, at:at + 2] = d[..., None].view(np.uint8)
        data = blocks.reshape(shape[0], -1)
    else:
        data = quantize((rng.standard_normal(shape) * 1.2 / shape[1] ** 0.5).astype(np.float32), kind)
    return data, dequantize(data, kind).astype(np.float32).reshape(shape)

def shapes():
    yield "token_embd", (VOCAB, HIDDEN)
    yield "output_norm", (HIDDEN,)
    for i in range(LAYERS):
        for part, shape in (("attn_norm", (HIDDEN,)), ("ffn_norm", (HIDDEN,)), ("attn_q_norm", (DIM,)), ("attn_k_norm", (DIM,)),
                            ("attn_q", (HEADS * DIM, HIDDEN)), ("attn_k", (KV * DIM, HIDDEN)), ("attn_v", (KV * DIM, HIDDEN)),
                            ("attn_output", (HIDDEN, HEADS * DIM)), ("ffn_gate", (INNER, HIDDEN)), ("ffn_up", (INNER, HIDDEN)), ("ffn_down", (HIDDEN, INNER))):
            yield f"blk.{i}.{part}", shape

def hugging_face(name):
    parts = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
             "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    if name == "token_embd": return "model.embed_tokens.weight"
    if name == "output_norm": return "model.norm.weight"
    _, layer, part = name.split(".")
    return f"model.layers.{layer}.{parts[part]}.weight"

def vocabulary():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=278, min_frequency=2, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    state = json.loads(t.to_str())["model"]
    return state["vocab"], [tuple(m) for m in state["merges"]]

def main():
    rng = np.random.default_rng(41)
    vocab, merges = vocabulary()
    added = [f"<|{x}|>" for x in SPECIAL] + MARKS
    tokens = sorted(vocab, key=vocab.get) + added
    types = [TokenType.NORMAL] * len(vocab) + [TokenType.CONTROL if x.startswith("<|") else TokenType.USER_DEFINED for x in added]
    types += [TokenType.UNUSED] * (VOCAB - len(tokens))
    tokens += [f"[PAD{i}]" for i in range(len(tokens), VOCAB)]
    w = GGUFWriter(path("gguf", "tiny.gguf"), "qwen3")
    w.add_name("tiny"); w.add_block_count(LAYERS); w.add_context_length(128); w.add_embedding_length(HIDDEN); w.add_feed_forward_length(INNER)
    w.add_head_count(HEADS); w.add_head_count_kv(KV); w.add_key_length(DIM); w.add_value_length(DIM); w.add_layer_norm_rms_eps(1e-6); w.add_rope_freq_base(1e5)
    w.add_tokenizer_model("gpt2"); w.add_tokenizer_pre("qwen2"); w.add_token_list(tokens); w.add_token_types(types)
    w.add_token_merges([" ".join(m) for m in merges])
    ids = {t: i for i, t in enumerate(tokens)}
    w.add_eos_token_id(ids["<|im_end|>"]); w.add_pad_token_id(ids["<|endoftext|>"]); w.add_bos_token_id(ids["<|endoftext|>"]); w.add_add_bos_token(False)
    w.add_chat_template("{{ messages[0].content }}")
    values, state = {}, {}
    for name, shape in shapes():
        kind = TYPES.get(name, T.F32)
        if len(shape) == 1:
            data = value = (1 + 0.25 * rng.standard_normal(shape)).astype(np.float32)
        else:
            data, value = stored(rng, kind, shape)
        w.add_tensor(name + ".weight", data, raw_dtype=kind)
        flat = value.ravel().astype(np.float64)
        at = np.linspace(0, flat.size - 1, 40).astype(int)
        values[hugging_face(name)] = {"type": kind.name, "shape": shape, "sum": flat.sum(), "squares": (flat ** 2).sum(), "at": at.tolist(), "values": flat[at].tolist()}
        state[hugging_face(name)] = torch.tensor(value, dtype=torch.float64)
        if len(shape) == 2: print(f"{name:20} {kind.name:5} std {flat.std():.3f}")
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
    config = Qwen3Config(hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV, head_dim=DIM,
                         vocab_size=VOCAB, tie_word_embeddings=True, rms_norm_eps=1e-6, max_position_embeddings=128, attention_bias=False,
                         rope_parameters={"rope_type": "default", "rope_theta": 1e5})
    model = Qwen3ForCausalLM(config).to(torch.float64).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert missing == ["lm_head.weight"] and not unexpected, (missing, unexpected)
    model.tie_weights()
    out = {}
    with torch.no_grad():
        for i, s in enumerate(sequences(VOCAB)):
            out[f"ids.{i}"] = torch.tensor(s, dtype=torch.int64)
            out[f"logits.{i}"] = model(input_ids=torch.tensor([s])).logits[0]
    print("logits: std", out["logits.1"].std().item(), "max", out["logits.1"].abs().max().item())
    write_tensors("gguf/logits.safetensors", out)
    from transformers import AddedToken
    t = Qwen2Tokenizer(vocab=vocab, merges=merges)
    t.add_tokens([AddedToken(f"<|{x}|>", special=True, normalized=False) for x in SPECIAL] + [AddedToken(x, special=False, normalized=False) for x in MARKS])
    texts = TEXTS + ["<|im_start|>user\ncyst<|im_end|>\n<think>\n</think>", "12 a1 b's DON'T  \t end "]
    write_json("gguf/values.json", {"tensors": values, "texts": [{"text": x, "ids": t(x).input_ids} for x in texts]})
    print("tiny.gguf", os.path.getsize(path("gguf", "tiny.gguf")))

if __name__ == "__main__": main()
