"""TensorBoard event files: golden bytes by TensorBoard's own protobuf and record writer, and a look at a file made by dxlab.

    python tests/reference/tensorboard.py > tests/reference/tensorboard.json        (tensorboard 2.21)
    python tests/reference/tensorboard.py FOLDER RUN/log.jsonl                      reads FOLDER by EventAccumulator and compares

The log of the golden bytes is made up.
"""
import io
import json
import math
import sys

sys.path.pop(0)  # this file is called like the package
from importlib.metadata import version

START = 1_700_000_000
LOG = [
    {"step": 1, "loss": 9.25, "lr": 0.0001, "grad_norm": 3.5, "tokens": 2000, "targets": 90, "tokens_per_sec": 4000.0},
    {"step": 2, "loss": 8.0, "cross_entropy": 8.5, "lr": 0.0002, "grad_norm": 0.75, "tokens": 1000, "targets": 40, "tokens_per_sec": 4000.0},
    {"step": 300, "loss": 1.5, "lr": 0.0, "grad_norm": 1e-9, "tokens": 1500, "targets": 40, "tokens_per_sec": 6000.0, "eval_loss": 1.625},
]
TAGS = {"loss": "train/loss", "lr": "train/lr", "grad_norm": "train/grad_norm", "tokens_per_sec": "train/tokens_per_sec",
        "cross_entropy": "train/cross_entropy", "eval_loss": "eval/loss"}


def golden():
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    class Kept(io.BytesIO):
        def close(self):
            pass

    out, time = Kept(), float(START)
    writer = RecordWriter(out)
    writer.write(Event(wall_time=time, file_version="brain.Event:2").SerializeToString())
    for line in LOG:
        time += line["tokens"] / line["tokens_per_sec"]
        values = [Summary.Value(tag=tag, simple_value=line[key]) for key, tag in TAGS.items() if key in line]
        writer.write(Event(wall_time=time, step=line["step"], summary=Summary(value=values)).SerializeToString())
    writer.flush()
    json.dump({"tensorboard": version("tensorboard"), "start": START, "log": LOG, "hex": out.getvalue().hex()}, sys.stdout)
    print()


def check(folder, log):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(folder, size_guidance={"scalars": 0})
    events.Reload()
    lines = [json.loads(line) for line in open(log)]
    for key, tag in TAGS.items():
        want = [(line["step"], line[key]) for line in lines if key in line]
        got = [(e.step, e.value) for e in events.Scalars(tag)] if want else []
        assert len(got) == len(want), (tag, len(got), len(want))
        assert all(g[0] == w[0] and math.isclose(g[1], w[1], rel_tol=1e-6) for g, w in zip(got, want)), tag
        print(f"{tag}: {len(got)} scalars as in the log")
    assert set(events.Tags()["scalars"]) <= set(TAGS.values())


golden() if len(sys.argv) == 1 else check(*sys.argv[1:])
