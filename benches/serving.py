#!/usr/bin/env python3
"""dxlab serve beside llama.cpp's server on this machine, turn by turn, on the same GGUF file: tokens a second and time to the first token.

    python3 benches/serving.py --dxlab target/…/dxlab --peer-python PYTHON [--clients 1 8 32] [--repeat 3] [--out numbers.json]

PYTHON is one that has xllamacpp (`pip install xllamacpp`): llama.cpp's own server (`llama-server`) as a library, with continuous batching and a
slot per client. The file is smollm2's, which `make tools` installs. Both servers get the same synthetic findings with the same instruction,
decode greedily and stream; the answers have --tokens tokens where the model does not end before. Tokens are counted by each server's `usage`
where it tells it in a stream, else by the pieces that came.
"""
import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / ".tools/models/smollm2/model.gguf"
PEER = "llama.cpp"
START_PEER = """
import sys, time, xllamacpp
path, port, slots, threads, context = sys.argv[1], *map(int, sys.argv[2:])
params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_parallel, params.n_ctx = path, port, slots, context
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
server = xllamacpp.Server(params)
while True:
    time.sleep(60)
"""
ASK = "List the diagnoses that this finding supports, separated by commas.\n\n"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def findings(most: int) -> list[str]:
    """The first synthetic test findings."""
    with (ROOT / "data/findings/test.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line)["input_finding"] for line in list(file)[:most]]


def ask(port: int, model: str, text: str, tokens: int) -> dict:
    """One streamed chat completion: seconds to the first token and to the end, tokens, or the error."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": ASK + text}], "max_tokens": tokens, "temperature": 0, "stream": True,
                       "stream_options": {"include_usage": True}})
    started, first, pieces, told = time.perf_counter(), None, 0, None
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        return {"error": f"{response.status} {response.read()[:300]!r}"}
    for line in response:
        if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
            continue
        event = json.loads(line[6:])
        if "error" in event:
            return {"error": str(event["error"])[:300]}
        usage = event.get("usage") or {}
        told = usage.get("completion_tokens", told)
        for choice in event.get("choices", []):
            if (choice.get("delta") or {}).get("content"):
                first = first or time.perf_counter() - started
                pieces += 1
    connection.close()
    return {"first": first, "seconds": time.perf_counter() - started, "tokens": told or pieces}


def load(port: int, model: str, texts: list[str], clients: int, tokens: int) -> dict:
    """All texts from so many clients at once."""
    answers, waiting, lock = [], list(texts), threading.Lock()

    def client():
        while True:
            with lock:
                if not waiting:
                    return
                text = waiting.pop()
            try:
                made = ask(port, model, text, tokens)
            except (OSError, http.client.HTTPException, ValueError) as error:
                made = {"error": f"{type(error).__name__}: {error}"}
            with lock:
                answers.append(made)

    started = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    [one.start() for one in threads]
    [one.join() for one in threads]
    seconds = time.perf_counter() - started
    assert len(answers) == len(texts)
    failed = [one["error"] for one in answers if "error" in one]
    if failed:
        raise SystemExit(f"{len(failed)} of {len(answers)} requests failed: {failed[0]}")
    return {"tokens_per_sec": sum(one["tokens"] for one in answers) / seconds, "tokens": sum(one["tokens"] for one in answers),
            "first_token_sec": statistics.median(one["first"] or one["seconds"] for one in answers)}


class Serving:
    """A server that runs until the block ends; its output goes to a file that is shown where it does not start."""

    def __init__(self, command: list[str], port: int):
        self.port, self.log = port, tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env={**os.environ, "DXLAB_HOME": str(ROOT)})

    def __enter__(self):
        for _ in range(600):
            if self.process.poll() is not None:
                break
            if self.ready():
                return self
            time.sleep(0.2)
        self.log.seek(0)
        raise SystemExit(f"the server did not start: {self.log.read()[-2000:].decode(errors='replace')}")

    def ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dxlab", type=Path, required=True, help="the command that was built")
    parser.add_argument("--peer-python", type=Path, required=True, help="a Python with xllamacpp")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=48, help="new tokens of each answer")
    parser.add_argument("--weights", nargs="+", default=["mixed", "stored"], help="how dxlab keeps the weights")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    counts = {clients: {1: 8}.get(clients, 2 * clients) for clients in args.clients}
    texts = findings(2 + sum(counts.values()))
    assert len(texts) == 2 + sum(counts.values()), "more findings than there are"
    sides = {}
    for weights in args.weights:
        port = free_port()
        sides[f"dxlab, {weights}"] = (port, "smollm2", [str(args.dxlab), "serve", "--model", "smollm2", "--weights", weights, "--port", str(port)])
    port, slots = free_port(), max(args.clients)
    started = [str(args.peer_python), "-c", START_PEER, str(MODEL), str(port), str(slots), str(threads), str(2048 * slots)]
    sides[PEER] = (port, "peer", started)
    lines = []
    for round_ in range(args.repeat):
        for label, (port, model, command) in sides.items():
            with Serving(command, port):
                load(port, model, texts[:2], 1, 8)  # the first request warms caches
                at = 2
                for clients, count in counts.items():  # no finding twice: a server may have kept it
                    made = load(port, model, texts[at:at + count], clients, args.tokens)
                    at += count
                    lines.append({"side": label, "clients": clients, "round": round_, **made})
                    print(f"{label:<18} {clients:>3} clients  {made['tokens_per_sec']:8.1f} tokens/s  first token {made['first_token_sec']:.3f} s", flush=True)
    middle = lambda side, clients, key: statistics.median(line[key] for line in lines if line["side"] == side and line["clients"] == clients)
    print("\n| server | clients | tokens/s | × the peer | first token, s | × the peer |\n|:--|--:|--:|--:|--:|--:|")
    for clients in args.clients:
        for side in sides:
            speed, first = (middle(side, clients, key) for key in ("tokens_per_sec", "first_token_sec"))
            print(f"| {side} | {clients} | {speed:.1f} | {speed / middle(PEER, clients, 'tokens_per_sec'):.2f} | {first:.3f} | {first / middle(PEER, clients, 'first_token_sec'):.2f} |")
    if args.out:
        cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
        version = subprocess.run([args.peer_python, "-c", "from importlib.metadata import version; print(version('xllamacpp'))"], check=True,
                                 capture_output=True, text=True).stdout.strip()
        told = {"cpu": cpu, "threads": threads, "date": time.strftime("%Y-%m-%d", time.gmtime()), "peer": PEER, "peer_version": f"xllamacpp {version}",
                "tokens": args.tokens, "lines": lines}
        args.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
