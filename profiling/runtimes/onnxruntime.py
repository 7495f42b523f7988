"""Exported files by onnxruntime; int8 is dynamic and per channel, as the served files are.

A pool of threads goes on spinning after a request, and would take the cores from whatever is timed next: here it stops
with the request. A graphics card is used through the provider of its name, where the installed onnxruntime has it.
onnxruntime itself goes on without a provider that cannot start, and says so in its log alone: here it is an error.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distilsearch.artefacts.files import artefact_error
from distilsearch.artefacts.libraries import library, version_of
from distilsearch.artefacts.onnx import quantised
from distilsearch.artefacts.running import onnx_errors, session_options
from distilsearch.errors import DeviceError
from distilsearch.operators import Serving

from ..device import Facts
from .exported import Call, ExportedRuntime, check_exporter
from .graphs import Array
from .runtime import Host

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntime(ExportedRuntime):
    """Sessions of one request at a time."""

    devices = tuple(PROVIDERS)
    advice = (
        "serve on the cpu, or install the build of onnxruntime for this device, such as `pip install onnxruntime-gpu`"
        " in place of onnxruntime"
    )

    def providers(self, device: str) -> dict[str, dict[str, str]]:
        """Who computes on a device: names of onnxruntime's, each with its options, the first choice first."""
        return {PROVIDERS[device]: {}}

    def facts(self) -> Facts:
        """Its version, and how int8 is made."""
        check_exporter()
        return {"onnxruntime": version_of("onnxruntime"), "int8": "dynamic per channel", "spinning": "in requests"}

    def quantised(self, file: Path, inputs: Mapping[str, Array]) -> Path:
        """Weights in int8; activations are scaled as they come."""
        small = file.with_name(self.small)
        quantised(file, small)
        return small

    def loop(self, file: Path, inputs: Mapping[str, Array], host: Host, serving: Serving) -> Call:
        """Inputs and outputs bound where they are."""
        session, values = self._session(file, host, serving), library("onnxruntime").OrtValue
        binding = session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, values.ortvalue_from_numpy(array, host.name))
        for output in session.get_outputs():
            binding.bind_output(output.name, host.name)

        def call() -> None:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return call

    def request(self, file: Path, inputs: Mapping[str, Array], host: Host, serving: Serving) -> Call:
        """Arrays in, arrays out."""
        session = self._session(file, host, serving)
        return lambda: session.run(None, inputs)

    def _session(self, file: Path, host: Host, serving: Serving) -> Any:
        onnxruntime, asked = library("onnxruntime"), self.providers(host.name)
        there = onnxruntime.get_available_providers()
        if missing := [name for name in asked if name not in there]:
            raise DeviceError(
                f"the installed onnxruntime has no {' and no '.join(missing)} (it has {', '.join(there)}):"
                f" {self.advice}"
            )
        options = session_options(serving.resolved_threads)
        try:
            session = onnxruntime.InferenceSession(
                file, options, providers=list(asked), provider_options=list(asked.values())
            )
        except onnx_errors() as error:
            raise artefact_error(file, "onnxruntime cannot run this", error) from error
        if idle := [name for name in asked if name not in session.get_providers()]:
            raise DeviceError(
                f"onnxruntime could not start its {' and its '.join(idle)}, mostly because a library that it needs is"
                f" missing or of another version (its log names it): {self.advice}"
            )
        return session
