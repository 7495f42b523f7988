"""The graphs of one checkpoint, each made once and checked: float32 first, int8 out of it.

int8 for onnxruntime is made dynamic, and where there is text to calibrate on also static. What it costs and how fast it
is decides: of those as fast as the faster one, the one that loses less is kept. Both are told.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from distilsearch.artefacts import onnx, openvino
from distilsearch.artefacts.libraries import version_of
from distilsearch.artefacts.running import opened

from ..teachers.teacher import Teacher
from ..texts.data import Text
from .artefact import DYNAMIC, STATIC, Artefact, layout, sha256_of
from .asked import INT8, MOST_LOST, PACKAGES, Way
from .beside import length_of
from .checks import better, check_differences, check_lost, differences, fastest, lost
from .samples import Inputs, calibrates, calibration, check_batches, of_blocks
from .served_loss import pooled_prompt
from .whole import Whole

AXES = {0: "texts", 1: "tokens"}  # of every input: both may have any size
SCRATCH = ".scratch"


@dataclass(frozen=True, eq=False)
class Making:
    """Artefacts of one checkpoint in a folder that nobody else knows yet; `clean` removes what is on the way to them.

    Args:
        text: in the checkpoint's tokens.
        calibrated: whether scales of int8 may be measured on it.
        most_lost: what int8 may add to the loss.
    """

    checkpoint: Teacher
    folder: Path
    text: Text
    calibrated: bool
    most_lost: float = MOST_LOST
    _checked: dict[str, Mapping[str, float]] = field(default_factory=dict)  # differences of float32, by runtime

    def artefact(self, way: Way) -> Artefact:
        """The artefact of a runtime and precision.

        Raises:
            InputError: the runtime cannot express the model.
            TrialError: it is too far from the model.
        """
        runtime, dtype = way
        base = self.float32(runtime)
        made = base if dtype == "float32" else self.int8(runtime, base)
        for name in made.files:
            (self.folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(made.folder / name, self.folder / name)
        return replace(made, folder=self.folder)

    def clean(self) -> None:
        """Remove everything that is no artefact."""
        shutil.rmtree(self.folder / SCRATCH, ignore_errors=True)

    def float32(self, runtime: str) -> Artefact:
        """In float32, checked against torch."""
        place = self.folder / SCRATCH / "float32"
        file = place / layout(runtime, "float32")
        if runtime not in self._checked:
            graph = self._graph
            if runtime == "openvino":
                openvino.to_openvino(graph, file)
            runner = opened(file, runtime, self.threads)
            try:
                apart = differences(self.module, runner, check_batches(self.checkpoint, self.text, self.module.inputs))
            finally:
                runner.close()
            self._checked[runtime] = check_differences(f"{runtime} in float32", apart)
        return self._described(place, (runtime, "float32"), {"differences": dict(self._checked[runtime])})

    def int8(self, runtime: str, base: Artefact) -> Artefact:
        """In int8, the better one of those that can be made; it costs no more than it may."""
        static = (self.calibrated and calibrates(self.text)) or runtime == "openvino"
        methods = [*((DYNAMIC,) if runtime == "onnxruntime" else ()), *((STATIC,) if static else ())]
        made = {method: self._quantised(runtime, base, method) for method in methods}
        losses = {name: lost(one, self.checkpoint, self.text, self.threads) for name, one in made.items()}
        sound = {name: one for name, one in made.items() if losses[name] <= self.most_lost}
        if not sound:
            least = min(losses, key=lambda name: losses[name])
            check_lost(f"{runtime} in int8 ({least})", self.checkpoint.kind, losses[least], self.most_lost)
        seconds = self._timed(runtime, made)
        method = better({name: seconds[name] for name in sound}, losses)
        tried = {name: {"lost": losses[name], "seconds": seconds[name]} for name in made}
        checks: dict[str, Any] = {"lost": losses[method], "tried": tried}
        if self.calibrated and not static:
            checks["tokens"] = int(self.text.train.size)  # too few to try static
        return replace(made[method], quantised=method, checks=checks)

    @cached_property
    def module(self) -> Whole:
        """What is exported."""
        return Whole(self.checkpoint).eval()

    @property
    def threads(self) -> int:
        """Of every runtime that checks or times something here."""
        return torch.get_num_threads()

    @cached_property
    def _graph(self) -> Path:
        """The model as ONNX in float32: every other file is made of it."""
        file = self.folder / SCRATCH / "float32" / layout("onnxruntime", "float32")
        axes = dict.fromkeys(self.module.inputs, AXES)
        onnx.to_onnx(self.module, self.module.example(), file, outputs=self.module.outputs, dynamic=axes)
        return file

    @cached_property
    def _samples(self) -> list[Inputs]:
        return calibration(self.checkpoint, self.text, self.module.inputs)

    def _quantised(self, runtime: str, base: Artefact, method: str) -> Artefact:
        place = self.folder / SCRATCH / method
        file = place / layout(runtime, "int8")
        file.parent.mkdir(parents=True, exist_ok=True)
        if runtime == "openvino":
            openvino.quantised(base.file, file, samples=self._samples)
        else:
            onnx.quantised(base.file, file, samples=self._samples if method == STATIC else None)
        return self._described(place, (runtime, "int8"), {})

    def _timed(self, runtime: str, made: Mapping[str, Artefact]) -> dict[str, float]:
        """The least seconds of one block's forward pass by each."""
        runners = {name: opened(one.file, runtime, self.threads) for name, one in made.items()}
        try:
            return fastest(runners, of_blocks(self.text.heldout[:1], self.module.inputs))
        finally:
            for runner in runners.values():
                runner.close()

    def _described(self, place: Path, way: Way, checks: Mapping[str, Any]) -> Artefact:
        """An artefact by its files in a folder."""
        runtime, dtype = way
        file = place / layout(runtime, dtype)
        parts = (openvino if runtime == "openvino" else onnx).parts_of(file)
        packages = ("torch", "transformers", *PACKAGES[runtime], *(INT8[runtime] if dtype == "int8" else ()))
        return Artefact(
            folder=place,
            runtime=runtime,
            dtype=dtype,
            files={part.relative_to(place).as_posix(): sha256_of(part) for part in parts},
            source=self.checkpoint.weights_sha256,
            kind=self.checkpoint.kind,
            inputs=self.module.inputs,
            outputs=self.module.outputs,
            length=length_of(self.checkpoint),
            prompt=pooled_prompt(self.checkpoint),
            checks=checks,
            versions={name: version_of(name) for name in packages},
        )
