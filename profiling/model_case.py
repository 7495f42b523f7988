"""The signature of a whole model: canonical JSON of what was built and how it was fed.

Threads, dtype, mode and runtime belong to the regime, so that a model has one signature in all of them.
"""

import json
from collections.abc import Mapping
from typing import Any

from distilsearch.architecture import Architecture
from distilsearch.growth import filled, grown
from distilsearch.operators import Serving

from .device import Regime

FED = ("batch", "sequence", "phase", "padded")
FED_ADDED: Mapping[str, Any] = {"padded": False}  # of these what came later; see `distilsearch.growth`


def model_signature(architecture: Architecture, serving: Serving) -> str:
    """Canonical JSON of the architecture and of batch, sequence, phase and whether it is padded."""
    fed = grown({name: getattr(serving, name) for name in FED}, FED_ADDED)
    return json.dumps({"architecture": architecture.to_json(), "serving": fed}, sort_keys=True)


def parse_model(signature: str, regime: Regime) -> tuple[Architecture, Serving]:
    """The architecture and full serving of a signature in a regime."""
    data = json.loads(signature)
    given = filled(data["serving"], FED_ADDED)
    fed = {name: given[name] for name in FED}
    threads = regime.threads or None
    serving = Serving(**fed, dtype=regime.dtype, threads=threads, mode=regime.mode, runtime=regime.runtime)
    return Architecture.from_json(data["architecture"]), serving


def tokens_read(serving: Serving) -> list[int]:
    """How many tokens of each sequence of a batch are read: all, or, where it is padded, ever fewer of the others."""
    b, s = serving.batch, serving.sequence
    return [max(1, s * (b - place) // b) if serving.padded else s for place in range(b)]
