#!/usr/bin/env python3
"""dxlab beside transformers and PEFT on this machine, turn by turn: the table of `docs/manual.md`, *Speed*.

    python3 benches/peer.py CASE [--train] [--decode] [--prefill] [--repeat 3] [--out numbers.json]

CASE is a folder made by the peer's make_case.py, or `smollm2`: the real base model that `make tools` installs, on the synthetic findings. That
case is made into a temporary folder by benches/smollm2.py, which is the peer's side of it too (its Python also needs gguf). Only that case has
long prompts: --prefill reads eight of 1,500 tokens each and decodes one token; its speed is in prompt tokens a second.

The peer runs in f32 and bf16, at the batch sizes given, and is held to its best; dxlab runs at its default batch in f32, in mixed precision
(--weights mixed) and, where the checkpoint is stored narrower than f32, with the weights as stored (--weights stored); training also with
--checkpointing, decoding of such a checkpoint also from Q8_0 blocks that `dxlab export` makes of it, and decoding of smollm2 also from the GGUF
file itself. Every round runs all of them once, ours and theirs in turn, so that a busy minute hits both; the table has medians over the rounds,
beside the peer's best in f32 and its best of all.

Beside the speed stands the proof: training also runs some steps on one batch, on both sides (same first loss in f32, |grad| above 0,
losses that fall), and decoding compares the greedy tokens of every prompt, in f32.
"""
import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OWN = ROOT / "benches/smollm2.py"
INSTALLED = ROOT / ".tools/models/smollm2/model.gguf"
# Above this many waiting tasks when the first run starts, another program took part in the numbers.
QUIET = 0.5
# Bytes of weights from which a model is large: the peer then takes minutes for a few steps.
LARGE = 500_000_000
NEW = 32
SMOLLM2 = "smollm2"
SPEED = {"train": "tokens_per_sec", "decode": "new_tokens_per_sec", "prefill": "prompt_tokens_per_sec"}
UNIT = {"train": "tokens/s", "decode": "new tokens/s", "prefill": "prompt tokens/s"}


# ---- the pure part: from the lines that were measured to the table ----

def medians(lines: list[dict], what: str) -> list[dict]:
    """One entry for every way of running `what`, in the order of first appearance: its side, label and medians."""
    groups: dict[tuple, list[dict]] = {}
    for line in lines:
        if line["what"] == what and not line["proof"]:
            groups.setdefault((line["side"], line["label"]), []).append(line)
    middle = lambda runs, key: statistics.median([run[key] for run in runs]) if all(run.get(key) is not None for run in runs) else None
    return [
        {"side": side, "label": label, "rounds": len(runs), "speed": middle(runs, SPEED[what]), "peak_mib": middle(runs, "peak_mib"), "mfu": middle(runs, "mfu")}
        for (side, label), runs in groups.items()
    ]


def best(entries: list[dict], dtype: str = "") -> dict:
    """The peer's fastest way, or the fastest whose label begins with `dtype`."""
    theirs = [entry for entry in entries if entry["side"] == "peer" and entry["label"].startswith(dtype)]
    if not theirs:
        sys.exit("peer.py: no run of the peer succeeded, so there is nothing to compare with")
    return max(theirs, key=lambda entry: entry["speed"])


def number(value, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def ratio(mine, theirs) -> str:
    return "–" if None in (mine, theirs) or theirs == 0 else f"{mine / theirs:.2f} ×"


def row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def speeds(lines: list[dict], what: str) -> list[str]:
    """Speed and memory of every way, as ratios to the peer at its best."""
    entries = medians(lines, what)
    reference, plain = best(entries), best(entries, "f32")
    head = ["", UNIT[what], "÷ peer's f32", "÷ peer's best"] + (["peak MiB", "÷ peer's", "MFU"] if what == "train" else []) + ["rounds"]
    table = [row(head), row([":---"] + ["---:"] * (len(head) - 1))]
    for entry in entries:
        name = ("dxlab, " if entry["side"] == "dxlab" else "transformers + PEFT, " if what == "train" else "transformers, ") + entry["label"]
        cells = [name + (" (best)" if entry is reference else ""), number(entry["speed"]), ratio(entry["speed"], plain["speed"]), ratio(entry["speed"], reference["speed"])]
        if what == "train":
            cells += [number(entry["peak_mib"], 0), ratio(entry["peak_mib"], reference["peak_mib"]), number(entry["mfu"], 2)]
        table.append(row(cells + [str(entry["rounds"])]))
    return table


def same_loss(lines: list[dict]) -> list[str]:
    """Both sides on one batch, step after step."""
    table = [row(["the same batch in every step", "first loss", "− peer's", "last loss", "falls", "mean abs gradient > 0"]), row([":---"] + ["---:"] * 3 + [":---:"] * 2)]
    proofs = [line for line in lines if line["what"] == "train" and line["proof"]]
    reference = next((line["first_loss"] for line in proofs if line["side"] == "peer"), None)
    yes = lambda truth: "yes" if truth else "**no**"
    for line in proofs:
        apart = "–" if reference is None else f"{line['first_loss'] - reference:+.1e}"
        falls, learns = line["last_loss"] < line["first_loss"], line["grad"] > 0
        table.append(row([f"{line['tool']}, {line['label']}", f"{line['first_loss']:.6f}", apart, f"{line['last_loss']:.6f}", yes(falls), yes(learns)]))
    return table


def agreement(ours: list[list[int]], theirs: list[list[int]]) -> str:
    """How many prompts have the same greedy tokens on both sides."""
    if len(ours) != len(theirs):
        return f"**dxlab answered {len(ours)} prompts, the peer {len(theirs)}**"
    same = sum(a == b for a, b in zip(ours, theirs))
    return f"Same greedy tokens in f32: {same} of {len(ours)} prompts."


def table(told: dict) -> str:
    """The markdown of one measurement, as `--out` keeps it."""
    text = [f"{told['case']}: {told['date']}, {told['cpu']}, {told['cores']} cores, load average {told['load'][0]:.2f} at the start, {told['rounds']} rounds in turn."]
    if told["load"][0] > QUIET:
        text.append(f"**Warning: the machine was not idle (load average above {QUIET} at the start); the ratios may be off.**")
    if any(line["what"] == "train" for line in told["lines"]):
        text += ["\n".join(speeds(told["lines"], "train")), "\n".join(same_loss(told["lines"]))]
    if any(line["what"] == "decode" for line in told["lines"]):
        text += ["\n".join(speeds(told["lines"], "decode")), told["agreement"]]
    if any(line["what"] == "prefill" for line in told["lines"]):
        text.append("\n".join(speeds(told["lines"], "prefill")))
    text += [f"Failed: {failure}" for failure in told["failed"]]
    return "\n\n".join(text)


# ---- running both sides ----

def ways(a, stored_narrow: bool) -> list[dict]:
    """Everything one round runs, ours and theirs in turn."""
    made = []
    for what in [w for w in SPEED if getattr(a, w)]:
        peers = [peer_way(a, what, dtype, batch) for dtype in ("f32", "bf16") for batch in getattr(a, f"{what}_batch")]
        flags = [[]] + ([["--weights", "stored"]] if stored_narrow else []) + [["--weights", "mixed"]] + ([["--checkpointing"]] if what == "train" else [])
        if what == "decode" and a.q8_0:
            flags += [["--model", str(a.q8_0)], ["--model", str(a.q8_0), "--weights", "mixed"]]
        if what != "train" and a.gguf:
            flags += [["--model", str(a.gguf)], ["--model", str(a.gguf), "--weights", "stored"]]
        mine = [our_way(a, what, more, getattr(a, f"{what}_batch")[0]) for more in flags]
        if what == "prefill":
            tokens = prompt_tokens(a.case / "long")
            mine, peers = ([way | {"tokens": tokens} for way in ways] for ways in (mine, peers))
        for turn in range(max(len(mine), len(peers))):
            made += mine[turn : turn + 1] + peers[turn : turn + 1]
    return made


def our_way(a, what: str, more: list[str], batch: int, proof: bool = False) -> dict:
    weights = {"stored": "stored weights", "mixed": "mixed precision"}[more[more.index("--weights") + 1]] if "--weights" in more else "f32"
    file = (["from the GGUF file"] if a.gguf else ["Q8_0 blocks"]) if "--model" in more else []
    label = ", ".join(file + [weights, f"batch {batch}"] + [flag[2:] for flag in more if flag == "--checkpointing"])
    command = [a.dxlab, "bench", "train" if what == "train" else "decode", *work(a, what, batch)]
    command += more + (["--same-batch"] if proof else [])
    return {"side": "dxlab", "what": what, "label": label, "proof": proof, "command": command}


def peer_way(a, what: str, dtype: str, batch: int, proof: bool = False) -> dict:
    verb = "train" if what == "train" else "decode"
    script = [str(OWN), verb] if a.gguf else [str(a.peer / {"train": "lora_step.py", "decode": "decode.py"}[verb])]
    command = [a.python, *script, *work(a, what, batch), "--dtype", dtype]
    return {"side": "peer", "what": what, "label": f"{dtype}, batch {batch}", "proof": proof, "command": command}


def work(a, what: str, batch: int) -> list[str]:
    """What both sides are asked to do."""
    if what == "prefill":
        return [str(a.case / "long"), "--batch", str(batch), "--new", "1"]
    most = ["--limit", str(a.limit)] if what == "decode" and a.limit else []
    return [str(a.case), "--batch", str(batch), *(["--steps", str(a.steps)] if what == "train" else ["--new", str(NEW)]), *most]


def prompt_tokens(case: Path) -> int:
    return sum(len(json.loads(line)["prompt_ids"]) for line in (case / "pairs.jsonl").read_text().splitlines())


def blocks(a, folder: Path, failed: list[str]) -> Path | None:
    """The case's model in Q8_0 blocks."""
    file = folder / "q8_0.gguf"
    command = [a.dxlab, "export", "--model", str(a.case / "model"), "--format", "gguf", "--type", "q8_0", "--out", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        failed.append(f"Q8_0 blocks: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        return None
    return file


def measured(way: dict, failed: list[str]) -> list[dict]:
    """The line that one run prints last, marked with its way; a run that fails is told and left out (bf16 may not fit, say)."""
    print(f"… {way['what']}, {way['side']}, {way['label']}", file=sys.stderr, flush=True)
    done = subprocess.run(way["command"], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        failed.append(f"{way['what']}, {way['side']}, {way['label']}: exit code {done.returncode}, {last}")
        return []
    line = json.loads(lines[-1])
    if way["what"] == "prefill":
        line["prompt_tokens_per_sec"] = round(way["tokens"] / line["seconds"], 1)
    return [line | {key: way[key] for key in ("side", "what", "label", "proof")}]


def proofs(a, failed: list[str]) -> list[dict]:
    """Training steps on one batch: a case with no more pairs than a batch makes the peer repeat it."""
    batch = a.train_batch[0]
    with tempfile.TemporaryDirectory() as folder:
        pairs = (a.case / "pairs.jsonl").read_text().splitlines(True)[:batch]
        Path(folder, "pairs.jsonl").write_text("".join(pairs))
        Path(folder, "model").symlink_to((a.case / "model").resolve())
        b = argparse.Namespace(**vars(a) | {"case": Path(folder)})
        both = [peer_way(b, "train", "f32", batch, proof=True), our_way(b, "train", [], batch, proof=True), our_way(b, "train", ["--checkpointing"], batch, proof=True)]
        return [line for way in both for line in measured(way, failed)]


def greedy(a, failed: list[str]) -> str:
    """Both sides' tokens, and how many prompts agree."""
    with tempfile.TemporaryDirectory() as folder:
        pairs, ours, theirs = (Path(folder, name) for name in ("pairs.jsonl", "ours.jsonl", "theirs.jsonl"))
        pairs.write_text("".join((a.case / "pairs.jsonl").read_text().splitlines(True)[: a.limit]))
        mine = [a.dxlab, "generate", "--model", str(a.case / "model"), "--pairs", str(pairs), "--new", str(NEW), "--ignore-eos", "--out", str(ours)]
        peer = peer_way(a, "decode", "f32", a.decode_batch[0])["command"] + ["--out", str(theirs)]
        print("… greedy tokens of both sides", file=sys.stderr, flush=True)
        for command in (mine, peer):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                failed.append(f"greedy tokens: {Path(command[0]).name}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
                return "Greedy tokens were not compared."
        return agreement(*([json.loads(line)["tokens"] for line in path.read_text().splitlines()] for path in (ours, theirs)))


# ---- what they run on ----

def built() -> Path:
    """The command as `cargo build` left it, wherever cargo's target folder is."""
    told = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"], cwd=ROOT, capture_output=True, text=True)
    if told.returncode != 0:
        sys.exit(f"peer.py: cargo does not tell its target folder: {told.stderr.strip()}; name the command with --dxlab")
    host = next(line.split()[1] for line in subprocess.run(["rustc", "-vV"], capture_output=True, text=True).stdout.splitlines() if line.startswith("host:"))
    return Path(json.loads(told.stdout)["target_directory"], host, "debug", "dxlab")


def cpu() -> str:
    names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else "unknown processor"


def arguments() -> argparse.Namespace:
    """What was asked for."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("case", type=Path, help="folder with model/ and pairs.jsonl, made by the peer's make_case.py; or smollm2")
    ap.add_argument("--train", action="store_true", help="only training, unless another is asked for too")
    ap.add_argument("--decode", action="store_true", help="only decoding, unless another is asked for too")
    ap.add_argument("--prefill", action="store_true", help="only reading long prompts (smollm2), unless another is asked for too")
    ap.add_argument("--repeat", type=int, default=3, help="rounds (default: 3)")
    ap.add_argument("--steps", type=int, help="training steps of a run (default: 8; 4 for smollm2, 3 for a large model)")
    ap.add_argument("--limit", type=int, help="prompts to decode, at most (default: all; 16 for smollm2, 8 for a large model)")
    ap.add_argument("--train-batch", type=int, nargs="+", help="batch sizes of the peer, dxlab takes the first (default: 8 16; 8 for smollm2, 4 for a large model)")
    ap.add_argument("--decode-batch", type=int, nargs="+", default=[8], help="as --train-batch, for decoding (default: 8)")
    ap.add_argument("--prefill-batch", type=int, nargs="+", default=[4, 1], help="as --train-batch, for long prompts (default: 4 1)")
    ap.add_argument("--gguf", type=Path, help="the file of smollm2 (default: where `make tools` puts it)")
    ap.add_argument("--peer", type=Path, default=ROOT.parent / "shared" / "peer", help="folder of the peer's scripts")
    ap.add_argument("--python", default=str(Path("~/.cache/peer/bin/python").expanduser()), help="python with torch, transformers and peft")
    ap.add_argument("--dxlab", help="the command (default: what `cargo build` made)")
    ap.add_argument("--out", type=Path, help="where the measured lines go, with date, processor and load")
    a = ap.parse_args()
    a.dxlab = a.dxlab or str(built())
    real = str(a.case) == SMOLLM2 and not a.case.exists()
    a.gguf = (a.gguf or INSTALLED) if real else None
    needed = {"--gguf (run `make tools`)": a.gguf} if real else {"CASE": a.case / "pairs.jsonl", "--peer": a.peer / "lora_step.py"}
    for name, path in (needed | {"--python": Path(a.python), "--dxlab": Path(a.dxlab)}).items():
        if not path.exists():
            sys.exit(f"peer.py: {name}: expected {path} to exist")
    if a.prefill and not real:
        sys.exit("peer.py: --prefill: only the case smollm2 has long prompts")
    if not (a.train or a.decode or a.prefill):
        a.train, a.decode, a.prefill = True, True, real
    return a


def fit(a) -> dict:
    """Gives what was not asked for the defaults that fit the model; the model's config.json."""
    large = sum(path.stat().st_size for path in (a.case / "model").glob("*.safetensors")) > LARGE
    usual = {"steps": 8, "limit": None, "train_batch": [8, 16]}
    if a.gguf:
        usual = {"steps": 4, "limit": 16, "train_batch": [8]}
    elif large:
        usual = {"steps": 3, "limit": 8, "train_batch": [4]}
    for name, value in usual.items():
        setattr(a, name, getattr(a, name) or value)
    if a.repeat < 1 or a.steps < 2:
        sys.exit("peer.py: expected --repeat of at least 1 and --steps of at least 2")
    return json.loads((a.case / "model" / "config.json").read_text())


def made_case(a, folder: Path) -> Path:
    """The case smollm2, in `folder`."""
    case = folder / SMOLLM2
    print("… the checkpoint and the token ids of smollm2", file=sys.stderr, flush=True)
    done = subprocess.run([a.python, str(OWN), "case", str(case), "--gguf", str(a.gguf)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"peer.py: smollm2.py case: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return case


def main() -> None:
    a = arguments()
    with tempfile.TemporaryDirectory() as folder:
        if a.gguf:
            a.case = made_case(a, Path(folder))
        measure(a, fit(a), Path(folder))


def measure(a, config: dict, folder: Path) -> None:
    narrow = str(config.get("dtype") or config.get("torch_dtype") or "float32") in ("bfloat16", "float16")
    told = {
        "case": a.case.name, "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu(), "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg(), "rounds": a.repeat, "steps": a.steps, "new": NEW, "limit": a.limit,
        "lines": [], "failed": [], "agreement": None,
    }
    a.q8_0 = blocks(a, folder, told["failed"]) if a.decode and narrow else None
    for _ in range(a.repeat):
        for way in ways(a, narrow):
            told["lines"] += measured(way, told["failed"])
    if a.train:
        told["lines"] += proofs(a, told["failed"])
    if a.decode:
        told["agreement"] = greedy(a, told["failed"])
    told["load_after"] = os.getloadavg()
    if a.out:  # before the table is made: what was measured is kept whatever happens then
        beside = a.out.with_name(a.out.name + ".tmp")
        beside.write_text(json.dumps(told, indent=1) + "\n")
        beside.replace(a.out)
    print(table(told))


if __name__ == "__main__":
    main()
