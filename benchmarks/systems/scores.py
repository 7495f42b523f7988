"""Scores and latencies that are comparable between systems: all students by one held-out loss, one STS-B, one session.

Whatever a preset minimised, its students are scored again by the evaluations `heldout` and `similarity`. Latencies are
of all systems' front members and the teacher, interleaved in one session and again in a second one: of two the calmer
counts, and nobody profits from a quiet minute.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from systems.cells import SERVING
from systems.teachers import Case

from distilsearch import profiling
from distilsearch.architecture import Architecture
from distilsearch.distill.evaluate import Heldout
from distilsearch.distill.evaluate.embedding import sts_spearman
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.engine.job.outcome.sessions import Session, agreed
from distilsearch.families import family

TEACHER = "teacher"


class Scores:
    """Scores of models by folder, kept in a file of lines: what is there is not taken again."""

    def __init__(self, case: Case, folders: Path, file: Path) -> None:
        self.case, self.folders, self.file = case, folders, file
        lines = file.read_text().splitlines() if file.exists() else []
        self.kept: dict[tuple[str, str], float] = {(d["model"], d["score"]): d["value"] for d in map(json.loads, lines)}

    @cached_property
    def teacher(self) -> Teacher:
        """Asked as its students are."""
        return load_teacher(self.case.place(self.folders)).shown(str(self.case.top.get("prompt", "")))

    @cached_property
    def text(self) -> Text:
        """The text that all cells train on."""
        most = self.case.top.get("text_tokens")
        return load_text(self.case.sources, self.teacher, most_tokens=None if most is None else int(most))

    def loss(self, model: str) -> float:
        """The held-out loss of a student, or of the teacher."""
        return self._of(model, "heldout loss", lambda subject: Heldout(self.teacher, self.text)(subject)["loss"])

    def similarity(self, model: str, part: str = "test") -> float | None:
        """STS-B's Spearman correlation, the mean over the teacher's languages; None where it has none."""
        prompt = str(self.case.top.get("prompt", ""))
        values = [
            self._of(
                model, f"STS-B {language} {part}", lambda subject, file=file: sts_spearman(subject, file, prompt=prompt)
            )
            for language, file in self.case.pairs(part).items()
        ]
        return sum(values) / len(values) if values else None

    def _of(self, model: str, score: str, take: Any) -> float:
        if (model, score) not in self.kept:
            value = float(take(self.teacher if model == TEACHER else model))
            with self.file.open("a") as file:
                file.write(json.dumps({"model": model, "score": score, "value": value}) + "\n")
            self.kept[model, score] = value
        return self.kept[model, score]


def latencies(
    case: Case, teacher: Teacher, students: Sequence[Mapping[str, Any]], file: Path
) -> dict[str, dict[str, float]]:
    """Milliseconds by the signature of a shape, of the teacher under its name; measured once for the same students.

    Each has `ms`, `repeat` (the factor between the two sessions that are closest) and `slowness` of the machine.
    """
    own = family(teacher.facts.family).architecture(teacher.facts)
    models = {TEACHER: own} | {shape(s["architecture"]): Architecture.from_json(s["architecture"]) for s in students}
    kept: dict[str, dict[str, float]] = json.loads(file.read_text()) if file.exists() else {}
    if set(models) <= set(kept):
        return kept

    def session() -> Session[str]:
        measured = profiling.measure(list(models.values()), "cpu", replace(SERVING, sequence=case.sequence))
        return Session([(list(models), measured)])

    counting, repeats = agreed(session)
    timed = {name: one for names, answers in counting.groups for name, one in zip(names, answers, strict=True)}
    result = {
        name: {"ms": one.seconds_p10 * 1e3, "repeat": repeats.get(name, 1.0), "slowness": one.sentinel_ratio}
        for name, one in timed.items()
        if one.usable
    }
    file.write_text(json.dumps(result, indent=1))
    return result


def shape(architecture: Mapping[str, Any]) -> str:
    """What the latency of a student depends on: not which of the teacher's layers it started from."""
    values = {gene: value for gene, value in architecture["values"].items() if gene != "inherit"}
    return json.dumps({"family": architecture["family"], **values}, sort_keys=True)
