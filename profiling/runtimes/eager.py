"""Torch as it is: one kernel after another, as the host issues them; on XLA, whatever that makes of it."""

from distilsearch.operators import Serving

from ..device import Prepared, Work
from .modes import TorchMode
from .runtime import Host


class Eager(TorchMode):
    """Calls, one after another."""

    devices = ("cpu", "cuda", "xla")

    def prepare(self, work: Work, device: Host, serving: Serving) -> Prepared:
        """The work with random weights and inputs."""
        return device.timed(device.job(work, serving))
