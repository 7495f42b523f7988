"""Torch's kernels captured once as a graph and replayed: the device alone, without the host that issues them."""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from distilsearch.architecture import Architecture
from distilsearch.operators import Serving

from ..device import Prepared, Unsupported, Work
from .modes import TorchMode
from .runtime import Host

if TYPE_CHECKING:
    from ..work import Job


@runtime_checkable
class Captures(Protocol):
    """A device that captures what is issued on it."""

    def replayed(self, job: "Job", whole: bool) -> Prepared:
        """Replays of a job, timed by the device itself; `Unsupported` where it cannot be captured.

        A `whole` model is started by itself each time, as it is served; operators need not be.
        """
        ...


class Graph(TorchMode):
    """Replays of a captured call."""

    devices = ("cuda",)

    def prepare(self, work: Work, device: Host, serving: Serving) -> Prepared:
        """The work, captured."""
        if not isinstance(device, Captures):
            raise Unsupported(f"the {device.name} captures no graphs")
        return device.replayed(device.job(work, serving), whole=isinstance(work, Architecture))
