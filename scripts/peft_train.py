#!/usr/bin/env python3
"""LoRA by transformers and PEFT on the conversations of `dxlab train CONFIG --export FOLDER`; for machines with a GPU (docs/gpu.md).

    pip install "transformers>=4.51" peft torch
    python scripts/peft_train.py FOLDER --model Qwen/Qwen3-4B --out adapter

The prompt is what the model's chat template makes of the conversation, thinking off; loss is on the answer and its end alone, as in dxlab.
The file holds all epochs, so it is read once, in a new order. The adapter is PEFT's: vLLM serves it and dxlab reads it.
"""
import argparse
import json
import math
import random
from pathlib import Path


def lines(path: Path) -> list[dict]:
    rows = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if text.strip():
            row = json.loads(text)
            if not row.get("messages") or row["messages"][-1]["role"] != "assistant":
                raise SystemExit(f"{path} line {number}: expected `messages` that end with an answer of the assistant")
            rows.append(row)
    if not rows:
        raise SystemExit(f"{path}: no conversation in it")
    return rows


def encode(tokenizer, row: dict, longest: int) -> tuple[list[int], list[int]] | None:
    """Ids and labels (−100 on the prompt); None where they are longer than `longest`."""
    *asked, answer = row["messages"]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    end = tokenizer(answer["content"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    ids = start + end
    return None if len(ids) > longest else (ids, [-100] * len(start) + end)


def batches(rows: list, tokens: int):
    """Rows of similar length, at most `tokens` tokens with padding, in the order of their first row."""
    at = 0
    while at < len(rows):
        chunk = [rows[at]]
        while at + len(chunk) < len(rows) and max(len(ids) for ids, _ in [*chunk, rows[at + len(chunk)]]) * (len(chunk) + 1) <= tokens:
            chunk.append(rows[at + len(chunk)])
        yield chunk
        at += len(chunk)


def padded(torch, chunk: list, pad: int, device):
    longest = max(len(ids) for ids, _ in chunk)

    def row(values, fill):
        return values + [fill] * (longest - len(values))

    ids = torch.tensor([row(ids, pad) for ids, _ in chunk], device=device)
    labels = torch.tensor([row(labels, -100) for _, labels in chunk], device=device)
    mask = torch.tensor([row([1] * len(one), 0) for one, _ in chunk], device=device)
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def main() -> None:
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("folder", type=Path, help="what `dxlab train CONFIG --export` wrote")
    about.add_argument("--model", required=True, help="model folder or hub id")
    about.add_argument("--out", type=Path, required=True, help="folder for the adapter")
    about.add_argument("--r", type=int, default=16)
    about.add_argument("--alpha", type=float, default=32)
    about.add_argument("--dora", action="store_true")
    about.add_argument("--lr", type=float, default=2e-4)
    about.add_argument("--batch-tokens", type=int, default=16384, help="tokens of one update, padding included (default %(default)s)")
    about.add_argument("--longest", type=int, default=4096, help="longer conversations are left out and counted (default %(default)s)")
    about.add_argument("--steps", type=int, help="stop after so many updates")
    about.add_argument("--seed", type=int, default=7)
    arguments = about.parse_args()

    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, get_cosine_schedule_with_warmup

    torch.manual_seed(arguments.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    read = [encode(tokenizer, row, arguments.longest) for row in lines(arguments.folder / "train.jsonl")]
    rows = [row for row in read if row is not None]
    print(f"{len(rows)} conversations, {sum(len(ids) for ids, _ in rows)} tokens; {len(read) - len(rows)} left out as too long; on {device}", flush=True)
    random.Random(arguments.seed).shuffle(rows)
    chunks = list(batches(rows, arguments.batch_tokens))[: arguments.steps]

    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=dtype).to(device)
    model.config.use_cache = False
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=arguments.r, lora_alpha=arguments.alpha, target_modules=layers, use_dora=arguments.dora, task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    learning = [one for one in model.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=arguments.lr, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimiser, math.ceil(0.05 * len(chunks)), len(chunks))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    model.train()
    for step, chunk in enumerate(chunks, 1):
        loss = model(**padded(torch, chunk, pad, device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if step == 1 or step % 10 == 0 or step == len(chunks):
            print(f"update {step}/{len(chunks)}  loss {loss.item():.4f}", flush=True)
    model.save_pretrained(arguments.out)
    print(arguments.out)


if __name__ == "__main__":
    main()
