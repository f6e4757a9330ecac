#!/usr/bin/env python3
"""Outside readers on what `dxlab export` and `dxlab merge` write. Not part of the tests: it needs `pip install gguf llama-cpp-python` and a built dxlab.

    python tests/reference/gguf_check.py target/debug/dxlab [RUN_FOLDER_OF_AN_ADAPTER]
    python tests/reference/gguf_check.py target/debug/dxlab --families          Llama, Mistral and Qwen2 of tests/golden/families (no llama.cpp)

1. every type of GGUF, by PyPI's gguf reader: metadata, names, shapes, and the dequantised values against those that dxlab reads
   (it exports its own GGUF as safetensors in f32);
2. the f32 GGUF and the safetensors folder, by transformers: log-probabilities against `dxlab score`, token ids against transformers' own;
3. the f32 and f16 GGUF, by llama.cpp: greedy tokens of eight prompts against `dxlab generate` on the same file, and token ids of texts.

With an adapter, all of it is done for the model that `dxlab merge` makes. For the families: the rows of queries and keys as PyPI's reader finds
them against llama.cpp's order, biases, divisors of rotary frequencies, and transformers' log-probabilities on the file and on dxlab's folder.
"""
import json, os, shutil, subprocess, sys, tempfile
import numpy as np, torch
from gguf import GGUFReader, dequantize
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

TEXTS = ["A simple cyst of the left kidney measures 2.5 cm.\n\nGallbladder: stones.", "Sjögren's syndrome, naïve T-cells, 37 °C  \t end", "No hydronephrosis",
         "<|im_start|>user\nThe liver is normal.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"]
PROMPTS = [f"<|im_start|>user\n{t}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n" for t in (
    "The liver shows a 14 mm cyst in segment VII.", "No hydronephrosis; the kidneys are not enlarged.", "Gallbladder: stones, no wall thickening.",
    "The spleen measures 15 cm.", "Diverticula of the sigmoid colon without inflammation.", "Atherosclerosis of the abdominal aorta.",
    "Small hiatal hernia. Degenerative changes of the lumbar spine.", "Unremarkable study of the abdomen and pelvis.")]
NEW = 40
PARTS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}

def hugging_face(name):
    fixed = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}
    if name in fixed: return fixed[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{PARTS[part]}.{kind}"

def run(*args):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    assert done.returncode == 0, (args, done.stdout, done.stderr)
    return done.stdout

def lines(path): return [json.loads(x) for x in open(path)]

def check_reader(dxlab, file, folder, base, kind):
    """PyPI's reader on one GGUF; `folder`: what dxlab itself reads from it, `base`: the weights that were exported."""
    run(dxlab, "export", "--model", file, "--format", "safetensors", "--type", "f32", "--out", folder)
    ours, reader, worst = load_file(f"{folder}/model.safetensors"), GGUFReader(file), 0.0
    config = json.load(open(f"{folder}/config.json"))
    value = lambda key: reader.get_field(key).contents()
    want = {"general.architecture": "qwen3", "qwen3.block_count": config["num_hidden_layers"], "qwen3.embedding_length": config["hidden_size"],
            "qwen3.feed_forward_length": config["intermediate_size"], "qwen3.attention.head_count": config["num_attention_heads"],
            "qwen3.attention.head_count_kv": config["num_key_value_heads"], "qwen3.attention.key_length": config["head_dim"], "qwen3.attention.value_length": config["head_dim"],
            "qwen3.context_length": config["max_position_embeddings"], "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.add_bos_token": False,
            "general.alignment": 32}
    for key, w in want.items(): assert value(key) == w, (key, value(key), w)
    assert abs(value("qwen3.attention.layer_norm_rms_epsilon") / config["rms_norm_eps"] - 1) < 1e-6 and value("qwen3.rope.freq_base") == config["rope_theta"]
    assert len(value("tokenizer.ggml.tokens")) == len(value("tokenizer.ggml.token_type")) == config["vocab_size"] and "im_start" in value("tokenizer.chat_template")
    assert {hugging_face(t.name) for t in reader.tensors} == set(ours) == set(base)
    kinds = {}
    for t in reader.tensors:
        name = hugging_face(t.name)
        theirs = dequantize(t.data, t.tensor_type).reshape([int(d) for d in reversed(t.shape)])
        kinds[t.tensor_type.name] = kinds.get(t.tensor_type.name, 0) + 1
        assert theirs.shape == ours[name].shape == base[name].shape, name
        gap = np.abs(theirs - ours[name]).max()
        assert gap <= 1e-6 * np.abs(theirs).max(), (name, gap)
        worst = max(worst, float(np.sqrt(((ours[name] - base[name]) ** 2).mean() / (base[name] ** 2).mean())))
    print(f"gguf reader    {kind:5} {kinds}: dxlab reads the same values; rms from the exported weights {worst:.1e}, {os.path.getsize(file):,} bytes")

def check_transformers(dxlab, what, source, model, tokenizer, pairs, tmp):
    """Log-probabilities of transformers in f32 against `dxlab score`; the tokenizer against the pairs' ids."""
    out = f"{tmp}/score.jsonl"
    run(dxlab, "score", "--model", source, "--pairs", pairs, "--out", out)
    worst = 0.0
    with torch.no_grad():
        for pair, line in zip(lines(pairs), lines(out)):
            p, c = pair["prompt_ids"], pair["completion_ids"]
            z = model(input_ids=torch.tensor([p + c])).logits[0, len(p) - 1:-1].float().log_softmax(-1)
            theirs = z.gather(1, torch.tensor(c)[:, None])[:, 0].numpy()
            worst = max(worst, float(np.abs(theirs - np.array(line["logprobs"])).max()))
    assert worst < 1e-4, worst
    print(f"transformers   {what}: log-probabilities within {worst:.1e}")
    return {t: tokenizer(t, add_special_tokens=False).input_ids for t in TEXTS}

def turned(w, heads):
    """llama.cpp's order of the rows of queries and keys (conversion/llama.py)."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)

def check_family(dxlab, name, variant, tmp):
    """One checkpoint of tests/golden/families as dxlab writes it, read by PyPI's reader and by transformers."""
    golden = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "families")
    source, pairs, scores = f"{tmp}/source", f"{tmp}/pairs.jsonl", f"{tmp}/scores.jsonl"
    os.mkdir(source)
    shutil.copy(f"{golden}/{name}/model.safetensors", source)
    shutil.copy(f"{golden}/{name}/config.{variant + '.' if variant else ''}json", f"{source}/config.json")
    name = f"{name} {variant}".strip()
    with open(pairs, "w") as f: f.writelines(json.dumps(p) + "\n" for p in json.load(open(f"{golden}/losses.json"))["pairs"])
    run(dxlab, "export", "--model", source, "--format", "safetensors", "--type", "f32", "--out", f"{tmp}/folder")
    base, c = load_file(f"{tmp}/folder/model.safetensors"), json.load(open(f"{tmp}/folder/config.json"))
    config = AutoConfig.from_pretrained(f"{tmp}/folder")
    readers = [("folder", f"{tmp}/folder", {"pretrained_model_name_or_path": f"{tmp}/folder"})]
    for kind in ("f32", "q8_0"):
        file = f"{tmp}/{kind}.gguf"
        done = subprocess.run([dxlab, "export", "--model", source, "--format", "gguf", "--type", kind, "--out", file], capture_output=True, text=True)
        if done.returncode == 2 and "sliding window in some layers" in done.stderr:
            print(f"{name:17} {kind:5} refused: {done.stderr.strip()}")
            continue
        assert done.returncode == 0, done.stderr
        reader, arch = GGUFReader(file), "qwen2" if c["model_type"] == "qwen2" else "llama"
        assert reader.get_field("general.architecture").contents() == arch
        heads = {"q_proj": c["num_attention_heads"], "k_proj": c["num_key_value_heads"]}
        found = {t.name: dequantize(t.data, t.tensor_type).reshape([int(d) for d in reversed(t.shape)]) for t in reader.tensors}
        assert ("rope_freqs.weight" in found) == ((c["rope_scaling"] or {}).get("rope_type") == "llama3")
        for theirs, values in found.items():
            if theirs == "rope_freqs.weight": continue
            ours = hugging_face(theirs)
            want, part = base[ours], ours.split(".")[-2]
            if arch == "llama" and part in heads: want = turned(want, heads[part])
            assert values.shape == want.shape and np.abs(values - want).max() <= (0 if kind == "f32" else np.abs(want).max() / 100), ours
        assert {hugging_face(t) for t in found if t != "rope_freqs.weight"} == set(base)
        readers.append((f"{kind}.gguf", file, {"pretrained_model_name_or_path": tmp, "gguf_file": f"{kind}.gguf"}))
    for what, place, how in readers:
        # transformers does not read biases or divisors of a Llama's GGUF file into its config: so it is told
        as_llama = "gguf_file" in how and c["model_type"] == "mistral"      # transformers' reader knows no mistral: the same tensors as a Llama's
        told = AutoConfig.for_model("llama", **{k: v for k, v in c.items() if k != "model_type"}) if as_llama else config
        model = AutoModelForCausalLM.from_pretrained(**how, config=told, dtype=torch.float32, attn_implementation="eager")
        if as_llama:
            whole = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
            whole.load_state_dict(model.state_dict())
            model = whole.float()
        model.eval()
        run(dxlab, "score", "--model", place, "--pairs", pairs, "--out", scores)
        worst = 0.0
        with torch.no_grad():
            for pair, line in zip(lines(pairs), lines(scores)):
                p, c_ids = pair["prompt_ids"], pair["completion_ids"]
                z = model(input_ids=torch.tensor([p + c_ids])).logits[0, len(p) - 1:-1].log_softmax(-1)
                theirs = z.gather(1, torch.tensor(c_ids)[:, None])[:, 0].numpy()
                worst = max(worst, float(np.abs(theirs - np.array(line["logprobs"])).max()))
        assert worst < 1e-4, (name, what, worst)
        print(f"{name:17} {what}: transformers' log-probabilities within {worst:.1e}")

def check_families(dxlab):
    for name, variant in (("llama3", ""), ("llama_bias", ""), ("llama_bias", "linear"), ("mistral", ""), ("mistral", "whole"), ("qwen2", ""), ("qwen2", "whole")):
        with tempfile.TemporaryDirectory() as tmp: check_family(dxlab, name, variant, tmp)
    print("all as wanted")

def main():
    dxlab, adapter = sys.argv[1], sys.argv[2:3]
    if adapter == ["--families"]: return check_families(dxlab)
    with tempfile.TemporaryDirectory() as tmp:
        model = "embedded"
        if adapter:
            model = f"{tmp}/merged"
            print(run(dxlab, "merge", "--model", "embedded", "--adapter", adapter[0], "--out", model, "--dtype", "f32"))
        folder = f"{tmp}/folder"
        print(run(dxlab, "export", "--model", model, "--format", "safetensors", "--type", "f32", "--out", folder))
        base, files = load_file(f"{folder}/model.safetensors"), {}
        for kind in ("f32", "f16", "bf16", "q8_0", "q4_k"):
            files[kind] = f"{tmp}/{kind}.gguf"
            table = run(dxlab, "export", "--model", model, "--format", "gguf", "--type", kind, "--out", files[kind])
            if kind == "q4_k": print(table)
            check_reader(dxlab, files[kind], f"{tmp}/from-{kind}", base, kind)

        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = lambda t: tokenizer(t, add_special_tokens=False).input_ids
        prompts, pairs = f"{tmp}/prompts.jsonl", f"{tmp}/pairs.jsonl"
        with open(prompts, "w") as f: f.writelines(json.dumps({"prompt_ids": ids(p)}) + "\n" for p in PROMPTS)
        made = f"{tmp}/made.jsonl"
        run(dxlab, "generate", "--model", folder, "--pairs", prompts, "--new", NEW, "--ignore-eos", "--out", made)
        with open(pairs, "w") as f: f.writelines(json.dumps({"prompt_ids": ids(p), "completion_ids": m["tokens"]}) + "\n" for p, m in zip(PROMPTS, lines(made)))

        by_folder = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        want = check_transformers(dxlab, "folder", folder, by_folder, tokenizer, pairs, tmp)
        assert "im_start" in tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
        for kind in ("f32", "q8_0"):
            # transformers overlooks attention.key_length and takes 128, which all published Qwen3 have: so it is told
            config = AutoConfig.from_pretrained(folder)
            by_file = AutoModelForCausalLM.from_pretrained(tmp, gguf_file=f"{kind}.gguf", config=config, dtype=torch.float32, attn_implementation="eager").eval()
            t = AutoTokenizer.from_pretrained(tmp, gguf_file=f"{kind}.gguf")
            got = check_transformers(dxlab, f"{kind}.gguf", files[kind], by_file, t, pairs, tmp)
            if got != want: print("transformers   its tokenizer from the GGUF differs from its own from the folder:", [x for x in TEXTS if got[x] != want[x]])

        from llama_cpp import Llama
        for kind in ("f32", "f16", "q8_0", "q4_k"):
            llama = Llama(files[kind], n_ctx=1024, n_batch=512, n_threads=2, verbose=False, logits_all=False)
            for t in TEXTS: assert llama.tokenize(t.encode(), add_bos=False, special=True) == want[t], t
            run(dxlab, "generate", "--model", files[kind], "--pairs", prompts, "--new", NEW, "--ignore-eos", "--out", made)
            same, shared = 0, 0
            for p, m in zip(PROMPTS, lines(made)):
                theirs = []
                for token in llama.generate(ids(p), temp=0.0, reset=True):
                    theirs.append(token)
                    if len(theirs) == NEW: break
                same += theirs == m["tokens"]
                shared += next((i for i, (a, b) in enumerate(zip(theirs, m["tokens"])) if a != b), NEW)
            print(f"llama.cpp      {kind}: same token ids of {len(TEXTS)} texts; same {NEW} greedy tokens for {same} of {len(PROMPTS)} prompts, {shared} of {NEW * len(PROMPTS)} before the first that differs")
            assert same == len(PROMPTS) or kind not in ("f32", "f16"), "llama.cpp's own kernels quantise activations only for block types"
        print("all as wanted")

if __name__ == "__main__": main()
