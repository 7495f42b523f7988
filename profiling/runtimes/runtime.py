"""What a runtime must offer: it runs work on a device, and says what else than the device decides how fast.

A device knows what the hardware is and how to wait for it, a runtime what is run there. A new one is one file with a
class that fulfils `Runtime`, and one line in `RUNTIMES`; devices need not know it.
"""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from distilsearch.operators import Serving

from ..device import Facts, Prepared, Work

if TYPE_CHECKING:
    from ..work import Job


class Host(Protocol):
    """What a runtime asks of the device that it runs on."""

    name: str

    def job(self, work: Work, serving: Serving) -> "Job":
        """The work as torch runs it there, weights and inputs in place."""
        ...

    def timed(self, job: "Job") -> Prepared:
        """A job called again and again, waited for as the device waits."""
        ...


class Runtime(Protocol):
    """One way to run a model. One that does not serve every phase says which in `phases`, a tuple of their names."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices that it runs on."""
        ...

    @property
    def dtypes(self) -> tuple[str, ...]:
        """What it serves in; nothing where it serves whatever the device does."""
        ...

    @property
    def prepare_seconds(self) -> float:
        """About how long one case takes until it is ready."""
        ...

    def facts(self) -> Facts:
        """What it adds to the stack of a table: its versions, flags and providers. Cheap; loads no library."""
        ...

    def threads(self, count: int) -> AbstractContextManager[None]:
        """So many threads of its own hold inside; torch's, which sentinel and probes need, are the device's to set."""
        ...

    def prepare(self, work: Work, device: Host, serving: Serving) -> Prepared:
        """Work ready to be timed on a device; raises `Unsupported` or `MemoryError`."""
        ...


@runtime_checkable
class OwnSentinel(Protocol):
    """A runtime with threads of its own, beside which torch's must not spin: it runs the sentinel too."""

    def sentinel(self, device: Host, serving: Serving) -> Prepared:
        """What `Device.sentinel` is, without torch."""
        ...
