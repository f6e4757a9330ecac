"""Golden log densities of the Parzen estimators behind TPE: optuna's own, with its defaults, on made-up points.

    python tests/reference/tpe.py > tests/reference/tpe.json        (optuna 5.0)
"""
import json
import sys

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.sampler import default_weights

SETTINGS = _ParzenEstimatorParameters(prior_weight=1.0, consider_magic_clip=True, consider_endpoints=False,
                                      weights=default_weights, multivariate=False)


def log_pdf(space, seen, at):
    estimator = _ParzenEstimator({"x": np.array(seen)}, {"x": space}, SETTINGS)
    return estimator.log_pdf({"x": np.array(at)}).tolist()


rng = np.random.default_rng(7)
cases = []
for n in [0, 1, 2, 3, 7, 20]:
    seen = rng.uniform(-2.0, 5.0, n).tolist()
    at = np.linspace(-2.0, 5.0, 15).tolist()
    cases.append({"range": {"uniform": [-2.0, 5.0]}, "seen": seen, "at": at, "log": log_pdf(FloatDistribution(-2.0, 5.0), seen, at)})
    seen = [float(i) for i in rng.integers(0, 4, n)]
    at = [0.0, 1.0, 2.0, 3.0]
    cases.append({"range": {"choice": ["a", "b", "c", "d"]}, "seen": seen, "at": at,
                  "log": log_pdf(CategoricalDistribution(["a", "b", "c", "d"]), seen, at)})
json.dump({"optuna": optuna.__version__, "cases": cases}, sys.stdout)
print()
