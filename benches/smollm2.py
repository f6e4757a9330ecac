#!/usr/bin/env python3
"""The peer's side of the case `smollm2`, real weights and real text; `benches/peer.py smollm2` runs it.

    python smollm2.py case OUT [--gguf FILE] [--examples 32]     OUT/model, OUT/pairs.jsonl, OUT/long/{model,pairs.jsonl}
    python smollm2.py train CASE [--batch 8] [--dtype f32|bf16] [--steps 8]
    python smollm2.py decode CASE [--batch 8] [--dtype f32|bf16] [--new 32] [--limit N] [--out tokens.jsonl]

`case` writes the GGUF file that `make tools` installs as a checkpoint in Hugging Face layout, dequantised to f32, q and k rows in
Hugging Face's order; and as token ids the synthetic findings of `data/findings` with the prompt `plain` in the model's own chat format:
prompts with their labels in `pairs.jsonl`, and prompts of exactly 1,500 tokens (several findings in a row) in `long/pairs.jsonl`.
`train` and `decode` are the work and the keys of the peer's lora_step.py and decode.py for any decoder that transformers knows; `decode`
adds the prompts' tokens and the peak memory. Needs torch, transformers, peft, gguf and tokenizers.
"""
import argparse
import json
import resource
import statistics
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GGUF = ROOT / ".tools/models/smollm2/model.gguf"
LONG, LONG_TOKENS = 8, 1500
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
QUESTION = "Read this radiology report and list the diagnoses that it supports, separated by commas.\n\n"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def peak_mib() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


# ---- the case ----

def tokenizer(gguf: Path):
    """SmolLM2's tokenizer from its GGUF file. transformers knows no `pre = smollm`: every digit is a piece of its own first."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    fields = GGUFReader(gguf).fields
    tokens, kinds = fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"].contents()]
    made = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, normalized=False) for token, kind in zip(tokens, kinds) if kind == 3])
    return made


def chat(text: str) -> str:
    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{QUESTION}{text}<|im_end|>\n<|im_start|>assistant\n"


def of_length(encode, texts: list[str], length: int) -> list[int]:
    """A prompt of exactly so many tokens: texts in a row, the last one cut."""
    head, tail = encode(chat("")), encode("<|im_end|>\n<|im_start|>assistant\n")
    head = head[: len(head) - len(tail)]
    return head + encode("\n\n".join(texts))[: length - len(head) - len(tail)] + tail


def make_case(a) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    rows = [json.loads(line) for line in (ROOT / "data/findings/train.jsonl").read_text().splitlines()]
    encode = lambda text: made.encode(text, add_special_tokens=False).ids
    made = tokenizer(a.gguf)
    write(a.out / "pairs.jsonl", [{"prompt_ids": encode(chat(r["input_finding"])), "completion_ids": encode(r["output_disease"] + "<|im_end|>")} for r in rows[: a.examples]])
    texts = [row["input_finding"] for row in rows]
    per = len(texts) // LONG
    write(a.out / "long/pairs.jsonl", [{"prompt_ids": of_length(encode, texts[i * per : (i + 1) * per], LONG_TOKENS), "completion_ids": [2]} for i in range(LONG)])
    read = AutoModelForCausalLM.from_pretrained(a.gguf.parent, gguf_file=a.gguf.name, dtype=torch.float32)
    told = read.config.to_dict()
    told.pop("quantization_config", None)  # what was read is f32 by now, and transformers saves no other
    model = type(read)(type(read.config)(**told))
    model.load_state_dict(read.state_dict())
    model.save_pretrained(a.out / "model")
    (a.out / "long/model").symlink_to((a.out / "model").resolve())


def write(path: Path, lines: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


# ---- the work ----

def opened(a):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(a.case / "model", dtype={"f32": torch.float32, "bf16": torch.bfloat16}[a.dtype])


def pairs(case: Path) -> list[dict]:
    return [json.loads(line) for line in (case / "pairs.jsonl").read_text().splitlines()]


def train(a) -> dict:
    """LoRA on every linear layer, loss on completion tokens, batches padded to their longest row, AdamW on the adapter."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    adapter = LoraConfig(r=a.rank, lora_alpha=2 * a.rank, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM", target_modules=TARGETS)
    model = get_peft_model(opened(a), adapter)
    model.train()
    rows, learned = pairs(a.case), [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=2e-4, weight_decay=0.0)
    rates, losses, grad = [], [], None
    for step in range(a.steps):
        ids, labels, mask, real = padded([rows[(step * a.batch + j) % len(rows)] for j in range(a.batch)])
        began = time.perf_counter()
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        grad = sum(p.grad.float().abs().mean().item() for p in learned if p.grad is not None) if grad is None else grad
        optimiser.step()
        optimiser.zero_grad()
        rates.append(real / (time.perf_counter() - began))
        losses.append(loss.item())
    return {
        "tool": "transformers+peft", "dtype": a.dtype, "batch": a.batch, "tokens_per_sec": round(statistics.median(rates[1:]), 1),
        "first_loss": losses[0], "last_loss": losses[-1], "grad": grad, "peak_mib": peak_mib(),
    }


def padded(rows: list[dict]):
    """Ids, labels and mask [rows, longest], padded on the right; and how many tokens are no padding."""
    import torch

    longest = max(len(r["prompt_ids"]) + len(r["completion_ids"]) for r in rows)
    ids, mask = (torch.zeros(len(rows), longest, dtype=torch.long) for _ in range(2))
    labels, real = torch.full((len(rows), longest), -100), 0
    for k, row in enumerate(rows):
        prompt, completion = row["prompt_ids"], row["completion_ids"]
        n = len(prompt) + len(completion)
        ids[k, :n], labels[k, len(prompt) : n], mask[k, :n] = torch.tensor(prompt + completion), torch.tensor(completion), 1
        real += n
    return ids, labels, mask, real


def decode(a) -> dict:
    """Exactly NEW greedy tokens a prompt, left padded, end of turn ignored."""
    import torch

    model = opened(a).eval()
    rows, out, seconds = pairs(a.case)[: a.limit], [], time.perf_counter()
    with torch.no_grad():
        for start in range(0, len(rows), a.batch):
            batch = [row["prompt_ids"] for row in rows[start : start + a.batch]]
            longest = max(map(len, batch))
            ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in batch])
            mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in batch])
            made = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=a.new, min_new_tokens=a.new, do_sample=False, pad_token_id=0)
            out += made[:, longest:].tolist()
    seconds = time.perf_counter() - seconds
    if a.out:
        write(a.out, [{"tokens": tokens} for tokens in out])
    return {
        "tool": "transformers", "dtype": a.dtype, "batch": a.batch, "new_tokens_per_sec": round(sum(map(len, out)) / seconds, 1),
        "seconds": round(seconds, 2), "prompt_tokens": sum(len(row["prompt_ids"]) for row in rows), "peak_mib": peak_mib(),
    }


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = ap.add_subparsers(dest="verb", required=True)
    case = verbs.add_parser("case")
    case.add_argument("out", type=Path)
    case.add_argument("--gguf", type=Path, default=GGUF)
    case.add_argument("--examples", type=int, default=32)
    for verb in ("train", "decode"):
        work = verbs.add_parser(verb)
        work.add_argument("case", type=Path)
        work.add_argument("--batch", type=int, default=8)
        work.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
        for name, kind, default in (("--rank", int, 16), ("--steps", int, 8)) if verb == "train" else (("--new", int, 32), ("--limit", int, None), ("--out", Path, None)):
            work.add_argument(name, type=kind, default=default)
    a = ap.parse_args()
    if a.verb == "case":
        make_case(a)
    else:
        print(json.dumps({"train": train, "decode": decode}[a.verb](a)))


if __name__ == "__main__":
    main()
