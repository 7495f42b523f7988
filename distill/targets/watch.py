"""What a model shows while it runs; queries, keys and values are collected by hooks, so that SDPA stays on."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from distilsearch.families import Family, Layer, Projection

from ..compute.precision import autocast
from ..states import pooled
from ..teachers.ending import Ending
from .batch import Batch

OF_ONE_LAYER = ("queries", "keys", "values")


def look(
    kind: Family,
    model: Any,
    batch: Batch,
    names: Sequence[str],
    layer: int,
    types: int,
    pooling: Ending,
    precision: str,
) -> dict[str, Any]:
    """Run a model on a batch, without its head, and collect what is named.

    Args:
        layer: the one whose queries, keys and values are meant.
        types: segment types that the model has.

    Returns:
        Tensors of the shapes of `STATES`; those of each layer are lists of tensors.
    """
    states: dict[str, Any] = {}
    with watched(kind.layers(model), states, names, layer), autocast(precision, batch.input_ids.device.type):
        output = kind.encode(model, batch.model_inputs(types), every_layer="states" in names)
        states["hidden"] = output.last_hidden_state
        if "states" in names:
            states["states"] = output.hidden_states[1:]
        if "chosen" in names or "transformed" in names:
            states["chosen"] = states["hidden"].flatten(0, 1)[batch.masked]
        if "transformed" in names:
            states["transformed"] = kind.transform(model, states["chosen"])
    if "pooled" in names:
        states["pooled"] = pooled(states["hidden"].float(), pooling, batch.attention_mask)
    return {name: states[name] for name in names}


@contextlib.contextmanager
def watched(layers: list[Layer], states: dict[str, Any], names: Sequence[str], layer: int) -> Iterator[None]:
    """Collect into `states`, while a model runs, the named queries, keys and values: of `layer`, or of all layers."""
    one = layers[layer]
    asked: dict[str, list[Projection]] = dict(zip(OF_ONE_LAYER, ([one.query], [one.key], [one.value]), strict=True))
    asked |= {"all_queries": [each.query for each in layers], "all_keys": [each.key for each in layers]}
    hooks = []
    for name in (name for name in asked if name in names):
        values: list[Tensor] = []
        for projection in asked[name]:
            hooks.append(projection.module.register_forward_hook(_append(projection, values)))
        states[name] = values
    try:
        yield
        for name in OF_ONE_LAYER:
            if name in states:
                (states[name],) = states[name]
    finally:
        for hook in hooks:
            hook.remove()


def _append(projection: Projection, values: list[Tensor]) -> Any:
    def hook(module: Any, inputs: Any, output: Tensor) -> None:
        values.append(projection.of(output))

    return hook
