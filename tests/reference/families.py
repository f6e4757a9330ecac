#!/usr/bin/env python3
"""Tiny random Llama, Mistral, Qwen2 and Qwen3.5 checkpoints with what transformers, PEFT and PyPI's gguf make of them: tests/golden/families.

    python tests/reference/families.py [NAME …]   wants torch, transformers, peft, gguf; without names all of it

A folder a model, `config.json` as transformers 5 writes it; `config.<variant>.json` is another config for the same weights, in the spelling of
transformers 4. Arithmetic is f64 on the weights as stored (bf16); transformers keeps norms, rotary tables and the delta rule in f32.
"""
import importlib, json, os, shutil, sys, tempfile
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))]
peft = importlib.import_module("peft")          # the package, not peft.py beside this file
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import numpy as np, torch
from gguf import GGMLQuantizationType as T, GGUFWriter
from safetensors.torch import load_file
from transformers import (AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3_5ForCausalLM, Qwen3_5TextConfig)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from common import LINEAR, logprobs, path, write_json, write_tensors

VOCAB, HIDDEN, INNER, LAYERS, HEADS, KV = 64, 32, 32, 3, 4, 2
SIZES = dict(vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
             num_key_value_heads=KV, max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
OLD = {"rope_parameters": None}
# three layers of Gated DeltaNet and one of gated attention that turns a quarter of a head
HYBRID = SIZES | dict(num_hidden_layers=4, head_dim=16, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=12)
MODELS = {
    "llama3": (LlamaForCausalLM, LlamaConfig(**SIZES, head_dim=16, tie_word_embeddings=True, rope_parameters={
        "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32}), {}, {}),
    # biases everywhere; three ways to stretch the same weights
    "llama_bias": (LlamaForCausalLM, LlamaConfig(**SIZES, tie_word_embeddings=False, attention_bias=True, mlp_bias=True, rope_parameters={
        "rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4.0}),
        {"linear": OLD | {"rope_theta": 100.0, "rope_scaling": {"type": "linear", "factor": 2.5}, "torch_dtype": "bfloat16"},
         "dynamic": OLD | {"rope_theta": 100.0, "rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}}, dict(use_dora=True)),
    "mistral": (MistralForCausalLM, MistralConfig(**SIZES, head_dim=8, tie_word_embeddings=False, sliding_window=5, rope_parameters={
        "rope_type": "default", "rope_theta": 1000.0}), {"whole": OLD | {"rope_theta": 1000.0, "sliding_window": None}}, dict(use_rslora=True)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SIZES, tie_word_embeddings=True, use_sliding_window=True, sliding_window=4, max_window_layers=1,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0}),
        {"whole": OLD | {"rope_theta": 1000.0, "use_sliding_window": False, "layer_types": None}}, dict(use_dora=True)),
    "qwen3_5": (Qwen3_5ForCausalLM, Qwen3_5TextConfig(**HYBRID, tie_word_embeddings=True, rope_parameters={
        "rope_type": "default", "rope_theta": 1000.0, "partial_rotary_factor": 0.25}), {}, dict(target_modules=LINEAR + [
        "in_proj_qkv", "in_proj_z", "in_proj_a", "in_proj_b", "out_proj"])),
}
ROPES = [("llama-3.1-8b", 128, 131072, dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)),
         ("llama-3.2-1b", 64, 131072, dict(rope_type="llama3", rope_theta=500000.0, factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)),
         ("linear", 64, 4096, dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
         ("dynamic up to its length", 64, 4096, dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0)),
         ("yarn", 128, 131072, dict(rope_type="yarn", rope_theta=1000000.0, factor=4.0, original_max_position_embeddings=32768)),
         ("yarn not rounded, with mscale", 64, 4096, dict(rope_type="yarn", rope_theta=10000.0, factor=40.0, original_max_position_embeddings=4096, mscale=1.0,
                                                          mscale_all_dim=0.8, beta_fast=16.0, beta_slow=2.0, truncate=False)),
         ("yarn with a factor of its own", 64, 4096, dict(rope_type="yarn", rope_theta=10000.0, factor=8.0, original_max_position_embeddings=512, attention_factor=1.5))]

def folder(name): return path("families", name, "x")[:-2]

def make(name, seed):
    """Random weights whose logits spread over several units, whose attention is not flat and whose norms are not 1."""
    torch.manual_seed(seed)
    kind, config, variants, _ = MODELS[name]
    model = kind(config)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "norm" in key: p.copy_((0 if name == "qwen3_5" and "linear_attn" not in key else 1) + 0.25 * torch.randn_like(p))  # zero-centred
            elif key.endswith(("bias", "A_log")): p.copy_(0.5 * torch.randn_like(p))
            elif "embed" in key: p.copy_(0.35 * torch.randn_like(p))
            else: p.copy_(torch.randn_like(p) * 1.3 / p.shape[1] ** 0.5)
    model.to(torch.bfloat16).save_pretrained(folder(name))
    if os.path.exists(f"{folder(name)}/generation_config.json"): os.remove(f"{folder(name)}/generation_config.json")
    written = json.load(open(f"{folder(name)}/config.json"))
    for variant, edits in variants.items():
        write_json(f"families/{name}/config.{variant}.json", {k: v for k, v in (written | edits).items() if not (v is None and k in ("rope_parameters", "layer_types"))})

def load(name, variant=None):
    with tempfile.TemporaryDirectory() as tmp:
        shutil.copy(f"{folder(name)}/model.safetensors", tmp)
        shutil.copy(f"{folder(name)}/config.{variant}.json" if variant else f"{folder(name)}/config.json", f"{tmp}/config.json")
        return AutoModelForCausalLM.from_pretrained(tmp, dtype=torch.float64, attn_implementation="eager").eval()

def sequences():
    rng = np.random.default_rng(3)
    return [rng.integers(0, VOCAB, 7).tolist(), rng.integers(0, VOCAB, 23).tolist()]

def pairs():
    rng = np.random.default_rng(25)
    ids = [rng.integers(3, VOCAB, n + m).tolist() for n, m in ((9, 4), (17, 7), (14, 1), (6, 5))]
    return [{"prompt_ids": x[:n], "completion_ids": x[n:-1] + [2]} for x, n in zip(ids, (9, 17, 14, 6))]

def mean_loss(model): return -torch.cat([logprobs(model, p) for p in pairs()]).mean()

def forwards(name):
    out = {}
    for variant in [None, *MODELS[name][2]]:
        model = load(name, variant)
        for i, ids in enumerate(sequences()):
            with torch.no_grad(): out[f"{variant or 'config'}.{i}"] = model(input_ids=torch.tensor([ids])).logits[0]
    print(name, {k: round(v.std().item(), 2) for k, v in out.items()})
    write_tensors(f"families/{name}/logits.safetensors", out)

def names(model):
    """PEFT's parameter under its key in the file."""
    return {k.replace(".default.weight", "" if "magnitude" in k else ".weight").replace(".default", ""): p for k, p in model.named_parameters() if p.requires_grad}

def adapter(name, settings):
    """An adapter saved by PEFT on every linear layer, its log-probabilities and the gradient of each of its tensors."""
    torch.manual_seed(17)
    config = peft.LoraConfig(r=2, lora_alpha=4, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM", **{"target_modules": LINEAR} | settings)
    model = peft.get_peft_model(load(name).float(), config)
    with torch.no_grad():
        for k, p in names(model).items():
            if "magnitude" in k: p.mul_(1 + 0.2 * torch.randn_like(p))
            else: p.copy_(torch.randn_like(p) * (0.12 if "lora_A" in k else 0.08))
    at = path("families", name, "adapter", "x")[:-2]
    model.peft_config["default"].base_model_name_or_path = name
    model.save_pretrained(at)
    if os.path.exists(f"{at}/README.md"): os.remove(f"{at}/README.md")
    saved = json.load(open(f"{at}/adapter_config.json"))
    saved["target_modules"].sort()
    write_json(f"families/{name}/adapter/adapter_config.json", saved)
    model = peft.PeftModel.from_pretrained(load(name), at, is_trainable=True).double()
    loss = mean_loss(model)
    loss.backward()
    write_tensors(f"families/{name}/adapter/gradients.safetensors", {k: p.grad for k, p in names(model).items()})
    return loss.item()

def whole(name):
    """Gradients of the vectors (norms and biases), of one matrix and of what is no matrix, where every weight learns."""
    model = load(name)
    loss = mean_loss(model)
    loss.backward()
    keep = lambda k, p: p.dim() != 2 or k in ("model.layers.1.self_attn.k_proj.weight", "model.layers.1.linear_attn.in_proj_qkv.weight")
    write_tensors(f"families/{name}/gradients.safetensors", {k: p.grad for k, p in model.named_parameters() if keep(k, p)})
    return loss.item()

def permute(w, heads):
    """llama.cpp's order of the rows of queries and keys (conversion/llama.py)."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)

PARTS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}

def theirs(name):
    fixed = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    if name in fixed: return fixed[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{PARTS[part]}.{kind}"

def gguf(name, arch, stretch):
    """The checkpoint as llama.cpp's converter would write it, by PyPI's writer; matrices BF16, so that nothing is rounded."""
    config, writer = json.load(open(f"{folder(name)}/config.json")), GGUFWriter(path("families", f"{name}.gguf"), arch)
    dim = config.get("head_dim") or HIDDEN // HEADS
    writer.add_name(name); writer.add_block_count(LAYERS); writer.add_context_length(64); writer.add_embedding_length(HIDDEN); writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS); writer.add_head_count_kv(KV); writer.add_layer_norm_rms_eps(1e-5); writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    if arch == "llama": writer.add_rope_dimension_count(dim)
    writer.add_vocab_size(VOCAB); writer.add_tokenizer_model("none"); writer.add_eos_token_id(2)
    stretch(writer, dim)
    for key, t in load_file(f"{folder(name)}/model.safetensors").items():
        w = t.float().numpy()
        if arch == "llama" and ".q_proj." in key: w = permute(w, HEADS)
        if arch == "llama" and ".k_proj." in key: w = permute(w, KV)
        w = np.ascontiguousarray(w)
        if w.ndim == 1: writer.add_tensor(theirs(key), w)
        else: writer.add_tensor(theirs(key), (w.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8), raw_shape=None, raw_dtype=T.BF16)
    writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()
    print(f"families/{name}.gguf", os.path.getsize(path("families", f"{name}.gguf")))

def divisors(writer, dim):
    """llama.cpp's rope_freqs.weight for the llama3 scaling of MODELS."""
    plain = 500.0 ** (-np.arange(0, dim, 2) / dim)
    turns = 32 * plain / (2 * np.pi)
    m = np.clip((turns - 1) / 3, 0, 1)
    writer.add_tensor("rope_freqs.weight", (1 / ((1 - m) / 8 + m)).astype(np.float32))
    writer.add_rope_scaling_orig_ctx_len(32)

def ropes():
    out = []
    for name, dim, positions, rope in ROPES:
        config = LlamaConfig(hidden_size=dim * 2, num_attention_heads=2, head_dim=dim, max_position_embeddings=positions, rope_parameters=dict(rope))
        inverse, factor = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, "cpu")
        out.append({"name": name, "head_dim": dim, "max_position_embeddings": positions, "rope": rope, "attention_factor": factor, "inv_freq": inverse.tolist()})
    write_json("families/rope.json", out)

def main():
    wanted = sys.argv[1:] or list(MODELS)
    kept = path("families", "losses.json")
    losses = json.load(open(kept))["losses"] if os.path.exists(kept) else {}
    for seed, name in enumerate(MODELS):
        if name in wanted:
            make(name, 31 + seed)
            forwards(name)
            losses[name] = {"base": whole(name), "adapter": adapter(name, MODELS[name][3])}
    write_json("families/losses.json", {"sequences": sequences(), "pairs": pairs(), "losses": losses})
    if sys.argv[1:]: return
    ropes()
    gguf("llama3", "llama", divisors)
    gguf("llama_bias", "llama", lambda writer, _: writer.add_rope_scaling_factor(2.5))      # no type: linear
    gguf("qwen2", "qwen2", lambda writer, _: None)

if __name__ == "__main__": main()
