"""Work as files: operators and whole models in ONNX, written at once where that is known, else by torch's exporter."""

import contextlib
import functools
import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilsearch.architecture import Architecture
from distilsearch.artefacts.files import moved_into_place
from distilsearch.artefacts.libraries import library
from distilsearch.artefacts.onnx import INSIDE_BYTES
from distilsearch.operators import Operator

from .encoders import encoder_model
from .graphs import Graph, graph_of

if TYPE_CHECKING:
    from torch import Tensor, nn

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "sentence_embedding"
LARGE_BYTES = 256 << 20  # of weights: larger models are made again for each precision


def operator_graph(operator: Operator) -> Graph:
    """An operator as ONNX, written at once where that is known, else exported."""
    return graph_of(operator) or exported_graph(operator)


def exported_graph(operator: Operator) -> Graph:
    """An operator as torch's exporter writes it."""
    import torch

    from distilsearch.artefacts.onnx import to_onnx

    from ..work import operator_job

    with torch.inference_mode(False), tempfile.TemporaryDirectory() as folder:
        job, file = operator_job(operator, "float32"), Path(folder) / "work.onnx"
        assert job.module is not None  # operators have one
        inputs = {f"in{place}": tensor for place, tensor in enumerate(job.inputs)}
        outputs = [f"out{place}" for place in range(2 if operator.kind == "rotary" else 1)]
        to_onnx(_named(job.module), inputs, file, outputs=outputs)
        return Graph(library("onnx").load(file), {name: tensor.numpy() for name, tensor in inputs.items()})


def _named(module: "nn.Module") -> "nn.Module":
    """A module whose inputs have names, as the exporter wants them: `in0`, `in1` ..."""
    from torch import nn

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(
            self,
            in0: "Tensor",
            in1: "Tensor | None" = None,
            in2: "Tensor | None" = None,
            in3: "Tensor | None" = None,
            in4: "Tensor | None" = None,
        ) -> Any:
            return self.module(*(x for x in (in0, in1, in2, in3, in4) if x is not None))

    return Named().eval()


@contextlib.contextmanager
def exported(architecture: Architecture) -> Iterator[Path]:
    """A whole model with random weights as an ONNX file, for any batch and length; made once a process if not large."""
    if _small(architecture, LARGE_BYTES):
        yield _made(architecture, Path(_folder().name))
        return
    with tempfile.TemporaryDirectory() as folder:
        yield _made(architecture, Path(folder))


def _small(architecture: Architecture, limit: int) -> bool:
    """Whether the weights hold no more than so many bytes."""
    from distilsearch.lowering import parameter_count

    return 4 * parameter_count(architecture) <= limit


@functools.cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    """Where the exported models of this process are; removed with it."""
    return tempfile.TemporaryDirectory(prefix="distilsearch-exported-")


def _made(architecture: Architecture, folder: Path) -> Path:
    """The model as a file of a folder, written at once where that is known, else exported."""
    name = hashlib.sha256(json.dumps(architecture.to_json(), sort_keys=True).encode()).hexdigest()[:16]
    file = folder / name / "model.onnx"
    if file.exists():
        return file
    if _small(architecture, INSIDE_BYTES) and (model := encoder_model(architecture)) is not None:
        with moved_into_place(file) as made:
            made.write_bytes(model.SerializeToString())
        return file
    return export_model(architecture, file)


def export_model(architecture: Architecture, file: Path) -> Path:
    """The model as torch's exporter writes it, with the random weights that its family gives it."""
    import torch
    from torch import nn

    from distilsearch.artefacts.onnx import to_onnx
    from distilsearch.families import family

    builder = family(architecture.family)

    class Asked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = builder.build(architecture)

        def forward(self, input_ids: "Tensor", attention_mask: "Tensor") -> Any:
            return builder.serve(self.model, architecture, input_ids, attention_mask)

    axes = {0: "batch", 1: "sequence"}
    with torch.inference_mode(False):  # what is made within it cannot be traced
        example = {name: torch.ones(2, 8, dtype=torch.long) for name in INPUTS}
        to_onnx(Asked().eval(), example, file, outputs=[OUTPUT], dynamic=dict.fromkeys(INPUTS, axes))
    return file
