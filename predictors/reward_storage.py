"""A predictor of rewards on disk: `rewards.json`, readable by anyone, and the net's weights in a safetensors file.

The JSON holds genes, targets, what was best and the hash of the weights; nothing of either is unpickled. What is
damaged, of another program or newer is refused.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as loaded
from safetensors.torch import save as saved

from distilsearch.architecture import Value
from distilsearch.errors import TableError
from distilsearch.home import write_atomically

from .reading import checked
from .rewards import HIDDEN, Genes, Net, RewardPredictor

FORMAT = "distilsearch reward predictor"
SCHEMA = 1
FILE, WEIGHTS = "rewards.json", "rewards.safetensors"
CONTENT = (
    "format", "schema", "hidden", "genes", "targets", "before", "before_costs", "cost_scale", "reward_scale",
    "weights_sha256", checked.HASH,
)  # fmt: skip
MOST = 1 << 15  # choices of a gene, which codes count in 16 bits
DAMAGED = (ArithmeticError, AttributeError, IndexError, KeyError, RecursionError, RuntimeError, TypeError, ValueError)


def save(predictor: RewardPredictor, folder: Path) -> Path:
    """Write a predictor into a folder, the weights first; returns the folder."""
    raw = saved({name: value.contiguous() for name, value in predictor.net.state_dict().items()})
    content = {
        "format": FORMAT,
        "schema": SCHEMA,
        "hidden": HIDDEN,
        "genes": [[name, list(choices)] for name, choices in predictor.genes],
        "targets": list(predictor.targets),
        "before": predictor.before.tolist(),
        "before_costs": predictor.before_costs.tolist(),
        "cost_scale": list(predictor.cost_scale),
        "reward_scale": predictor.reward_scale.tolist(),
        "weights_sha256": hashlib.sha256(raw).hexdigest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / WEIGHTS, raw)
    write_atomically(folder / FILE, json.dumps(checked.hashed(content), indent=1, allow_nan=False) + "\n")
    return folder


def load(folder: Path) -> RewardPredictor:
    """See `RewardPredictor.load`."""
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise TableError(f"{path} is not a {FORMAT}; fit one again from the results")
        if checked.whole(content.get("schema"), 1) > SCHEMA:
            raise checked.newer(f"the schema {content['schema']}")
        checked.fields("the predictor", content, CONTENT)
        if content[checked.HASH] != checked.content_hash(content):
            raise ValueError("it is not what was saved")
        return _read(content, (folder / WEIGHTS).read_bytes())
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise TableError(f"there is no predictor of rewards in {folder}: {missing} is missing") from None
    except (OSError, SafetensorError, *DAMAGED) as error:
        raise TableError(f"the predictor in {folder} is damaged ({error!r}); fit it again") from error


def _read(content: Any, raw: bytes) -> RewardPredictor:
    if hashlib.sha256(raw).hexdigest() != content["weights_sha256"]:
        raise ValueError(f"{WEIGHTS} is not what was saved")
    if content["hidden"] != HIDDEN:
        raise checked.newer(f"a net of {content['hidden']} hidden units")
    genes = _genes(content["genes"])
    targets = checked.positives(content["targets"], len(content["targets"]))
    if len(content["before"]) != len(targets) or len(content["before_costs"]) != len(targets):
        raise ValueError("expected what was best by each target")
    shape = (len(targets), 2, len(genes))
    before = np.array([[_row(row, genes) for row in checked.rows(pair, len(genes))] for pair in content["before"]])
    costs = np.array([[checked.number(one) for one in row] for row in checked.rows(content["before_costs"], 2)])
    (of_costs,) = _scales([content["cost_scale"]])
    of_rewards = _scales(content["reward_scale"])
    if before.shape != shape or len(of_rewards) != len(targets):
        raise ValueError(f"expected {shape} codes of what was best; got {before.shape}")
    net = _net(sum(len(choices) for _, choices in genes), raw)
    numbers = np.array(of_rewards)
    return RewardPredictor(genes, tuple(targets.tolist()), before.astype(np.int64), costs, of_costs, numbers, net)


def _genes(data: Any) -> Genes:
    genes = [(_name(name), tuple(map(_value, _list(choices)))) for name, choices in checked.rows(data, 2)]
    if not genes or not all(0 < len(choices) < MOST for _, choices in genes):
        raise ValueError("expected genes with their choices")
    return tuple(genes)


def _scales(data: Any) -> list[tuple[float, float]]:
    """Means and deviations."""
    return [(checked.number(mean), checked.positive(deviation)) for mean, deviation in checked.rows(data, 2)]


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list; got {value!r}")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected the name of a gene; got {value!r}")
    return value


def _value(value: Any) -> Value:
    if not isinstance(value, str | bool | int | float):
        raise TypeError(f"expected a choice; got {value!r}")
    return value


def _row(row: Any, genes: Genes) -> list[int]:
    """The codes of an architecture, or -1 in all places where there was none."""
    codes = [checked.whole(code, -1, len(choices)) for code, (_, choices) in zip(row, genes, strict=True)]
    if -1 in codes and set(codes) != {-1}:
        raise ValueError("an architecture has a code for each gene, or none at all")
    return codes


def _net(choices: int, raw: bytes) -> Net:
    """The net of weights that fit it and are numbers."""
    net, weights = Net(choices), loaded(raw)
    for name, value in weights.items():
        if value.dtype != torch.float32 or not value.isfinite().all():
            raise ValueError(f"{name} of the weights is not all numbers")
    net.load_state_dict(weights)
    return net.requires_grad_(False).eval()
