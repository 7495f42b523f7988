"""Files run by the runtimes that serve them: arrays by name in, arrays by name out, on so many threads and no more.

Both runtimes would size their pools by the machine, so the number of threads is always stated. OpenVINO would also
compute in bfloat16 wherever the processor can, whatever the file says: what is asked for as float32 is float32 here.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from distilsearch.errors import InputError, unknown

from .files import artefact_error
from .libraries import library
from .onnx import Arrays

QUIET = 3  # onnxruntime's level of errors: what it warns of is the search for devices that nobody asked for

Outputs = Mapping[str, npt.NDArray[Any]]


class Runner(Protocol):
    """A file, loaded and ready."""

    def __call__(self, inputs: Arrays) -> Outputs:
        """All outputs by name, of inputs by name."""
        ...

    def close(self) -> None:
        """Give its memory and threads back; a second call does nothing."""
        ...


def opened(file: Path, runtime: str, threads: int) -> Runner:
    """A file ready to run by `onnxruntime` or `openvino` on so many threads.

    OpenVINO reads files of both kinds.

    Raises:
        InputError: nobody knows the runtime, it is not installed, or the file is missing, damaged or of another kind.
    """
    if runtime not in RUNNERS:
        raise unknown("runtime of a file", runtime, RUNNERS)
    if threads < 1:
        raise InputError(f"expected at least one thread; got {threads}")
    if not Path(file).is_file():
        raise InputError(f"there is no file {file}")
    return RUNNERS[runtime](Path(file), threads)


class OnnxRuntime:
    """A session of onnxruntime on the CPU."""

    def __init__(self, file: Path, threads: int) -> None:
        onnxruntime = library("onnxruntime")
        options = session_options(threads)
        try:
            session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except onnx_errors() as error:
            raise artefact_error(file, "onnxruntime cannot load this file", error) from error
        self.session: Any = session
        self.outputs = [output.name for output in session.get_outputs()]

    def __call__(self, inputs: Arrays) -> Outputs:
        """All outputs by name."""
        return dict(zip(self.outputs, self.session.run(None, dict(inputs)), strict=True))

    def close(self) -> None:
        """Its pool ends with the session."""
        self.session = None


class OpenVino:
    """A model compiled by OpenVINO for the CPU, with one request."""

    def __init__(self, file: Path, threads: int) -> None:
        openvino = library("openvino")
        try:
            model = openvino.Core().compile_model(file, "CPU", compile_options(threads))
        except RuntimeError as error:
            raise artefact_error(file, "OpenVINO cannot load this file", error) from error
        self.request: Any = model.create_infer_request()
        self.outputs = [output.get_any_name() for output in model.outputs]

    def __call__(self, inputs: Arrays) -> Outputs:
        """All outputs by name."""
        return dict(zip(self.outputs, self.request.infer(dict(inputs)).to_tuple(), strict=True))

    def close(self) -> None:
        """Its threads end with the request."""
        self.request = None


def session_options(threads: int) -> Any:
    """How a session of onnxruntime runs: operators one after another, each on all threads, the graph optimised."""
    onnxruntime = library("onnxruntime")
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = QUIET
    options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads take no core from others
    return options


def compile_options(threads: int, precision: str = "f32") -> dict[str, Any]:
    """How OpenVINO compiles: one request at a time, on so many threads, bound to no cores."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        "ENABLE_HYPER_THREADING": False,
        "ENABLE_CPU_PINNING": False,
    }


def onnx_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises for a file or a model; its classes have no base of their own."""
    state = library("onnxruntime.capi.onnxruntime_pybind11_state")
    return tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))


RUNNERS: dict[str, Callable[[Path, int], Runner]] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}
