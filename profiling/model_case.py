"""The signature of a whole model: canonical JSON of what was built and how it was fed.

Threads, dtype and mode belong to the regime, so that a model has one signature in all of them.
"""

import json

from distilsearch.architecture import Architecture
from distilsearch.operators import Serving

from .device import Regime


def model_signature(architecture: Architecture, serving: Serving) -> str:
    """Canonical JSON of the architecture and of batch, sequence and phase."""
    fed = {"batch": serving.batch, "sequence": serving.sequence, "phase": serving.phase}
    return json.dumps({"architecture": architecture.to_json(), "serving": fed}, sort_keys=True)


def parse_model(signature: str, regime: Regime) -> tuple[Architecture, Serving]:
    """The architecture and full serving of a signature in a regime."""
    data = json.loads(signature)
    serving = Serving(
        batch=data["serving"]["batch"],
        sequence=data["serving"]["sequence"],
        phase=data["serving"]["phase"],
        dtype=regime.dtype,
        threads=regime.threads or None,
        mode=regime.mode,
    )
    return Architecture.from_json(data["architecture"]), serving
