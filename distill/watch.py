"""Queries, keys and values of a model while it runs: collected by hooks, so that SDPA stays on."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from distilsearch.families.common import Layer


@contextlib.contextmanager
def watched(layers: list[Layer], states: dict[str, Any], names: Any, layer: int) -> Iterator[None]:
    """Collect into `states`, while a model runs, the projections that the losses or targets `names` look at.

    "queries", "keys", "values" (b, s, .) are of one layer; "all_queries", "all_keys" are lists over all layers.
    """
    hooks = []

    def keep(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Tensor) -> None:
            states[name] = output

        return hook

    def add(name: str) -> Any:
        kept: list[Tensor] = []
        states[name] = kept

        def hook(module: Any, inputs: Any, output: Tensor) -> None:
            kept.append(output)

        return hook

    if any(name.startswith("relation") or name == "queries" for name in names):
        chosen = layers[layer] if any(name == "queries" for name in names) else layers[-1]
        modules = {"queries": chosen.query, "keys": chosen.key, "values": chosen.value}
        hooks += [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    if any(name in ("attention", "all_queries") for name in names):
        queries, keys = add("all_queries"), add("all_keys")
        hooks += [one.query.register_forward_hook(queries) for one in layers]
        hooks += [one.key.register_forward_hook(keys) for one in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
