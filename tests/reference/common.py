"""Shared by the scripts that make tests/golden: seeds, tiny Qwen3 checkpoints, the token sequences. See tests/golden/README.md."""
import json, os
import numpy as np, torch
from safetensors.torch import save_file
from transformers import Qwen3Config, Qwen3ForCausalLM

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden")
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
torch.set_num_threads(1)

def path(*parts):
    p = os.path.join(GOLDEN, *parts)
    os.makedirs(os.path.dirname(p), exist_ok=True)
    return p

def checkpoint(tied):
    """A random checkpoint whose logits spread over several units, whose attention is not flat and whose norms are not 1."""
    torch.manual_seed(7 if tied else 11)
    cfg = Qwen3Config(hidden_size=64, intermediate_size=160 if tied else 128, num_hidden_layers=3 if tied else 2, num_attention_heads=4,
                      num_key_value_heads=2, head_dim=32, vocab_size=256 if tied else 384, tie_word_embeddings=tied, rms_norm_eps=1e-6,
                      rope_parameters={"rope_type": "default", "rope_theta": 1e6 if tied else 1e4}, max_position_embeddings=512,
                      attention_bias=False, bos_token_id=None, eos_token_id=1, pad_token_id=0)
    model = Qwen3ForCausalLM(cfg)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name: p.copy_(1 + 0.25 * torch.randn_like(p))
            elif "embed" in name: p.copy_(0.35 * torch.randn_like(p))
            else: p.copy_(torch.randn_like(p) * 1.3 / p.shape[1] ** 0.5)
    return model

def load(folder):
    return Qwen3ForCausalLM.from_pretrained(path(folder, "config.json").rsplit("/", 1)[0], dtype=torch.float64).eval()

def sequences(vocab):
    """Two sequences of different length, with repeated tokens."""
    rng = np.random.default_rng(3)
    return [rng.integers(0, vocab, 7).tolist(), rng.integers(0, vocab, 23).tolist()]

def pairs():
    return [json.loads(x) for x in open(path("pairs.jsonl"))]

def write_json(name, value):
    with open(path(name), "w") as f: json.dump(value, f, indent=1); f.write("\n")
    print(name, os.path.getsize(path(name)))

def write_tensors(name, tensors, dtype=torch.float32):
    save_file({k: v.detach().to(dtype if v.is_floating_point() else v.dtype).contiguous() for k, v in sorted(tensors.items())}, path(name), metadata={"format": "pt"})
    print(name, os.path.getsize(path(name)))

def logprobs(model, pair):
    """Natural log-probability of every completion token, given all tokens before it."""
    p, c = pair["prompt_ids"], pair["completion_ids"]
    z = model(input_ids=torch.tensor([p + c])).logits[0, len(p) - 1 : -1].log_softmax(-1)
    return z.gather(1, torch.tensor(c)[:, None])[:, 0]
