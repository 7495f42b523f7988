"""What a runtime made of a file, by its own profile: which kernels ran, and how long each kind took.

A check of what was fused: an encoder whose norms, activations and quantised products are separate kernels is slower
than it need be, and its operators' times say something else than the file.
"""

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilsearch.artefacts.libraries import library
from distilsearch.artefacts.onnx import Arrays
from distilsearch.artefacts.running import compile_options, opened, session_options
from distilsearch.errors import unknown

NO_WORK = ("Parameter", "Result", "Constant", "Const", "Input", "Output")  # of OpenVINO's nodes
TRACED = 3  # requests; the last one counts, when everything is in place


@dataclass(frozen=True)
class Kernels:
    """By the runtime's own names of kinds: how many kernels one request ran, and their seconds together."""

    counts: Mapping[str, int]
    seconds: Mapping[str, float]

    @property
    def total_seconds(self) -> float:
        """Seconds of all kernels of one request."""
        return sum(self.seconds.values())


def kernels(file: Path, runtime: str, inputs: Arrays, threads: int = 1) -> Kernels:
    """The kernels that one request for a file runs, by the runtime's own profile.

    Raises:
        InputError: nobody knows the runtime, it is not installed, or it cannot load the file.
    """
    if runtime not in TRACERS:
        raise unknown("runtime of a file", runtime, TRACERS)
    opened(file, runtime, threads).close()  # a damaged file is refused in our words
    return _summed(TRACERS[runtime](file, inputs, threads))


def _summed(traced: list[tuple[str, float]]) -> Kernels:
    seconds: defaultdict[str, float] = defaultdict(float)
    for kind, took in traced:
        seconds[kind] += took
    return Kernels(dict(Counter(kind for kind, _ in traced)), dict(seconds))


def _onnxruntime(file: Path, inputs: Arrays, threads: int) -> list[tuple[str, float]]:
    """Kind and seconds of each kernel, of onnxruntime's trace."""
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(threads)
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "trace")
        session = library("onnxruntime").InferenceSession(file, options, providers=["CPUExecutionProvider"])
        for _ in range(TRACED):
            session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text())
    runs = [e for e in events if e.get("cat") == "Session" and e.get("name") == "model_run"]
    start = max(run["ts"] for run in runs)
    ran = [e for e in events if e.get("cat") == "Node" and e["ts"] >= start and e["name"].endswith("_kernel_time")]
    return [(_kind(event), 1e-6 * event["dur"]) for event in ran]


def _kind(event: Mapping[str, Any]) -> str:
    return str(event["args"]["op_name"])


def _openvino(file: Path, inputs: Arrays, threads: int) -> list[tuple[str, float]]:
    """Kind and seconds of each kernel, of OpenVINO's counters; what was fused into others did not run."""
    openvino = library("openvino")
    options = compile_options(threads) | {"PERF_COUNT": True}
    request = openvino.Core().compile_model(file, "CPU", options).create_infer_request()
    for _ in range(TRACED):
        request.infer(dict(inputs))
    ran = [info for info in request.profiling_info if str(info.status).endswith("EXECUTED")]
    timed = [(str(info.node_type), info.real_time.total_seconds()) for info in ran]
    return [(kind, took) for kind, took in timed if kind not in NO_WORK]


TRACERS = {"onnxruntime": _onnxruntime, "openvino": _openvino}
