"""The signature of a whole model: canonical JSON of what was built and how it was fed.

Threads, dtype, mode and runtime belong to the regime, so that a model has one signature in all of them.
"""

import json

from distilsearch.architecture import Architecture
from distilsearch.operators import Serving

from .device import Regime

FED = ("batch", "sequence", "phase")


def model_signature(architecture: Architecture, serving: Serving) -> str:
    """Canonical JSON of the architecture and of batch, sequence and phase."""
    fed = {name: getattr(serving, name) for name in FED}
    return json.dumps({"architecture": architecture.to_json(), "serving": fed}, sort_keys=True)


def parse_model(signature: str, regime: Regime) -> tuple[Architecture, Serving]:
    """The architecture and full serving of a signature in a regime."""
    data = json.loads(signature)
    fed = {name: data["serving"][name] for name in FED}
    threads = regime.threads or None
    serving = Serving(**fed, dtype=regime.dtype, threads=threads, mode=regime.mode, runtime=regime.runtime)
    return Architecture.from_json(data["architecture"]), serving
