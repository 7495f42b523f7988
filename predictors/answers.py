"""What is predicted of architectures, with what the answer is of: device, table, serving and threads; plain values."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distilsearch.architecture import Architecture
from distilsearch.lowering import parameter_count
from distilsearch.operators import TORCH, Serving
from distilsearch.profiling.device import model_name
from distilsearch.profiling.tables.table import LatencyTable
from distilsearch.request_lengths import Told, told

from .latency import LatencyPredictor


@dataclass(frozen=True)
class Answer:
    """Predicted latency of one architecture, ms with a 90 % interval; `tier` says what it rests on.

    `beyond` is how many times its farthest size lies outside the measured ones, 1 within. `p50_ms` and `p99_ms` are of
    requests of many lengths, and the others then of their mean; `left_out` says why they are not told.
    """

    architecture: Architecture
    parameters: int
    predicted_ms: float
    lower_ms: float
    upper_ms: float
    tier: str
    beyond: float = 1.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    left_out: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, genes beside the figures."""
        names = ("predicted_ms", "lower_ms", "upper_ms", "p50_ms", "p99_ms")
        figures = {name: round(value, 6) for name in names if (value := getattr(self, name)) is not None}
        about = {"key": self.architecture.key, "parameters": self.parameters, **figures, "tier": self.tier}
        about["beyond"] = round(self.beyond, 3)
        about |= {"left_out": self.left_out} if self.left_out else {}
        return {"architecture": self.architecture.to_json(), **about}


@dataclass(frozen=True)
class Answers:
    """Predictions of one table under one serving, whose threads are those that the answer is of."""

    device: str
    table: str
    serving: Serving
    answers: tuple[Answer, ...]

    @classmethod
    def of(cls, table: LatencyTable, architectures: Sequence[Architecture], serving: Serving) -> "Answers":
        """Predict; a `TableError` names what the table lacks."""
        predictor = LatencyPredictor.fit(table)
        p = predictor.predict(architectures, serving)
        threads = predictor.setting(serving).threads
        quantiles = [[None] * len(architectures) if q is None else q.tolist() for q in (p.p50_ms, p.p99_ms)]
        requests = [
            Told(None, None) if p50 is None else told("predicted", float(mean), p50, p99)
            for mean, p50, p99 in zip(p.mean_ms, *quantiles, strict=True)
        ]
        figures = zip(p.mean_ms.tolist(), p.lower_ms.tolist(), p.upper_ms.tolist(), p.tier.tolist(), strict=True)
        answers = (
            Answer(a, parameter_count(a), *own, predictor.beyond(a, serving), ms.p50, ms.p99, ms.why)
            for a, own, ms in zip(architectures, figures, requests, strict=True)
        )
        folder = table.folder
        place = f"{folder.parent.name}/{folder.name}" if folder else ""
        served = Serving.from_json(serving.to_json() | ({"threads": threads} if threads else {}))
        return cls(model_name(table.meta.device), place, served, tuple(answers))

    @property
    def words(self) -> str:
        """What the answers are of, in a line."""
        s = self.serving
        threads = f"{s.threads} thread{'s' if s.threads != 1 else ''}" if s.threads else "the device's own threads"
        issued = f"{s.mode} in {s.runtime}" if s.runtime == TORCH else s.runtime
        return f"{s.phase}, batch {s.batch}, {s.tokens}, {s.dtype}, {issued}, {threads}; {self.device} ({self.table})"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        about = {"schema": 1, "device": self.device, "table": self.table, "serving": self.serving.to_json()}
        return about | {"predictions": [answer.to_json() for answer in self.answers]}

    def to_csv(self) -> str:
        """A row an architecture: its genes, the figures, and the serving."""
        genes = list(dict.fromkeys(gene for answer in self.answers for gene in answer.architecture.values))
        served = {"device": self.device, **self.serving.to_json()}
        figures = [{k: v for k, v in a.to_json().items() if k != "architecture"} for a in self.answers]
        file = io.StringIO()
        names = list(dict.fromkeys(name for row in figures for name in row))  # some rows leave figures out
        writer = csv.DictWriter(file, [*genes, *names, *served], lineterminator="\n", restval="")
        writer.writeheader()
        for answer, row in zip(self.answers, figures, strict=True):
            writer.writerow({**answer.architecture.values, **row, **served})
        return file.getvalue()
