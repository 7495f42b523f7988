"""Work repeated on an XLA device inside one compiled graph, timed by the slope over the number of repetitions.

Notable: the number of repetitions is an input of the graph, so that one compilation serves all of them. Weights and
inputs pass an optimisation barrier before the work, inputs and outputs one after it: each repetition waits for the
one before, nothing is hoisted out of the loop, shared between repetitions or left out, and weights are read where
they lie. Dispatch, transfer and the final wait cost the same at any number of repetitions; their best time, found
with one repetition, is subtracted.

Each timing proves itself: it is thrown away unless the counters of torch_xla show that nothing was compiled and
that no operator fell back to the host.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch_xla.core.xla_builder as xb
from torch import Tensor
from torch.func import functional_call
from torch_xla import _XLAC
from torch_xla.debug import metrics

from ..device import Unsupported
from ..work import Job

SLOPE_SECONDS = 2e-3
MOST_REPETITIONS = 1 << 20
ATTEMPTS = 3
READ = "aten::_local_scalar_dense"  # reading one value: how the end is waited for
LEADING = 2  # of the loop's state: repetitions done, repetitions asked for


class XlaLoop:
    """A job in a compiled loop: what `Prepared` asks for. Raises `Unsupported` for work that leaves the device."""

    def __init__(self, job: Job, device: torch.device) -> None:
        _check(job)
        self.program, self.state, self.outputs = _loop(job, device)
        self.device = device
        self._least = 1  # repetitions that rise above the overhead
        self._counts: dict[int, Tensor] = {}
        self._best = min(self._run(1) for _ in range(1 + ATTEMPTS))  # the first one compiles

    def seconds(self, calls: int) -> float:
        """Seconds of `calls` repetitions together; more are run where so few would drown in the overhead."""
        for _ in range(ATTEMPTS):
            before = events()
            elapsed = self._slope(calls)
            if events() == before:
                return elapsed
        raise Unsupported("XLA compiled, or an operator fell back to the host, in the timed part")

    def results(self) -> list[Tensor]:
        """What one repetition computes, on the host."""
        return [result.cpu() for result in self._execute(1)[1:]]

    def _slope(self, calls: int) -> float:
        while True:
            self._best = min(self._best, self._run(1))
            count = min(max(calls, self._least), MOST_REPETITIONS)
            whole = max(self._run(1 + count) - self._best, 1e-9)
            enough = max(SLOPE_SECONDS, self._best)  # to stand out from the overhead's own noise
            if whole >= enough or count == MOST_REPETITIONS:
                return whole * calls / count
            self._least = count * (1 + round(1.5 * enough / max(whole, enough / 16)))

    def _run(self, repetitions: int) -> float:
        """Seconds from dispatch until the last output is there; `sync` alone returns before the work is done."""
        start = time.perf_counter()
        done = self._execute(repetitions)[0].item()
        elapsed = time.perf_counter() - start
        if done != repetitions:
            raise Unsupported(f"the loop ran {done} of {repetitions} times")
        return elapsed

    def _execute(self, repetitions: int) -> list[Tensor]:
        """The number of repetitions done, and the outputs of the last one."""
        if repetitions not in self._counts:
            count = torch.tensor(repetitions, dtype=torch.int32).to(self.device)
            _XLAC._xla_sync_multi([count], [], True, True)  # else torch_xla writes 0 and 1 into the program
            self._counts[repetitions] = count
        state = [self.state[0], self._counts[repetitions], *self.state[LEADING:]]
        results: list[Tensor] = _XLAC._xla_user_computation("xla::loop", state, self.program)
        wanted = [results[0], *results[-self.outputs :]]
        _XLAC._xla_sync_multi(wanted, [], True, True)
        return wanted


def events() -> tuple[int, dict[str, int]]:
    """Compilations so far, and how often each operator fell back to the host."""
    compiled = metrics.metric_data("CompileTime")
    return (int(compiled[0]) if compiled else 0), fallbacks()


def compile_seconds() -> float:
    """Seconds that XLA has compiled for in this process."""
    compiled = metrics.metric_data("CompileTime")
    return float(compiled[1]) / 1e9 if compiled else 0.0


def fallbacks() -> dict[str, int]:
    """Operators that ran on the host instead of the device, with how often they did."""
    names = (name for name in metrics.counter_names() if name.startswith("aten::") and name != READ)
    return {name: int(metrics.counter_value(name)) for name in names}


def _check(job: Job) -> None:
    """Trace the job on its real inputs first: a fallback would read the placeholders of the loop, which are empty."""
    before = fallbacks()
    job.call()
    fallen = sorted(name for name, count in fallbacks().items() if count != before.get(name, 0))
    if fallen:
        raise Unsupported(f"not on the device: {', '.join(fallen)}")


def _loop(job: Job, device: torch.device) -> tuple[Any, list[Tensor], int]:
    """The compiled loop over a job, its first state, and how many of the last tensors of the state are outputs.

    The state: repetitions done and asked for, captured constants, weights, inputs, outputs.
    """
    weights = {} if job.module is None else {**dict(job.module.named_parameters()), **dict(job.module.named_buffers())}
    carried = [*weights.values(), *job.inputs]
    places = [xb.create_placeholder_tensor(t.shape, t.dtype) for t in carried]
    fed = [place * 1 for place in places]
    _XLAC._xla_optimization_barrier_(fed)
    outputs = _flat(_applied(job, list(weights), fed))
    tied = [*(x * 1 for x in fed[len(weights) :]), *outputs]
    _XLAC._xla_optimization_barrier_(tied)
    body, order, captured = _lowered(tied, places)
    counter = torch.zeros((), dtype=torch.int32, device=device)
    fresh = [torch.zeros(t.shape, dtype=t.dtype, device=device) for t in outputs]
    state = [counter, counter.clone(), *captured, *carried, *fresh]
    _XLAC._xla_sync_multi(state, [], True, True)
    return _while(state, body, order, len(tied)), state, len(outputs)


def _applied(job: Job, names: Sequence[str], tensors: Sequence[Tensor]) -> Any:
    inputs = tuple(tensors[len(names) :])
    if job.module is None:
        return job.function(*inputs)
    return functional_call(job.module, dict(zip(names, tensors, strict=False)), inputs)


def _flat(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [t for part in value for t in _flat(part)]


def _lowered(results: Sequence[Tensor], places: Sequence[Tensor]) -> tuple[Any, list[int], list[Tensor]]:
    """One repetition as a computation; where in the loop's state its parameters stand; the constants it captured."""
    context = _XLAC.lowering.LoweringContext("Repetition")
    context.set_name_string("repetition")
    context.build(list(results))
    numbers = [context.tensor_parameter_id(place) for place in places]
    captured: dict[int, Tensor] = context.device_parameter_id_tensor_mapping()
    for number in numbers:
        captured.pop(number, None)
    where = {number: LEADING + i for i, number in enumerate(captured)}
    where |= {number: LEADING + len(captured) + i for i, number in enumerate(numbers) if number >= 0}
    body = xb.computation_from_module_proto("repetition", context.hlo())
    return body, [where[number] for number in range(len(where))], list(captured.values())


def _while(state: Sequence[Tensor], body: Any, order: Iterable[int], results: int) -> Any:
    builder = xb.create_builder("loop")
    parameters = [xb.mkparam(builder, i, xb.tensor_shape(tensor)) for i, tensor in enumerate(state)]

    def repeat(*values: Any) -> tuple[Any, ...]:
        made = xb.Op.call(body, [values[place] for place in order])
        one = xb.Op.scalar(values[0].builder(), 1, dtype=xb.Type.S32)
        inputs = values[1 : len(values) - results]
        return (values[0] + one, *inputs, *(made.get_tuple_element(i) for i in range(results)))

    return xb.Op.mkwhile(parameters, lambda done, asked, *rest: done < asked, repeat).build("loop")
