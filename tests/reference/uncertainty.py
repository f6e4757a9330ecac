"""Golden values of intervals, paired tests and calibration: scipy, statsmodels and scikit-learn on synthetic cases.

    python tests/reference/uncertainty.py > tests/reference/uncertainty.json      (scipy 1.17, statsmodels 0.15, scikit-learn 1.9, numpy 2)

Seed 7. Bootstrap: scipy draws its own resamples, so its resampled values are part of the file and the interval is computed from them.
"""
import json
import sys

import numpy as np
import scipy
import statsmodels
from scipy.stats import bootstrap, permutation_test
from sklearn.calibration import _SigmoidCalibration
from sklearn.metrics import brier_score_loss
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

rng = np.random.default_rng(7)


def groups(n, of):
    """`n` groups of up to `of` cases: (numerator, denominator) of micro-F1 of every case, by group."""
    hard = rng.random(n)
    rows = []
    for g in range(n):
        for _ in range(rng.integers(1, of + 1)):
            gold, predicted = int(rng.integers(1, 4)), int(rng.integers(1, 4))
            right = int(rng.binomial(min(gold, predicted), hard[g] ** 2))
            rows.append((g, 2 * right, gold + predicted))
    return rows


def ratio(num, den, axis=-1):
    return num.sum(axis=axis) / den.sum(axis=axis)


def interval(rows, resamples):
    """Percentile and BCa of micro-F1, groups drawn as a whole: scipy is given the sums of every group."""
    n = max(g for g, _, _ in rows) + 1
    num, den = np.zeros(n), np.zeros(n)
    for g, a, b in rows:
        num[g] += a
        den[g] += b
    found = {}
    draws = None
    for method in ["percentile", "BCa"]:
        r = bootstrap((num, den), ratio, paired=True, n_resamples=0 if draws else resamples, bootstrap_result=draws,
                      method=method, confidence_level=0.95, rng=np.random.default_rng(1))
        found[method] = [float(r.confidence_interval.low), float(r.confidence_interval.high)]
        draws = draws or r
    return {"cases": rows, "value": float(ratio(num, den)), "draws": draws.bootstrap_distribution.tolist(), **found}


def wilson(k, n):
    low, high = proportion_confint(k, n, alpha=0.05, method="wilson")
    return {"successes": k, "n": n, "low": float(low), "high": float(high)}


def paired(n):
    """Exact permutation test of the difference of micro-F1: numerators of two models over the same denominators."""
    den = rng.integers(2, 7, size=n).astype(float)
    a = 2.0 * rng.binomial((den // 2).astype(int), 0.3)
    b = 2.0 * rng.binomial((den // 2).astype(int), 0.6)
    r = permutation_test((a / den.sum(), b / den.sum()), lambda x, y, axis=-1: y.sum(axis=axis) - x.sum(axis=axis),
                         permutation_type="samples", n_resamples=np.inf, alternative="two-sided", vectorized=True)
    return {"den": den.tolist(), "a": a.tolist(), "b": b.tolist(), "p": float(r.pvalue)}


def calibration(n, soft):
    logprob = -rng.gamma(2.0, 4.0, size=n)
    logprob[: n // 10] = logprob[0]  # equal confidences
    p = 1 / (1 + np.exp(-(0.6 * logprob + 2)))
    y = (rng.random(n) < p).astype(float)
    if soft:
        y = np.where(rng.random(n) < 0.5, y, rng.integers(0, 5, size=n) / 4)
    raw = np.exp(logprob)
    order = np.argsort(raw, kind="stable")
    parts = np.array_split(order, 10)
    ece = sum(len(b) / n * abs(raw[b].mean() - y[b].mean()) for b in parts)
    # expected risk under a random order of equal scores, by the mean over all shuffles that numpy makes: exact by block means
    loss = 1 - y
    values, inverse = np.unique(-logprob, return_inverse=True)
    block = np.array([loss[inverse == k].mean() for k in range(len(values))])[inverse]
    risks = np.cumsum(block[np.argsort(-logprob, kind="stable")]) / np.arange(1, n + 1)
    out = {
        "logprob": logprob.tolist(), "outcome": y.tolist(), "ece": float(ece),
        "brier": float(((raw - y) ** 2).mean()) if soft else float(brier_score_loss(y, raw)),
        "bins": [[len(b), float(raw[b].mean()), float(y[b].mean())] for b in parts],
        "aurc": float(risks.mean()), "risk_at_half": float(risks[n // 2 - 1]),
    }
    if not soft:
        fitted = _SigmoidCalibration().fit(logprob, y)  # p = 1/(1 + exp(a_·s + b_)), Platt's targets
        out["platt"] = [-float(fitted.a_), -float(fitted.b_)]
    return out


intervals = [interval(groups(12, 1), 399), interval(groups(40, 1), 999), interval(groups(30, 5), 999)]
shares = [wilson(k, n) for k, n in [(0, 10), (5, 236), (236, 236), (118, 236), (1, 3)]]
counts = [(0, 0), (1, 6), (5, 5), (3, 40), (60, 95), (400, 470)]
tables = [{"only_a": a, "only_b": b, "p": float(mcnemar([[10, a], [b, 10]], exact=True).pvalue)} for a, b in counts]
p = rng.random(9) ** 3
json.dump(
    {
        "scipy": scipy.__version__, "statsmodels": statsmodels.__version__,
        "intervals": intervals, "wilson": shares, "mcnemar": tables, "permutation": [paired(3), paired(8), paired(11)],
        "holm": {"p": p.tolist(), "corrected": multipletests(p, method="holm")[1].tolist()},
        "calibration": [calibration(60, False), calibration(300, False), calibration(200, True)],
    },
    sys.stdout, separators=(",", ":"),
)
print()
