"""What is seen of a model while it runs, also where one module computes queries, keys and values at once."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distilsearch.distill.targets.batch import Batch
from distilsearch.distill.targets.watch import look
from distilsearch.distill.teachers.ending import Ending
from distilsearch.families import Layer, Projection

WIDTH = 6


class Fused(nn.Module):
    """A layer whose query, key and value are the parts of one module, in an order of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.every, self.back = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        value, query, key = self.every(x).chunk(3, -1)
        made: Tensor = x + self.back((query * key).softmax(-1) * value)
        return made


class Model(nn.Module):
    """Two such layers over a table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, WIDTH)
        self.layers = nn.ModuleList([Fused(), Fused()])


class FusedFamily:
    """Of a family, what is asked of it while a model runs."""

    def layers(self, model: Any) -> list[Layer]:
        rows = [slice(WIDTH, 2 * WIDTH), torch.arange(2 * WIDTH, 3 * WIDTH), slice(0, WIDTH)]
        return [
            Layer(*(Projection(layer.every, part) for part in rows), Projection(layer.back), Projection(layer.back))
            for layer in model.layers
        ]

    def encode(self, model: Any, inputs: Any, every_layer: bool = False) -> Any:
        states = [model.table(inputs["input_ids"])]
        for layer in model.layers:
            states.append(layer(states[-1]))
        return SimpleNamespace(last_hidden_state=states[-1], hidden_states=states)


def seen(model: Model, names: list[str], layer: int = -1) -> dict[str, Any]:
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    batch = Batch(ids, torch.tensor([1, 5]), torch.tensor([2, 6]))
    return look(FusedFamily(), model, batch, names, layer, 0, Ending(), "float32")  # type: ignore[arg-type]


@pytest.mark.parametrize("layer", [0, -1])
def test_projections_of_a_fused_module_are_told_apart(layer: int) -> None:
    model = Model()
    states = seen(model, ["hidden", "queries", "keys", "values", "states", "all_queries"], layer)
    before = [model.table(torch.tensor([[1, 2, 3], [4, 5, 6]])), *states["states"]][layer if layer == 0 else -2]
    every = model.layers[layer].every(before)
    for name, place in (("values", 0), ("queries", 1), ("keys", 2)):
        assert torch.equal(states[name], every[..., place * WIDTH : (place + 1) * WIDTH])
    assert torch.equal(states["all_queries"][layer], states["queries"])
    states["keys"].sum().backward()
    grads = model.layers[layer].every.weight.grad
    assert grads is not None
    assert grads[2 * WIDTH :].abs().sum() > 0 == grads[: 2 * WIDTH].abs().sum()


def test_only_what_is_named_is_kept_and_no_hook_stays() -> None:
    model = Model()
    assert set(seen(model, ["chosen", "pooled"])) == {"chosen", "pooled"}
    assert seen(model, ["chosen"])["chosen"].shape == (2, WIDTH)
    seen(model, ["queries", "all_keys"])
    assert not any(layer.every._forward_hooks for layer in model.layers)
