"""The engine as the sampler of an ordinary Optuna study. Run it several times at once with one storage URL: the
workers share what they learn and never try the same student twice.

    python examples/optuna_study.py [sqlite:///study.db]

A worker that is killed leaves its trial running, and a running trial holds its student. A database with heartbeats ends
such trials as failed, and `retry` tries their students again; where a storage has no heartbeats (Optuna's journal has
none), `lost_after` says after how many seconds a trial counts as lost.
"""

import sys

import numpy as np
import optuna

from distilsearch.engine.adapters.optuna_sampler import DistilSampler
from distilsearch.engine.objectives import Codes, Expensive, Known
from distilsearch.space import Parameter, SearchSpace

WIDTHS = (64, 128, 192, 256, 384)
space = SearchSpace(
    "generic",
    [Parameter("depth", (2, 4, 6, 8)), Parameter("width", WIDTHS), Parameter("norm", ("layer", "rms"), ordered=False)],
)


def latency_ms(codes: Codes) -> np.ndarray:
    """Known without training, from code columns (n, 3)."""
    return 0.2 + (2 + 2 * codes[:, 0]) * np.array(WIDTHS)[codes[:, 1]] ** 2 / 1e5


def objective(trial: optuna.Trial) -> tuple[float, float]:
    """An ordinary objective; the categories and steps are those of the space."""
    depth = trial.suggest_int("depth", 2, 8, step=2)
    width = trial.suggest_categorical("width", WIDTHS)
    norm = trial.suggest_categorical("norm", ("layer", "rms"))
    return 1.0 / depth + 30.0 / width + (0.1 if norm == "layer" else 0.0), 0.2 + depth * width**2 / 1e5


def memory(trial: optuna.trial.FrozenTrial) -> tuple[float]:
    """A constraint that only a trial shows: it must not be above 0, and is learnt like the loss."""
    return (trial.params["depth"] * trial.params["width"] ** 2 * 12 / 1e6 - 8.0,)


url = sys.argv[1] if len(sys.argv) > 1 and "://" in sys.argv[1] else None
storage = url and optuna.storages.RDBStorage(url, heartbeat_interval=60, grace_period=300)
optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(
    study_name="students",
    storage=storage,
    load_if_exists=True,
    directions=["minimize", "minimize"],
    sampler=DistilSampler(
        space, [Expensive("loss"), Known("latency_ms", latency_ms)], initial=5, constraints_func=memory, retry=2
    ),
)
study.optimize(objective, n_trials=12)
for trial in sorted(study.best_trials, key=lambda t: t.values[1]):
    print(f"{trial.values[1]:6.2f} ms  loss {trial.values[0]:.3f}  {trial.params}")
