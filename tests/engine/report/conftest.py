"""A search as its `result.json` says it, plain JSON."""

import math
from typing import Any

import numpy as np
import pytest

Result = dict[str, Any]


def latency(ms: float, rng: np.random.Generator, measured: bool = True) -> Result:
    predicted = ms * float(np.exp(rng.normal(0, 0.05)))
    known = ms if measured else None
    return {"predicted": predicted, "lower": 0.88 * predicted, "upper": 1.13 * predicted, "measured": known}


def trial(number: int, rng: np.random.Generator) -> Result:
    genes = {"layers": [1, 2, 3, 4, 6], "width": [192, 256, 384], "heads": [4, 6, 12], "ffn": [384, 768, 1536]}
    values: Result = {name: int(rng.choice(choices)) for name, choices in genes.items()}
    values |= {"inherit": str(rng.choice(["even", "first", "last"])), "vocabulary": 30522}
    work = values["layers"] * (4 * values["width"] ** 2 + 2 * values["width"] * values["ffn"]) / 1e6
    loss = 0.05 + 0.42 * math.exp(-0.55 * work) + 0.05 * abs(float(rng.normal()))
    curve = [[int(n), loss + 0.5 * math.exp(-n / 40_000)] for n in np.linspace(0, 160_000, 9)]
    return {
        "number": number,
        "key": f"{rng.integers(16**12):012x}",
        "state": "complete",
        "source": "trained",
        "loss": loss,
        "architecture": {"family": "bert", "values": values},
        "tokens": 160_000,
        "seconds": float(rng.uniform(15, 40)),
        "latency_ms": latency(0.9 + 1.25 * work, rng, number % 5 != 4),
        "curve": curve,
        "cause": "",
        "parameters": int(1e6 * work + 30522 * values["width"]),
    }


@pytest.fixture
def result() -> Result:
    """A search of 24 trials on one CPU: two failures, some latencies only predicted, one trial known before."""
    rng = np.random.default_rng(3)
    trials = [trial(number, rng) for number in range(24)]
    trials[7] |= {
        "state": "failed",
        "loss": None,
        "curve": [],
        "cause": "MemoryError: the child process was killed at 7.9 GB",
    }
    trials[15] |= {
        "state": "failed",
        "loss": None,
        "curve": [],
        "cause": "loss became <nan> & stayed so after 20,480 tokens",
    }
    trials[3] |= {"source": "known", "seconds": 0.0}
    done = [t for t in trials if t["loss"] is not None]
    cost = {t["key"]: t["latency_ms"]["measured"] or t["latency_ms"]["predicted"] for t in done}
    best = [t for t in done if not any(o["loss"] < t["loss"] and cost[o["key"]] < cost[t["key"]] for o in done)]
    names = ("key", "architecture", "loss", "parameters", "tokens", "latency_ms")
    front = [{name: t[name] for name in names} | {"student": f"students/{t['key']}"} for t in best]
    volumes = np.maximum.accumulate(
        3.1 * (1 - np.exp(-np.arange(1, len(done) + 1) / 7)) + rng.normal(0, 0.03, len(done))
    )
    points = [
        {"key": t["key"], "measured": t["loss"], "predicted": t["loss"] + float(rng.normal(0, 0.02)), "sd": 0.022}
        for t in done
    ]
    return {
        "schema": 1, "name": "minilm-cpu", "quality": "agreement", "objectives": ["loss", "latency_ms"],
        "reference": {"loss": 0.45, "latency_ms": 14.2}, "front": front, "trials": trials,
        "knee": sorted(best, key=lambda t: cost[t["key"]])[len(best) // 2]["key"],
        "teacher": {"name": "all-MiniLM-L6-v2", "parameters": 22_713_216, "loss": 0.0,
                    "architecture": {"family": "bert", "values": {"layers": 6, "width": 384, "heads": 12, "ffn": 1536}},
                    "latency_ms": {"predicted": 13.9, "measured": 14.2}},
        "hypervolume_trace": volumes.tolist(),
        "surrogate": {"name": "additive", "r2": 0.91, "coverage": 0.88, "log_likelihood": 31.2, "points": points},
        "rank_fidelity": {"spearman": 0.93, "kendall": 0.8, "pairs": 6, "note": ""},
        "targets": [{"objective": "latency_ms", "device": "cpu", "local": True, "limit_ms": 9.0, "noise_floor": 0.034,
                     "serving": {"batch": 1, "sequence": 128, "dtype": "float32", "threads": 2, "mode": "eager"},
                     "table": "3f2a/91bc"}],
        "phases": [{"what": "profile", "seconds": 71.2}, {"what": "targets of the teacher", "seconds": 44.0},
                   {"what": "trials", "seconds": 402.5}, {"what": "finish", "seconds": 61.0}],
        "environment": {"python": "3.12.4", "versions": {"torch": "2.13.0+cpu", "transformers": "5.23.0"}, "seed": 0},
    }  # fmt: skip
