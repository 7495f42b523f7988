"""What a model is before anything is distilled from it: its latency here, its size, its scores."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distilsearch import profiling
from distilsearch.distill.evaluate.scores import score
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.errors import TrialError
from distilsearch.families import family
from distilsearch.operators import TORCH, Serving
from distilsearch.profiling.clock import Measured
from distilsearch.progress import Progress, silent
from distilsearch.request_lengths import RequestLengths, Told, is_written, told

from ...report.doubts import CALM
from ..serving.lengths import counted_in


@dataclass(frozen=True)
class ModelFigures:
    """A model as it is served here.

    Attributes:
        genes: its shape, in words of its family.
        measured: its latency, alone on the machine.
        scores: by the name of what it was scored on.
    """

    name: str
    genes: dict[str, Any]
    parameters: int
    device: str
    serving: Serving
    measured: Measured
    scores: dict[str, dict[str, float]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """In words."""
        one, serving = self.measured, self.serving
        served = f"batch {serving.batch}, {serving.tokens}, {serving.dtype}, threads: {serving.threads or 'all'}"
        served += "" if serving.runtime == TORCH else f", {serving.runtime}"
        words = [
            f"{self.name}: " + ", ".join(f"{gene}={value}" for gene, value in self.genes.items()),
            f"{self.parameters:,} parameters",
            f"{one.seconds_p10 * 1e3:.3g} ms on the {self.device} ({served}); median {one.seconds_p50 * 1e3:.3g} ms",
        ]
        if one.of_requests:
            ms = self.of_requests
            said = f"p50 and p99 left out: {ms.why}" if ms.why else f"p50 {ms.p50:.3g} ms, p99 {ms.p99:.3g} ms"
            words.append(f"that is the mean over requests; {said}")
        if one.sentinel_ratio > CALM:
            words.append(
                f"other work disturbed the machine: the sentinel ran {one.sentinel_ratio:.1f} times slower than when"
                " quiet; measure again when it is"
            )
        for what, values in self.scores.items():
            words.append(f"{what}: " + ", ".join(f"{name} {value:.4f}" for name, value in values.items()))
        return words

    @property
    def of_requests(self) -> Told:
        """What is told of requests of a median and of a long length, ms, where they are of many lengths."""
        p50, p99 = (seconds * 1e3 for seconds in self.measured.of_requests)
        return told("measured", self.measured.seconds_p10 * 1e3, p50, p99)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, by field; figures of requests that cannot be true are left out, and it is said why."""
        measured = self.measured.to_json()
        if self.measured.of_requests:
            ms = self.of_requests
            names = ("request_p50_seconds", "request_p99_seconds")
            measured |= {name: None if one is None else one / 1e3 for name, one in zip(names, ms[:2], strict=True)}
            measured |= {"left_out": ms.why} if ms.why else {}
        return vars(self) | {"serving": self.serving.to_json(), "measured": measured}


def measure_model(
    name: str,
    device: str,
    serving: Serving,
    files: Sequence[Path] = (),
    progress: Progress = silent,
    lengths: str | None = None,
) -> ModelFigures:
    """Measure a model that may be a teacher, and score it on files of sentence pairs.

    Args:
        lengths: a file of requests, one a line, whose lengths it is measured at instead of one; or a line of lengths.

    Raises:
        TeacherError: there is no such model.
        TrialError: it does not run as it is to be served.
    """
    teacher = load_teacher(name)
    kind = family(teacher.facts.family)
    architecture = kind.architecture(teacher.facts)
    kind.sites(serving)
    if lengths is not None:
        counted = None if is_written(lengths) else counted_in(lengths, teacher, serving.batch, progress)
        serving = replace(serving, lengths=counted or RequestLengths.parse(lengths))
    (measured,) = profiling.measure([architecture], device, serving, progress=progress)
    if not measured.usable:
        raise TrialError(f"{name} does not run here with {serving}: {measured.status}")
    scores = score(name, "similarity", files, progress=progress) if files else {}
    opened = profiling.open_device(device)
    return ModelFigures(name, dict(architecture.values), teacher.parameters, opened.name, serving, measured, scores)
