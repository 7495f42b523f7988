"""KD-NAS's controller: an LSTM that foresees the reward of a candidate from what was best before it.

It reads three architectures, the best of the previous episode, the best so far and the candidate, and gives one number.
An architecture is embedded as the sum of a vector of each of its choices and of the logarithm of its cost over the
target. The first two are the same for all candidates of an episode, so they are read once: what is left for each
candidate is one step, and 100,000 are scored in a fraction of a second.

Sizes and optimiser are those of a re-implementation of KD-NAS (arXiv 2303.09639): embedding 32, hidden 32, RMSprop at
1e-4. How often results are shown again is not known; here so many steps on batches drawn with a seed.

Notation: n results, t targets, d genes, c choices of all genes together, h hidden units.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distilsearch.architecture import Value
from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError
from distilsearch.space import Codes, SearchSpace

from .threads import one_thread

HIDDEN = 32  # also of the embedding
BATCH = 64
CHUNK = 8_192
Genes = tuple[tuple[str, tuple[Value, ...]], ...]


class Net(torch.nn.Module):
    """Rows of choices (n, 3, d) with the logarithms of their costs (n, 3) -> foreseen rewards (n,)."""

    def __init__(self, choices: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.choices = torch.nn.EmbeddingBag(choices + 1, HIDDEN, mode="sum", padding_idx=choices)  # the last: none
        self.cost = torch.nn.Linear(1, HIDDEN)
        self.lstm = torch.nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.out = torch.nn.Linear(HIDDEN, 1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-(HIDDEN**-0.5), HIDDEN**-0.5, generator=generator)
            self.choices.weight[choices] = 0.0

    def embedded(self, choices: Tensor, costs: Tensor) -> Tensor:
        """(m, d) and (m,) -> (m, h)."""
        embedded: Tensor = self.choices(choices) + self.cost(costs[:, None])
        return embedded

    def forward(self, choices: Tensor, costs: Tensor) -> Tensor:
        """See the class."""
        flat = self.embedded(choices.flatten(0, 1), costs.flatten())
        states, _ = self.lstm(flat.view(len(choices), -1, HIDDEN))
        value: Tensor = self.out(states[:, -1])[:, 0]
        return value

    def after(self, before: Tensor, candidates: Tensor) -> Tensor:
        """Foreseen rewards (m,) of embedded candidates (m, h), all after the same embedded architectures (2, h)."""
        _, (hidden, cell) = self.lstm(before[None])
        weights: Any = self.lstm
        fixed = hidden[0, 0] @ weights.weight_hh_l0.T + weights.bias_hh_l0 + weights.bias_ih_l0
        enter, forget, new, leave = (candidates @ weights.weight_ih_l0.T + fixed).chunk(4, dim=1)
        cell = forget.sigmoid() * cell[0] + enter.sigmoid() * new.tanh()
        value: Tensor = self.out(leave.sigmoid() * cell.tanh())[:, 0]
        return value


@dataclass(frozen=True, eq=False)
class RewardPredictor:
    """What was learnt of n results; a value.

    Attributes:
        genes: of the space, in its order, with their choices.
        targets: (t,) costs that are wished for, in the unit of the costs.
        before: (t, 2, d) codes of the best of the last episode and the best of all, -1 where there is none.
        before_costs: (t, 2) logarithms of their costs over the target, standardised as all are.
        cost_scale: mean and deviation of those logarithms.
        reward_scale: (t, 2) mean and deviation of the rewards by each target.
    """

    genes: Genes
    targets: tuple[float, ...]
    before: npt.NDArray[np.int64]
    before_costs: FloatArray
    cost_scale: tuple[float, float]
    reward_scale: FloatArray
    net: Net

    @classmethod
    def fit(
        cls,
        space: SearchSpace,
        codes: Codes,
        costs: FloatArray,
        rewards: FloatArray,
        targets: tuple[float, ...],
        episodes: npt.NDArray[np.int64],
        *,
        steps: int = 500,
        rate: float = 1e-4,
        seed: int = 0,
    ) -> "RewardPredictor":
        """Learn from results in the order they came; the same results give the same predictor, bit for bit.

        Args:
            codes: (n, d) of the architectures.
            costs: (n,) positive.
            rewards: (n, t) by each target.
            targets: (t,) positive costs.
            episodes: (n,) the number of the episode of each, never falling.

        Raises:
            InputError: shapes do not agree, or values are not finite or costs not positive.
        """
        _check(space, codes, costs, rewards, targets, episodes)
        ratios = np.log(costs)[:, None] - np.log(targets)  # (n, t)
        (scale,) = _scales(ratios.reshape(-1, 1)).tolist()
        rewarded = _scales(rewards)
        ratios, wanted = (ratios - scale[0]) / scale[1], (rewards - rewarded[:, 0]) / rewarded[:, 1]
        seen = [_sequences(codes, ratios[:, t], rewards[:, t], episodes) for t in range(len(targets))]
        offsets = _offsets(space)
        rows = np.concatenate([np.where(one.codes < 0, offsets[-1], one.codes + offsets[:-1]) for one in seen])
        data = (torch.from_numpy(rows), _float(np.concatenate([one.costs for one in seen])), _float(wanted.T.ravel()))
        with one_thread():
            net = _trained(Net(int(offsets[-1]), torch.Generator().manual_seed(seed)), data, steps, rate, seed)
        before, costs = (np.stack([getattr(one, name) for one in seen]) for name in ("before", "before_costs"))
        return cls(_genes(space), targets, before, costs, (scale[0], scale[1]), rewarded, net)

    def predict(self, codes: Codes, costs: FloatArray, target: int = 0) -> FloatArray:
        """Foreseen rewards (n,) of candidates (n, d) of the next episode with costs (n,), by one of the targets."""
        offsets = np.cumsum([0, *(len(choices) for _, choices in self.genes)])
        before = self.before[target]
        known = torch.from_numpy(np.where(before < 0, offsets[-1], before + offsets[:-1]))
        ratios = (np.log(costs) - math.log(self.targets[target]) - self.cost_scale[0]) / self.cost_scale[1]
        parts = []
        with one_thread(), torch.inference_mode():
            context = self.net.embedded(known, _float(self.before_costs[target]))
            for at in range(0, len(codes), CHUNK):
                choices = torch.from_numpy(codes[at : at + CHUNK].astype(np.int64) + offsets[:-1])
                embedded = self.net.embedded(choices, _float(ratios[at : at + CHUNK]))
                parts.append(self.net.after(context, embedded).double().numpy())
        mean, deviation = self.reward_scale[target]
        return np.asarray(np.concatenate([np.zeros(0), *parts]) * deviation + mean)

    def check(self, space: SearchSpace) -> None:
        """Refuse a space of other genes or choices than it has learnt, with an `InputError`."""
        if _genes(space) != self.genes:
            named = ", ".join(f"{name} {list(choices)}" for name, choices in self.genes)
            raise InputError(f"the predictor is of another space; it has learnt of {named}")

    def save(self, folder: Path) -> Path:
        """Write `rewards.json` and `rewards.safetensors` into a folder; returns it."""
        from .reward_storage import save

        return save(self, folder)

    @classmethod
    def load(cls, folder: Path) -> "RewardPredictor":
        """The predictor of a folder; a `TableError` where it is missing, damaged, foreign or newer."""
        from .reward_storage import load

        return load(folder)


@dataclass(frozen=True)
class _Seen:
    """What the net is shown of n results by one target: codes (n, 3, d), costs (n, 3); and what precedes the next."""

    codes: npt.NDArray[np.int64]
    costs: FloatArray
    before: npt.NDArray[np.int64]
    before_costs: FloatArray


def _sequences(codes: Codes, costs: FloatArray, rewards: FloatArray, episodes: npt.NDArray[np.int64]) -> _Seen:
    """Each result after the best of the episode before its own and the best of all episodes before its own."""
    rows = np.vstack([codes.astype(np.int64), np.full(codes.shape[1], -1)])  # the last row: none
    values = np.append(costs, 0.0)
    none = len(codes)
    numbers, places = np.unique(episodes, return_inverse=True)
    last, best, pairs = none, none, []
    for number in range(len(numbers) + 1):
        pairs.append((last, best))
        members = np.flatnonzero(places == number)
        if len(members):
            last = int(members[np.argmax(rewards[members])])
            best = last if best == none or rewards[last] > rewards[best] else best
    context = np.array(pairs)  # (episodes + 1, 2)
    shown = np.column_stack([context[places], np.arange(len(codes))])  # (n, 3)
    return _Seen(rows[shown], values[shown], rows[context[-1]], values[context[-1]])


def _trained(net: Net, data: tuple[Tensor, ...], steps: int, rate: float, seed: int) -> Net:
    """The net after some steps of RMSprop on batches of the data, drawn with the seed."""
    optimizer = torch.optim.RMSprop(net.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(seed)
    count = len(data[0])
    for _ in range(steps):
        rows = torch.randint(count, (min(BATCH, count),), generator=generator)
        choices, costs, rewards = (part[rows] for part in data)
        optimizer.zero_grad(set_to_none=True)
        (net(choices, costs) - rewards).square().mean().backward()
        optimizer.step()
    return net.requires_grad_(False).eval()


def _offsets(space: SearchSpace) -> npt.NDArray[np.int64]:
    """(d + 1,) where the choices of each gene begin among those of all; the last is how many there are."""
    return np.cumsum([0, *(len(parameter.choices) for parameter in space.parameters)])


def _genes(space: SearchSpace) -> Genes:
    return tuple((parameter.name, tuple(parameter.choices)) for parameter in space.parameters)


def _scales(values: FloatArray) -> FloatArray:
    """Mean and standard deviation (k, 2) of each column (n, k); a deviation of 1 where all are alike."""
    deviations = values.std(axis=0)
    return np.column_stack([values.mean(axis=0), np.where(deviations > 0, deviations, 1.0)])


def _float(values: FloatArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _check(
    space: SearchSpace,
    codes: Codes,
    costs: FloatArray,
    rewards: FloatArray,
    targets: tuple[float, ...],
    episodes: npt.NDArray[np.int64],
) -> None:
    n, t = len(codes), len(targets)
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
        "codes": (codes.shape, (n, space.d)),
        "costs": (costs.shape, (n,)),
        "rewards": (rewards.shape, (n, t)),
        "episodes": (episodes.shape, (n,)),
    }
    if wrong := [f"{name} {got} for {due}" for name, (got, due) in shapes.items() if got != due]:
        raise InputError(f"results to learn from disagree in shape: {', '.join(wrong)}")
    if not n or not t:
        raise InputError("a predictor of rewards needs at least one result and one target")
    if not (np.isfinite(costs) & (costs > 0)).all() or not all(0 < one < math.inf for one in targets):
        raise InputError("costs and targets must be positive and finite")
    if not np.isfinite(rewards).all() or (np.diff(episodes) < 0).any():
        raise InputError("rewards must be finite, and the numbers of episodes never fall")
