"""Exported files by OpenVINO; int8 is static, with scales that NNCF learns, as the served files are.

Inputs are random here, and what is learnt from them does not change how long anything takes: scales are learnt from one
sample, and biases are left as they are.

It would take the cores it likes, bind threads to them, and compute in bfloat16 wherever the processor can: threads are
stated, bound to nothing, and float32 is float32.
"""

from collections.abc import Mapping
from pathlib import Path

from distilsearch.artefacts.files import artefact_error
from distilsearch.artefacts.libraries import library, version_of
from distilsearch.artefacts.openvino import quantised
from distilsearch.artefacts.running import compile_options, opened
from distilsearch.operators import Serving

from ..device import Facts
from .exported import Call, ExportedRuntime, check_exporter
from .graphs import Array
from .runtime import Host


class OpenVino(ExportedRuntime):
    """Compiled models of one request at a time."""

    small = "int8.xml"

    def facts(self) -> Facts:
        """Its version and NNCF's, and what is set that it would decide by itself."""
        check_exporter()
        return {
            "openvino": version_of("openvino"),
            "nncf": version_of("nncf"),
            "int8": "static per channel",
            "precision": "as written",
            "pinning": "none",
        }

    def quantised(self, file: Path, inputs: Mapping[str, Array]) -> Path:
        """Products in int8, their inputs on fixed scales."""
        small = file.with_name(self.small)
        quantised(file, small, samples=[inputs], corrected=False)
        return small

    def loop(self, file: Path, inputs: Mapping[str, Array], host: Host, serving: Serving) -> Call:
        """Inputs set once; outputs stay with the request."""
        openvino = library("openvino")
        try:
            model = openvino.Core().compile_model(file, "CPU", compile_options(serving.resolved_threads))
        except RuntimeError as error:
            raise artefact_error(file, "OpenVINO cannot run this", error) from error
        request = model.create_infer_request()
        for name, array in inputs.items():
            request.set_tensor(name, openvino.Tensor(array))

        def call() -> None:
            request.start_async()
            request.wait()

        return call

    def request(self, file: Path, inputs: Mapping[str, Array], host: Host, serving: Serving) -> Call:
        """Arrays in, arrays out."""
        runner = opened(file, "openvino", serving.resolved_threads)
        return lambda: runner(inputs)
