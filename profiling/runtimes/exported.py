"""What runtimes of exported files have in common: files made once, entered once, and a sentinel of their own.

A request enters a runtime once, whatever is in it; a table of operators would count as many entries as there are
operators, so of an operator that cost is subtracted, measured beside it. A whole model is timed as a client asks for
it: arrays in, arrays out, of a file with any batch and any length.

Torch takes no part in the timing: its idle threads go on spinning for a while, and would take the cores from the
runtime's own. So the sentinel too is the runtime's.
"""

import contextlib
import math
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from distilsearch.architecture import Architecture
from distilsearch.artefacts.libraries import version_of
from distilsearch.errors import DeviceError, InputError
from distilsearch.operators import Operator, Serving

from ..device import Facts, Prepared, Probe, Unsupported, Work
from ..model_case import tokens_read
from .files import INPUTS, exported, operator_graph
from .graphs import Array, Graph, chain_graph, copy_graph, number_graph
from .runtime import Host

Call = Callable[[], Any]

PHASES = ("encode",)
CHAIN = 32  # products, of which one is the smallest kernel
SENTINEL_ROWS, SENTINEL_WIDTH, SENTINEL_LAYERS = 32, 512, 8  # as the devices' own: weights that no second cache holds
LEAST_SECONDS = 1e-7
FIRST_ENTRIES, ENTRY_CALLS = 20, 4


class ExportedRuntime(ABC):
    """Base of the runtimes that run files; each says how it opens one, how it makes int8 of it, and what it is."""

    devices: tuple[str, ...] = ("cpu",)
    dtypes: tuple[str, ...] = ("float32", "int8")
    phases: tuple[str, ...] = PHASES
    prepare_seconds = 0.1
    small = "int8.onnx"  # the name of a file in int8, beside its float32

    @abstractmethod
    def facts(self) -> Facts:
        """Versions, and what is set that others leave to the machine."""

    @abstractmethod
    def quantised(self, file: Path, inputs: Mapping[str, Array]) -> Path:
        """The file in int8, beside it, as it is served: `small`."""

    @abstractmethod
    def loop(self, file: Path, inputs: Mapping[str, Array], host: Host, serving: Serving) -> Call:
        """Work without its surroundings: inputs and outputs stay where they are."""

    @abstractmethod
    def request(self, file: Path, inputs: Mapping[str, Array], host: Host, serving: Serving) -> Call:
        """A request as a client makes it."""

    def threads(self, count: int) -> contextlib.AbstractContextManager[None]:
        """Each file is opened with the threads of its serving, and has them for itself."""
        return contextlib.nullcontext()

    def prepare(self, work: Work, device: Host, serving: Serving) -> Prepared:
        """The work as a file, opened."""
        if serving.phase not in self.phases:
            raise Unsupported(f"files are exported to {' or '.join(self.phases)}; got the phase {serving.phase}")
        with refused():
            if isinstance(work, Probe):
                return self._probe(work, device, serving)
            if isinstance(work, Operator):
                return self._without_entry(self._loop(operator_graph(work), device, serving), device, serving)
            return self._whole(work, device, serving)

    def sentinel(self, device: Host, serving: Serving) -> Prepared:
        """A few rows through weights that no second-level cache holds."""
        chain = chain_graph(SENTINEL_ROWS, SENTINEL_WIDTH, SENTINEL_LAYERS)
        return self._loop(chain, device, replace(serving, dtype="float32"))

    def _probe(self, probe: Probe, device: Host, serving: Serving) -> Prepared:
        plain = replace(serving, dtype="float32")
        if probe.name == "launch":
            return Share(self._without_entry(self._loop(chain_graph(1, 8, CHAIN), device, plain), device, plain), CHAIN)
        if probe.name == "bandwidth":
            return self._without_entry(self._loop(copy_graph(probe.bytes // 8), device, plain), device, plain)
        (_, inputs), (outputs, _) = (x.shape for x in device.job(replace(probe, dtype="float32"), plain).inputs)
        sizes: dict[str, int | str] = {"inputs": int(inputs), "outputs": int(outputs), "bias": 0, "activation": "none"}
        rows = probe.flops // (2 * inputs * outputs)
        product = Operator("linear", {"batch": 1, "sequence": int(rows), **sizes})
        return self._without_entry(self._loop(operator_graph(product), device, serving), device, serving)

    def _loop(self, work: Graph, device: Host, serving: Serving) -> Prepared:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "work.onnx"
            file.write_bytes(work.model.SerializeToString())
            if serving.dtype == "int8":
                file = self.quantised(file, work.inputs)
            return timed(device, self.loop(file, work.inputs, device, serving))

    def _whole(self, architecture: Architecture, device: Host, serving: Serving) -> Prepared:
        inputs = tokens(architecture, serving)
        with exported(architecture) as file:
            asked = self._int8(file, inputs) if serving.dtype == "int8" else file
            return timed(device, self.request(asked, inputs, device, serving))

    def _int8(self, file: Path, inputs: Mapping[str, Array]) -> Path:
        """A model's file in int8, made once: the same model is timed more than once."""
        small = file.with_name(self.small)
        return small if small.exists() else self.quantised(file, inputs)

    def _without_entry(self, whole: Prepared, device: Host, serving: Serving) -> Prepared:
        return Inside(whole, self._entry(device, serving))

    def _entry(self, device: Host, serving: Serving) -> "Entry":
        """What a request costs whatever is in it; one of each number of threads, so that all cases make it surer."""
        key = (type(self), device.name, getattr(device, "cache", ""), serving.resolved_threads)
        if key not in ENTRIES:
            ENTRIES[key] = Entry(self._loop(number_graph(), device, replace(serving, dtype="float32")))
        return ENTRIES[key]


class Entry:
    """The best time of a request of one number."""

    def __init__(self, request: Prepared) -> None:
        self.request, self.best = request, math.inf
        for _ in range(FIRST_ENTRIES):
            self.seconds()

    def seconds(self) -> float:
        """Seconds, asked once more."""
        self.best = min(self.best, self.request.seconds(ENTRY_CALLS) / ENTRY_CALLS)
        return self.best


class Inside:
    """Work as a part of a larger request: entering it is subtracted."""

    def __init__(self, whole: Prepared, entry: Entry) -> None:
        self.whole, self.entry = whole, entry

    def seconds(self, calls: int) -> float:
        """Seconds of `calls` calls together."""
        entered = calls * self.entry.seconds()
        return max(self.whole.seconds(calls) - entered, calls * LEAST_SECONDS)


ENTRIES: dict[tuple[Any, ...], Entry] = {}
"""Of this process."""


class Share:
    """One of some equal parts of prepared work."""

    def __init__(self, whole: Prepared, parts: int) -> None:
        self.whole, self.parts = whole, parts

    def seconds(self, calls: int) -> float:
        """Seconds of `calls` calls together."""
        return self.whole.seconds(calls) / self.parts


def timed(device: Host, call: Call) -> Prepared:
    """A call in the device's own loop."""
    from ..work import Job

    return device.timed(Job(call, ()))


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """Within it, what cannot be exported or opened is `Unsupported`: a finding about the work, not a user's mistake."""
    try:
        yield
    except DeviceError:
        raise
    except InputError as error:
        raise Unsupported(str(error)) from error


def check_exporter() -> None:
    """`InputError` where what writes files is not installed; says how to."""
    for package in ("onnx", "onnxscript"):
        version_of(package)


def tokens(architecture: Architecture, serving: Serving) -> dict[str, Array]:
    """Random tokens (batch, sequence), and a mask of ones where they are not padding."""
    shape = (serving.batch, serving.sequence)
    ids = np.random.default_rng(0).integers(int(architecture["vocabulary"]), size=shape)
    mask = np.arange(serving.sequence)[None] < np.array(tokens_read(serving))[:, None]
    return dict(zip(INPUTS, (ids, mask.astype(np.int64)), strict=True))
