"""Work under `torch.compile`, timed so that the timing proves itself and tells what the work costs inside a model.

Entering a compiled program costs some tens of microseconds (guards, wrappers) whatever is in it. A compiled model
enters once, a table of its operators would count as many entries as there are operators: so of an operator that cost
is subtracted, measured beside it with a program that computes one number. What is fused is what one operator holds;
fusion across operators shows in whole models.
"""

import functools
import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

from distilsearch.operators import Operator, Serving

from ..device import Prepared, Probe, Unsupported, Work
from .modes import TorchMode
from .runtime import Host

LEAST_SECONDS = 1e-7
ONE_NUMBER = "norm(batch=1,norm=none,residual=0,sequence=1,width=1)"

Call = Callable[[], Any]


class Compiled(TorchMode):
    """A whole model is a program; an operator is a part of one; a probe is a kernel, and stays one."""

    devices = ("cpu",)
    prepare_seconds = 1.0

    def prepare(self, work: Work, device: Host, serving: Serving) -> Prepared:
        """The work, compiled and run once."""
        from ..work import Job

        job = device.job(work, serving)
        if isinstance(work, Probe):
            return device.timed(job)
        whole = Proven(device.timed(Job(compiled(job.call), ())))
        if not isinstance(work, Operator):
            return whole
        return WithoutEntry(whole, device.timed(Job(entry_program(torch_threads()), ())))


def compiled(call: Call) -> Call:
    """`torch.compile` of the call, run once; `Unsupported` where it cannot be compiled, or runs eagerly after all.

    Each call gets code of its own: torch keeps compiled programs per code object, and quietly runs eagerly once one
    has too many.
    """
    import torch
    from torch._dynamo.exc import TorchDynamoException
    from torch._dynamo.utils import counters

    own = FunctionType(call.__code__.replace(co_name="case"), call.__globals__, closure=call.__closure__)
    program: Call = torch.compile(own, dynamic=False)
    graphs = counters["stats"]["unique_graphs"]
    try:
        program()
    except (RuntimeError, TorchDynamoException) as error:
        raise Unsupported(f"torch.compile failed: {error}") from error
    if counters["stats"]["unique_graphs"] == graphs:
        raise Unsupported("torch.compile left this work to the interpreter")
    return program


class Proven:
    """A loop over compiled work; `Unsupported` where something is compiled in the timed part."""

    def __init__(self, loop: Prepared) -> None:
        self.loop = loop

    def seconds(self, calls: int) -> float:
        """Seconds of `calls` calls together."""
        import torch

        try:
            with torch.compiler.set_stance("fail_on_recompile"):  # costs the calls nothing
                return self.loop.seconds(calls)
        except RuntimeError as error:
            raise Unsupported(f"torch compiled again in the timed part: {error}") from error


class WithoutEntry:
    """Compiled work as a part of a larger program: the best time of entering a program is subtracted."""

    def __init__(self, whole: Prepared, entry: Prepared) -> None:
        self.whole, self.entry = whole, entry
        self._best = math.inf

    def seconds(self, calls: int) -> float:
        """Seconds of `calls` calls together."""
        self._best = min(self._best, self.entry.seconds(calls) / calls)
        return max(self.whole.seconds(calls) - calls * self._best, calls * LEAST_SECONDS)


@functools.cache
def entry_program(threads: int) -> Call:
    """A program that computes one number; torch guards the number of threads, so there is one for each."""
    from ..work import operator_job

    return compiled(operator_job(Operator.parse(ONE_NUMBER), "float32").call)


def torch_threads() -> int:
    """The threads that hold in this session."""
    import torch

    return torch.get_num_threads()
