"""What a result says, read once for the page and the terminal: numbers that may be missing, and the words for them.

Notable: every number passes `number`, so a missing, null or non-finite value is `None` from here on and shows as a
dash. A speedup compares like with like: measured against measured, else predicted against predicted.

Notation
    result     the plain JSON of `result.json`
    entry      a front member, a trial or the teacher: anything with `latency_ms: {predicted, lower, upper, measured}`
    objective  the name of a latency in the result: "latency_ms", "latency_ms_2", ...
    quality    1 - loss where the result's quality is "agreement" (more is better), else the loss (less is better)
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

LEADING_GENES = ("layers", "width", "heads", "ffn", "inherit")
GENE_WORDS = {"ffn": "FFN", "kv_heads": "KV heads"}
DASH = "–"

Entry = Mapping[str, Any]


def gene_word(gene: str) -> str:
    """A gene as people write it."""
    return GENE_WORDS.get(gene, gene.replace("_", " "))


def number(value: Any) -> float | None:
    """`value` as a finite float, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


@dataclass(frozen=True)
class Latency:
    """The four readings of one latency, in milliseconds; only positive ones are kept."""

    predicted: float | None = None
    lower: float | None = None
    upper: float | None = None
    measured: float | None = None

    @classmethod
    def of(cls, entry: Entry, objective: str) -> "Latency":
        """Read `entry[objective]`; all None where it is missing."""
        readings = {name: number((entry.get(objective) or {}).get(name)) for name in cls.__match_args__}
        return cls(**{name: value for name, value in readings.items() if value is not None and value > 0})

    @property
    def ms(self) -> float | None:
        """Measured, else predicted."""
        return self.predicted if self.measured is None else self.measured


@dataclass(frozen=True)
class Speedup:
    """How many times faster than the teacher, and what both sides of the ratio are."""

    ratio: float
    kind: str  # "measured", "predicted" or "partly predicted"


@dataclass(frozen=True)
class Reading:
    """A result with the questions a report asks of it."""

    result: Mapping[str, Any]

    @property
    def agreement(self) -> bool:
        """Whether the quality is an agreement (1 - loss)."""
        return self.result.get("quality") == "agreement"

    @property
    def quality_name(self) -> str:
        """The name of what `quality` returns."""
        return str(self.result.get("quality") or "loss").replace("mlm ", "MLM ", 1)

    @property
    def latencies(self) -> tuple[str, ...]:
        """The latency objectives, the first one leading; never empty."""
        names = (str(name) for name in self.result.get("objectives") or ())
        return tuple(name for name in names if name.startswith("latency")) or ("latency_ms",)

    @property
    def teacher(self) -> Entry:
        """The teacher's entry, or an empty one."""
        return self.result.get("teacher") or {}

    @property
    def trials(self) -> list[Entry]:
        """All trials by number."""
        return sorted(self.result.get("trials") or (), key=lambda trial: trial.get("number") or 0)

    @property
    def front(self) -> list[Entry]:
        """The front, fastest first; members without a latency last."""
        members = self.result.get("front") or ()
        return sorted(members, key=lambda member: (self.latency(member).ms or math.inf, str(member.get("key"))))

    @property
    def knee(self) -> Entry | None:
        """The front member that the result names as its knee."""
        return next((member for member in self.front if self.is_knee(member)), None)

    def is_knee(self, entry: Entry) -> bool:
        """Whether this entry is the knee."""
        return self.result.get("knee") is not None and entry.get("key") == self.result["knee"]

    def latency(self, entry: Entry, objective: str | None = None) -> Latency:
        """The entry's latency for `objective` (the leading one by default)."""
        return Latency.of(entry, objective or self.latencies[0])

    def quality(self, loss: Any) -> float | None:
        """Agreement or loss, as the result's quality says; None where the loss is missing."""
        value = number(loss)
        return 1.0 - value if value is not None and self.agreement else value

    @property
    def teacher_quality(self) -> float | None:
        """The teacher's quality; it agrees with itself by definition."""
        quality = self.quality(self.teacher.get("loss"))
        return 1.0 if quality is None and self.agreement else quality

    def speedup(self, entry: Entry, objective: str | None = None) -> Speedup | None:
        """Teacher latency over the entry's; None unless both are known."""
        own, other = self.latency(entry, objective), self.latency(self.teacher, objective)
        if own.measured and other.measured:
            return Speedup(other.measured / own.measured, "measured")
        if own.predicted and other.predicted:
            return Speedup(other.predicted / own.predicted, "predicted")
        return Speedup(other.ms / own.ms, "partly predicted") if own.ms and other.ms else None

    def target(self, objective: str) -> Entry:
        """The serving target of a latency objective, or an empty one."""
        targets = self.result.get("targets") or ()
        return next((target for target in targets if target.get("objective") == objective), {})

    def genes(self) -> tuple[str, ...]:
        """The genes worth a column: the leading ones that occur, and those that differ between architectures."""
        seen = [(entry.get("architecture") or {}).get("values") or {} for entry in (*self.front, *self.trials)]
        names = {name for values in seen for name in values}
        differing = {name for name in names if len({str(values.get(name)) for values in seen}) > 1}
        leading = tuple(name for name in LEADING_GENES if name in names)
        return leading + tuple(sorted(differing - set(leading)))


@dataclass(frozen=True)
class PredictionError:
    """How far predicted latency lies from measured: relative errors of `count` entries."""

    count: int
    median: float
    worst: float
    within_tenth: float
    inside_interval: float | None


def prediction_error(readings: Iterable[Latency]) -> PredictionError | None:
    """Relative errors |predicted / measured - 1| and the share of intervals that hold their measurement."""
    pairs = [(reading, reading.predicted, reading.measured) for reading in readings]
    errors = [abs(predicted / measured - 1) for _, predicted, measured in pairs if predicted and measured]
    if not errors:
        return None
    held = [r.lower <= r.measured <= r.upper for r, _, _ in pairs if r.measured and r.lower and r.upper]
    within = sum(error <= 0.1 for error in errors) / len(errors)
    inside = sum(held) / len(held) if held else None
    return PredictionError(len(errors), statistics.median(errors), max(errors), within, inside)


def both_latencies(reading: Reading, objective: str) -> dict[str, tuple[Entry, Latency]]:
    """By key: every entry with a predicted and a measured latency; a front member stands for its trial."""
    entries = {str(entry.get("key")): entry for entry in (*reading.trials, *reading.front)}
    read = {key: (entry, reading.latency(entry, objective)) for key, entry in entries.items()}
    return {key: (entry, latency) for key, (entry, latency) in read.items() if latency.predicted and latency.measured}


def values_of(entry: Entry) -> Mapping[str, Any]:
    """The genes of an entry's architecture."""
    return (entry.get("architecture") or {}).get("values") or {}


def shape(entry: Entry, genes: Iterable[str]) -> str:
    """The architecture in a few characters, such as "2/384/12/1536"."""
    values = values_of(entry)
    return "/".join(str(values[name]) if name in values else DASH for name in genes) or DASH


def short_name(entry: Entry) -> str:
    """The architecture in plain words: "2 layers × 384", or its key in spaces without layers."""
    values = values_of(entry)
    if "layers" not in values or "width" not in values:
        return f"student {entry.get('key')}"
    return f"{values['layers']} layer{'' if values['layers'] == 1 else 's'} × {values['width']}"


def milliseconds(value: float | None) -> str:
    """Three significant digits, such as "3.10"."""
    if value is None:
        return DASH
    return f"{value:.0f}" if value >= 100 else f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def count(value: Any) -> str:
    """A number of parameters or tokens, such as "8.3 M"."""
    amount = number(value)
    if amount is None:
        return DASH
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if amount >= limit:
            return f"{amount / limit:.{1 if amount / limit < 100 else 0}f} {unit}"
    return f"{amount:.0f}"


def duration(value: Any) -> str:
    """Seconds in words, such as "4 min 05 s"."""
    seconds = number(value)
    if seconds is None:
        return DASH
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def percent(value: Any) -> str:
    """A share or relative error, such as "3.1 %"."""
    share = number(value)
    return DASH if share is None else f"{100 * share:.{0 if share >= 0.995 else 1}f}\u00a0%"


def score(value: float | None) -> str:
    """A quality or a correlation, three decimals."""
    return DASH if value is None else f"{value:.3f}"
