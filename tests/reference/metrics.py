"""Golden values of the label metrics: scikit-learn on synthetic label sets.

    python tests/reference/metrics.py > tests/reference/metrics.json      (scikit-learn 1.9, numpy 2)

Labels and cases are random (seed 7): a long tail of 30 labels, noisy predictions, empty sets, invented labels.
"""
import json
import sys

import numpy as np
import sklearn
from sklearn.metrics import f1_score, hamming_loss, jaccard_score, precision_score, recall_score
from sklearn.preprocessing import MultiLabelBinarizer


def cases(rng, n, labels):
    weight = 1.0 / np.arange(1, labels + 1)
    weight /= weight.sum()
    rows = []
    for i in range(n):
        gold = set(rng.choice(labels, size=rng.integers(0, min(5, labels)), replace=False, p=weight).tolist())
        predicted = {label for label in gold if rng.random() < 0.7}
        predicted |= set(rng.integers(0, labels + 5, size=rng.integers(0, 3)).tolist())
        name = lambda s: sorted(f"label {k:02d}" for k in s)
        rows.append({"case_id": f"c{i}", "gold": name(gold), "predicted": name(predicted)})
    return rows


def golden(rows):
    gold, predicted = [r["gold"] for r in rows], [r["predicted"] for r in rows]
    binarizer = MultiLabelBinarizer().fit(gold + predicted)
    y, z = binarizer.transform(gold), binarizer.transform(predicted)
    in_gold = np.flatnonzero(y.sum(0) > 0)
    return {
        "micro_precision": precision_score(y, z, average="micro", zero_division=0),
        "micro_recall": recall_score(y, z, average="micro", zero_division=0),
        "micro_f1": f1_score(y, z, average="micro", zero_division=0),
        "macro_f1_union": f1_score(y, z, average="macro", zero_division=0),
        "macro_f1_gold": f1_score(y, z, average="macro", labels=in_gold, zero_division=0),
        "macro_precision_gold": precision_score(y, z, average="macro", labels=in_gold, zero_division=0),
        "macro_precision_union": precision_score(y, z, average="macro", zero_division=0),
        "macro_recall_gold": recall_score(y, z, average="macro", labels=in_gold, zero_division=0),
        "macro_recall_union": recall_score(y, z, average="macro", zero_division=0),
        "weighted_f1": f1_score(y, z, average="weighted", zero_division=0),
        "weighted_precision": precision_score(y, z, average="weighted", zero_division=0),
        "weighted_recall": recall_score(y, z, average="weighted", zero_division=0),
        "sample_f1": f1_score(y, z, average="samples", zero_division=1),
        "jaccard": jaccard_score(y, z, average="samples", zero_division=1),
        "exact_match": float((y == z).all(1).mean()),
        "hamming_loss": hamming_loss(y, z),
        "labels_per_case": float(z.sum(1).mean()),
    }


rng = np.random.default_rng(7)
sets = [cases(rng, n, labels) for n, labels in [(1, 3), (12, 5), (200, 30)]]
json.dump(
    {"scikit-learn": sklearn.__version__, "sets": [{"cases": s, "golden": golden(s)} for s in sets]},
    sys.stdout, indent=None, separators=(",", ":"),
)
print()
