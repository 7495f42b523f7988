"""What a run hands back: the front, the knee, and `result.json`.

The front is of what is known best of each student: its loss after the longest training, its measured latency (the
predicted one where the target is another machine).
"""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distilsearch.distill.trial import Trial
from distilsearch.lowering import parameter_count

from ..objectives import hypervolume, nondominated
from .ledger import Entry
from .machines import Target

if TYPE_CHECKING:
    from .run import Search

SCHEMA = 1
DISTURBED = 1.1  # slowness of the sentinel that a reader is told of
QUALITY = {"embedding": "agreement", "mlm": "masked-LM loss", "causal": "next-token loss"}


@dataclass(frozen=True)
class Result:
    """A finished run: `data` is `result.json`, see the README for its keys."""

    folder: Path
    data: Mapping[str, Any]

    @property
    def knee(self) -> str | None:
        """Key of the chosen student."""
        knee: str | None = self.data["knee"]
        return knee

    @property
    def front(self) -> list[dict[str, Any]]:
        """The members of the front, fastest first."""
        members: list[dict[str, Any]] = self.data["front"]
        return members

    def student(self, key: str) -> Path:
        """The folder of a student of the front, a stock checkpoint."""
        return self.folder / "students" / key


def points(entries: Sequence[Entry], targets: Sequence[Target]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Objectives (n, M) of complete trials, all to be minimised."""
    rows = [[e.values[0], *(t.latency(e.architecture).best for t in targets)] for e in entries]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 1 + len(targets))


def front(entries: Sequence[Entry], targets: Sequence[Target]) -> list[Entry]:
    """The complete trials that no other one dominates, fastest first; limits hold for what is known best."""
    complete = [e for e in entries if e.state == "complete"]
    values = points(complete, targets)
    limits = np.array([math.inf, *(t.section.latency_ms or math.inf for t in targets)])
    within = np.flatnonzero((values <= limits).all(axis=1))
    kept = within[nondominated(values[within])] if len(within) else within
    return [complete[i] for i in sorted(kept, key=lambda i: float(values[i, 1]))]


def longest(entries: Sequence[Entry]) -> list[Entry]:
    """Of the complete trials of each architecture the one of the longest training; all others as they are."""
    best: dict[str, int] = {}
    for entry in entries:
        if entry.state == "complete":
            best[entry.architecture.key] = max(best.get(entry.architecture.key, 0), entry.facts["tokens"])
    return [e for e in entries if e.state != "complete" or e.facts["tokens"] == best[e.architecture.key]]


def knee(front: Sequence[Entry], targets: Sequence[Target], loss_at_most: float | None) -> Entry | None:
    """The chosen member: the fastest one that keeps `loss_at_most`, else the farthest from the chord.

    The chord joins the ends of the front in (log latency of the first target, loss), each scaled to its range. Where
    no member keeps the loss asked for, the most accurate one is chosen.
    """
    if not front:
        return None
    values = points(front, targets)
    if loss_at_most is not None:
        keeping = np.flatnonzero(values[:, 0] <= loss_at_most)
        return front[int(keeping[0])] if len(keeping) else front[int(values[:, 0].argmin())]
    plane = np.column_stack([np.log(values[:, 1]), values[:, 0]])
    plane = (plane - plane.min(axis=0)) / np.maximum(np.ptp(plane, axis=0), 1e-12)
    along = plane[-1] - plane[0]
    offset = plane - plane[0]
    distance = along[1] * offset[:, 0] - along[0] * offset[:, 1]  # positive below the chord
    return front[int(distance.argmax())]


def conclude(search: "Search") -> Result:
    """The result of a run, its students copied into its folder."""
    entries = search.ledger.entries()
    known = longest(entries)
    chosen = knee(front(known, search.targets), search.targets, search.run.loss_at_most)  # before the final training
    members = front([_finished(search, entry) for entry in known], search.targets)
    reference = search.engine.reference
    teacher = search.prepared.teacher
    data = {
        "schema": SCHEMA,
        "name": search.run.name,
        "quality": QUALITY[teacher.kind],
        "objectives": list(reference),
        "reference": reference,
        "teacher": {
            "name": search.run.teacher,
            "parameters": parameter_count(search.teacher),
            "architecture": search.teacher.to_json(),
            "loss": search.teacher_loss(),
        }
        | {t.objective: asdict(t.latency(search.teacher)) for t in search.targets},
        "front": [_member(search, entry) for entry in members],
        "knee": chosen.architecture.key if chosen else None,
        "trials": [_trial(search, entry) for entry in entries],
        "hypervolume_trace": _trace(entries, search),
        "surrogate": search.engine.diagnostics(),
        "rank_fidelity": _rank_fidelity(search),
        "targets": [_target(t) for t in search.targets],
        "phases": [{"what": what, "seconds": round(seconds, 2)} for what, seconds in search.phases.items()],
        "environment": search.environment,
        "warnings": _warnings(search, members),
    }
    return Result(search.folder, data)


def _warnings(search: "Search", members: Sequence[Entry]) -> list[str]:
    """What a reader of the choice and the speedups must know."""
    found, wanted = [], search.run.loss_at_most
    if wanted is not None and all(entry.values[0] > wanted for entry in members):
        found.append(f"no student keeps loss_at_most = {wanted:g}; the most accurate one was chosen instead")
    for target in search.targets:
        if (slowness := target.slowness.get(search.teacher.key, 1.0)) > DISTURBED:
            found.append(
                f"while {target.objective} of teacher and front was measured side by side, this machine ran"
                f" {slowness:.2f} times slower than when quiet (by the sentinel); predictions are of the quiet machine"
            )
        teacher = target.latency(search.teacher)
        if teacher.measured is not None and not teacher.lower <= teacher.measured <= teacher.upper:
            found.append(
                f"the teacher was measured at {teacher.measured:.3g} ms and predicted at {teacher.lower:.3g} to"
                f" {teacher.upper:.3g} ms: other work may have disturbed the machine, and speedups with it; run"
                " `distilsearch measure` when it is quiet"
            )
    return found


def _finished(search: "Search", entry: Entry) -> Entry:
    """A trial with the loss of its longest training."""
    final = search.finals.get(entry.architecture.key)
    if final is None or entry.state != "complete":
        return entry
    facts = entry.facts | {"trial": final.key, "tokens": final.tokens, "flash_loss": entry.values[0]}
    facts["source"] = "trained"
    return replace(entry, values=(final.loss, *entry.values[1:]), facts=facts)


def _member(search: "Search", entry: Entry) -> dict[str, Any]:
    key, record = entry.architecture.key, search.record(entry)
    return {
        "key": key,
        "architecture": entry.architecture.to_json(),
        "loss": entry.values[0],
        "flash_loss": entry.facts.get("flash_loss", entry.values[0]),
        "parameters": entry.facts["parameters"],
        "tokens": entry.facts["tokens"],
        "source": entry.facts.get("source", "trained"),
        "student": _exported(search.folder, key, record),
    } | _latencies(search, entry)


def _exported(folder: Path, key: str, record: Trial | None) -> str | None:
    """Copy a student into the run's folder, whole or not at all; its folder relative to the run's."""
    if record is None or not record.student.exists():
        return None
    target = folder / "students" / key
    fresh = target.with_name(f".{key}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(record.student, fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return f"students/{key}"


def _trial(search: "Search", entry: Entry) -> dict[str, Any]:
    facts = entry.facts
    return {
        "number": entry.number,
        "key": entry.architecture.key,
        "architecture": entry.architecture.to_json(),
        "state": entry.state,
        "source": facts.get("source", "trained"),
        "loss": entry.values[0] if entry.values else None,
        "tokens": facts.get("tokens"),
        "seconds": facts.get("seconds"),
        "parameters": facts.get("parameters"),
        "curve": facts.get("curve", []),
        "cause": entry.cause,
    } | _latencies(search, entry)


def _latencies(search: "Search", entry: Entry) -> dict[str, Any]:
    """What was predicted of a trial before it was measured, its first measurement, and the one beside the front's."""
    before = entry.facts.get("latencies", {})
    return {
        t.objective: before[t.objective]
        | {"measured": t.latency(entry.architecture).measured, "measured_first": before[t.objective]["measured"]}
        for t in search.targets
        if t.objective in before
    }


def _trace(entries: Sequence[Entry], search: "Search") -> list[float]:
    """Hypervolume after each complete trial, in the order of the ledger."""
    complete = [e for e in entries if e.state == "complete"]
    values = points(complete, search.targets)
    corner = [search.engine.reference[name] for name in ("loss", *(t.objective for t in search.targets))]
    return [hypervolume(values[: i + 1], corner) for i in range(len(values))]


def _rank_fidelity(search: "Search") -> dict[str, Any]:
    """What `distilsearch fidelity` measured for this run, else the ranks of its own flash and final losses."""
    from scipy.stats import kendalltau, spearmanr

    if (measured := measured_fidelity(search.folder)) is not None:
        return measured
    known = {e.architecture.key: e.values[0] for e in search.ledger.entries() if e.state == "complete"}
    pairs = [(known[key], record.loss) for key, record in search.finals.items() if key in known]
    if len(pairs) < 3:
        return {"spearman": None, "kendall": None, "pairs": len(pairs), "note": "fewer than 3 students have both"}
    flash, final = zip(*pairs, strict=True)
    if len(set(flash)) == 1 or len(set(final)) == 1:
        return {"spearman": None, "kendall": None, "pairs": len(pairs), "note": "all losses are equal"}
    return {
        "spearman": float(spearmanr(flash, final).statistic),
        "kendall": float(kendalltau(flash, final).statistic),
        "pairs": len(pairs),
        "note": "flash against final loss of this run's students",
    }


def measured_fidelity(folder: Path) -> dict[str, Any] | None:
    """What `distilsearch fidelity` found and left in a run's folder."""
    try:
        found: dict[str, Any] = json.loads((folder / "fidelity" / "fidelity.json").read_text())
    except (OSError, ValueError):
        return None
    return found


def _target(target: Target) -> dict[str, Any]:
    assert target.table is not None
    floor = target.table.meta.noise_floor
    return {
        "objective": target.objective,
        "device": target.section.device,
        "serving": target.serving.to_json(),
        "limit_ms": target.section.latency_ms,
        "noise_floor": None if math.isnan(floor) else floor,
        "table": str(target.table.folder),
        "local": target.local,
    }
