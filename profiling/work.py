"""Work as torch runs it: a function, the module that holds its weights, and example inputs on one device.

CPU, CUDA and XLA time the same jobs; only how they wait differs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from distilsearch.architecture import Architecture
from distilsearch.families import family
from distilsearch.operators import Operator, Serving

from .device import Probe, Work
from .kernels import kernel
from .model_case import tokens_read

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Job:
    """`function(*inputs)` does the work once; `module` holds its weights, if it has any."""

    function: Callable[..., Any]
    inputs: tuple[Tensor, ...]
    module: nn.Module | None = None

    @property
    def call(self) -> Callable[[], Any]:
        """The work once, without arguments."""
        function, inputs = self.function, self.inputs
        return (lambda: function(*inputs)) if inputs else function


class Served(nn.Module):
    """A whole model as it is served: from tokens to what the caller gets.

    The mask (b, s), of ones unless the batch is padded, is no input: its values steer the host, which looks whether
    anything is masked. Generation has none: a prompt is read whole, and a token is read over the `cache` of the
    prompt before it.
    """

    def __init__(self, architecture: Architecture, phase: str, mask: Tensor) -> None:
        super().__init__()
        self.architecture, self.phase = architecture, phase
        self.builder = family(architecture.family)
        self.model = self.builder.build(architecture).eval()
        self.mask = mask
        self.cache: Any = None

    def forward(self, ids: Tensor) -> Any:
        """ids (b, s) -> embeddings or logits; ids (b, 1) when decoding."""
        if self.phase == "prefill":
            return self.builder.prefill(self.model, ids)[0]
        if self.phase == "decode":
            return self.builder.decode_step(self.model, ids, self.cache)
        return self.builder.serve(self.model, self.architecture, ids, self.mask)


def job_of(work: Work, serving: Serving, device: str, probe: Callable[[Probe], Job]) -> Job:
    """Any work on a device, with random weights and inputs; the probes are the device's own."""
    if isinstance(work, Operator):
        return operator_job(work, serving.dtype, device)
    if isinstance(work, Architecture):
        return model_job(work, serving, device)
    return probe(work)


def operator_job(operator: Operator, dtype: str, device: str = "cpu") -> Job:
    """An operator with random weights and inputs."""
    number = getattr(torch, dtype)
    module = kernel(operator).to(device, number)
    drawn = module.inputs(torch.Generator().manual_seed(0))
    inputs = tuple(x.to(device, number if x.is_floating_point() else x.dtype) for x in drawn)
    return Job(module, inputs, module)


def model_job(architecture: Architecture, serving: Serving, device: str = "cpu") -> Job:
    """The whole served model with random weights, on random tokens; decoding over a cache of `sequence`."""
    shape = (serving.batch, serving.sequence)
    read = torch.tensor(tokens_read(serving), device=device)[:, None]
    mask = (torch.arange(serving.sequence, device=device)[None] < read).long()
    served = Served(architecture, serving.phase, mask).to(device, getattr(torch, serving.dtype))
    vocabulary = int(served.model.config.vocab_size)
    ids = torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(0)).to(device)
    if serving.phase == "decode":
        with torch.inference_mode():
            served.cache = served.builder.prefill(served.model, ids)[1]
        ids = ids[:, -1:]
    return Job(served, (ids,), served)


def probe_job(probe: Probe, shapes: Sequence[Shape], device: str = "cpu") -> Job:
    """A calibrating kernel; `shapes` are the (m, k, n) that a peak probe may mean."""
    dtype = getattr(torch, probe.dtype)
    if probe.name == "peak":
        m, k, n = next(shape for shape in shapes if 2 * math.prod(shape) == probe.flops)
        a, b = torch.randn(m, k).to(device, dtype), torch.randn(n, k).to(device, dtype)
        return Job(torch.nn.functional.linear, (a, b))
    if probe.name == "bandwidth":
        source = torch.randn(probe.bytes // 8).to(device)
        return Job(Tensor.copy_, (torch.empty_like(source), source))
    one = torch.ones(1, device=device)
    return Job(torch.add, (one, one))


def sum_job(elements: int, device: str) -> Job:
    """One pass over memory that returns a value of its own: x + 1."""
    return Job(_plus_one, (torch.randn(elements).to(device),))


def _plus_one(x: Tensor) -> Tensor:
    return x + 1
