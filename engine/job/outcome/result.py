"""What a run hands back: `result.json` out of facts of a run.

Notable: `conclude` calculates and does nothing else. What it needs of a run is in `RunFacts`, all of it values; whoever
runs the search measures, evaluates the teacher and copies the students before.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distilsearch.architecture import Architecture
from distilsearch.distill.quality import quality_name
from distilsearch.distill.store.trial import UNTRAINED_BLOCKS
from distilsearch.lowering import parameter_count

from ...objectives import hypervolume
from ...report import schema
from ...report.schema import RankFidelity, ResultFile
from ..ledger import Entry
from ..plans.phases import phase_entries
from ..serving.losses import TRAINED, Losses, trained_loss
from ..serving.served import served_of, student_of
from .choice import chosen, front, pair_key, points
from .facts import MachineFacts, RunFacts
from .remarks import latency_warnings

FEWEST_FOR_RANKS = 3


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, and what `result.json` says."""

    folder: Path
    file: ResultFile

    @property
    def data(self) -> dict[str, Any]:
        """`result.json` as plain JSON; see docs/formats.md for its keys."""
        return self.file.to_json()

    @property
    def knee(self) -> str | None:
        """Key of the chosen student."""
        return self.file.knee

    @property
    def front(self) -> tuple[schema.Member, ...]:
        """The members of the front, fastest first."""
        return self.file.front

    def student(self, key: str) -> Path:
        """The folder of a student of the front, a stock checkpoint."""
        return self.folder / "students" / key


def conclude(facts: RunFacts) -> Result:
    """The result of a run."""
    handed_back = members(facts)
    file = ResultFile(
        name=facts.name,
        quality=quality_name(facts.teacher_kind, facts.quality),
        objectives=tuple(facts.reference),
        reference=dict(facts.reference),
        teacher=_teacher(facts),
        front=tuple(_member(facts, entry) for entry in handed_back),
        knee=_chosen(facts),
        proxy=facts.proxy,
        choose=facts.choose if facts.loss_at_most is None else "loss_at_most",
        trials=tuple(_trial(facts, entry) for entry in facts.entries),
        hypervolume_trace=trace(facts),
        surrogate=schema.Surrogate.model_validate(facts.diagnostics) if facts.diagnostics else None,
        rank_fidelity=rank_fidelity(facts),
        targets=tuple(_machine(machine) for machine in facts.machines),
        phases=phase_entries(facts.phases, facts.shortened),
        environment=dict(facts.environment),
        warnings=warnings(facts, handed_back),
    )
    return Result(facts.folder, file)


def members(facts: RunFacts) -> list[Entry]:
    """The trials that are handed back: the front of equals, fastest first, each with the best of its trainings."""
    return [_finished(facts, entry) for entry in front(facts.entries, facts.machines)]


def warnings(facts: RunFacts, handed_back: Sequence[Entry]) -> tuple[str, ...]:
    """What a reader of the choice and the speedups must know."""
    teacher, students = _teacher(facts).latencies, [_latencies(facts, entry) for entry in handed_back]
    notes = [f"text: {note}" for note in facts.environment.get("text", ())]
    texts = [*notes, *facts.remarks, *facts.handing, *_choice_warnings(facts, handed_back)]
    texts += [*_proxy_warnings(facts)]
    texts += [*_final_warnings(facts, handed_back), *_bought_nothing(handed_back)]
    for name in teacher:
        texts += latency_warnings(name, teacher[name], [student[name] for student in students if name in student])
    return tuple(texts)


def _choice_warnings(facts: RunFacts, handed_back: Sequence[Entry]) -> Iterator[str]:
    wanted, best = facts.loss_at_most, _best(facts)
    if wanted is None or best is None or best.values[0] <= wanted:
        return
    (now,) = (entry for entry in handed_back if entry.number == best.number)
    text = f"no student keeps loss_at_most = {wanted:g} after equal training; the most accurate one was chosen instead"
    yield text + (f" and keeps it after {now.facts['tokens']:,} tokens" if now.values[0] <= wanted else "")


def _proxy_warnings(facts: RunFacts) -> Iterator[str]:
    if facts.proxy is None or not facts.proxy.students:
        return
    for key, scores in facts.proxy.students.items():
        if scores.cause:
            yield f"the proxy task {facts.proxy.title}: {key} was not scored ({scores.cause})"
    if not facts.proxy.merits:
        yield f"nobody was scored on the proxy task {facts.proxy.title}, so one was chosen as without it, by the loss"


def _bought_nothing(handed_back: Sequence[Entry]) -> Iterator[str]:
    """Students that training has made no better than what they were cut from; slices had no training of their own."""
    trained = [entry for entry in handed_back if entry.facts.get("tokens")]
    worse = [(entry, loss) for entry in trained if (loss := _untrained(entry)) is not None]
    worse = [(entry, loss) for entry, loss in worse if trained_loss(entry) >= loss]
    if worse:
        listed = ", ".join(f"{pair_key(entry)} ({loss:.4f}, then {trained_loss(entry):.4f})" for entry, loss in worse)
        yield (
            f"training bought nothing for {len(worse)} of {len(handed_back)} students, by the held-out loss before and"
            f" after it: {listed}; train longer, at a lower rate, or on text nearer to what they will read"
        )


def _final_warnings(facts: RunFacts, handed_back: Sequence[Entry]) -> Iterator[str]:
    for cause in dict.fromkeys(facts.unfinished.values()):
        keys = ", ".join(key for key, why in facts.unfinished.items() if why == cause)
        yield f"meant to be trained further, but not trained: {keys} ({cause})"
    for entry in handed_back:
        final = facts.finals.get(student_of(entry.architecture).key)
        if final is None:
            continue
        loss = final.losses_of(entry).of(artefact := facts.artefact_of(entry))
        if loss is None:
            cause = final.losses_of(entry).causes[artefact]
            yield (
                f"{pair_key(entry)} was trained on {final.tokens:,} tokens more, and could not be judged as it is"
                f" served ({cause}); the shorter training is handed back"
            )
        elif loss > entry.values[0]:
            yield (
                f"{pair_key(entry)} was trained on {final.tokens:,} tokens more and its loss rose from"
                f" {entry.values[0]:.3g} to {loss:.3g}; the shorter training is handed back"
            )


def trace(facts: RunFacts) -> tuple[float, ...]:
    """Hypervolume after each complete trial, in the order of the ledger."""
    values = points([e for e in facts.entries if e.state == "complete"], facts.machines)
    corner = [facts.reference[name] for name in ("loss", *(m.objective for m in facts.machines))]
    return tuple(hypervolume(values[: i + 1], corner) for i in range(len(values)))


def rank_fidelity(facts: RunFacts) -> RankFidelity:
    """What `distilsearch fidelity` measured for this run, else the ranks of its own flash and final losses."""
    if facts.fidelity is not None:
        return facts.fidelity
    flash = {student_of(e.architecture).key: trained_loss(e) for e in facts.entries if e.state == "complete"}
    pairs = [(flash[key], final.loss) for key, final in facts.finals.items() if key in flash]
    if len(pairs) < FEWEST_FOR_RANKS:
        return RankFidelity(pairs=len(pairs), note=f"fewer than {FEWEST_FOR_RANKS} students have both")
    before, after = zip(*pairs, strict=True)
    if len(set(before)) == 1 or len(set(after)) == 1:
        return RankFidelity(pairs=len(pairs), note="all losses are equal")
    from scipy.stats import kendalltau, spearmanr

    return RankFidelity(
        spearman=float(spearmanr(before, after).statistic),
        kendall=float(kendalltau(before, after).statistic),
        pairs=len(pairs),
        note="flash against final loss of this run's students",
    )


def _chosen(facts: RunFacts) -> str | None:
    entry = _best(facts)
    return pair_key(entry) if entry else None


def _best(facts: RunFacts) -> Entry | None:
    """Who was chosen, at equal length: the same member that was finished, whatever that did to its loss."""
    merits = facts.proxy.merits if facts.proxy else {}
    return chosen(front(facts.entries, facts.machines), facts.machines, facts.choose, facts.loss_at_most, merits)


def _finished(facts: RunFacts, entry: Entry) -> Entry:
    """A trial with the loss of its student's longest training, unless that is worse than the trial's own."""
    final = facts.finals.get(student_of(entry.architecture).key)
    losses = Losses(math.inf) if final is None else final.losses_of(entry)
    loss = losses.of(facts.artefact_of(entry))
    if final is None or loss is None or loss > entry.values[0] or final.tokens <= entry.facts["tokens"]:
        return entry
    changes = {"trial": final.trial, "tokens": final.tokens, "source": "trained", **losses.facts}
    changes |= {"parts": dict(final.parts)} if final.parts else {}
    changes |= {"flash_loss": entry.values[0], "flash_tokens": entry.facts["tokens"]}
    if (start := final.untrained)[0] is not None:
        changes |= {"curve": [[0, start[0]]], UNTRAINED_BLOCKS: start[1]}
    return replace(entry, values=(loss, *entry.values[1:]), facts=entry.facts | changes)


def _teacher(facts: RunFacts) -> schema.TeacherEntry:
    architecture = facts.teacher_architecture
    latencies = {m.objective: m.latency(architecture) for m in facts.machines}
    return schema.TeacherEntry(
        name=facts.teacher,
        architecture=architecture,
        parameters=parameter_count(architecture),
        loss=facts.teacher_loss,
        parts=dict(facts.teacher_parts),
        latencies={
            name: schema.Latency(
                predicted=ms.predicted,
                lower=ms.lower,
                upper=ms.upper,
                predicted_p50=ms.predicted_p50,
                predicted_p99=ms.predicted_p99,
                **_measured(machine, architecture),
            )
            for (name, ms), machine in zip(latencies.items(), facts.machines, strict=True)
        },
    )


def _member(facts: RunFacts, entry: Entry) -> schema.Member:
    key = pair_key(entry)
    return schema.Member(
        key=key,
        architecture=student_of(entry.architecture),
        served=served_of(entry.architecture),
        loss=entry.values[0],
        parts=entry.facts.get("parts", {}),
        untrained_loss=_untrained(entry),
        untrained_blocks=None if _untrained(entry) is None else entry.facts.get(UNTRAINED_BLOCKS),
        flash_loss=entry.facts.get("flash_loss", entry.values[0]),
        flash_tokens=entry.facts.get("flash_tokens", entry.facts["tokens"]),
        parameters=entry.facts["parameters"],
        tokens=entry.facts["tokens"],
        trained_loss=entry.facts.get(TRAINED),
        source=entry.facts.get("source", "trained"),
        student=facts.students.get(key),
        trial=entry.facts.get("trial"),
        latencies=_latencies(facts, entry),
    )


def _untrained(entry: Entry) -> float | None:
    """The loss of a student before its first step; none of one that was cut from a super-network and not trained."""
    if not entry.facts["tokens"]:
        return None
    return {int(tokens): float(loss) for tokens, loss in entry.facts.get("curve", ())}.get(0)


def _trial(facts: RunFacts, entry: Entry) -> schema.TrialEntry:
    plain = {name: entry.facts[name] for name in ("tokens", "seconds", "parameters", "curve") if name in entry.facts}
    return schema.TrialEntry.model_validate(
        {
            **plain,
            "number": entry.number,
            "key": pair_key(entry),
            "architecture": student_of(entry.architecture),
            "served": served_of(entry.architecture),
            "state": entry.state,
            "source": entry.facts.get("source", "trained"),
            "loss": entry.values[0] if entry.values else None,
            "trained_loss": entry.facts.get(TRAINED),
            "parts": entry.facts.get("parts", {}),
            "cause": entry.cause,
            "latencies": _latencies(facts, entry),
        }
    )


def _latencies(facts: RunFacts, entry: Entry) -> dict[str, schema.Latency]:
    """What was predicted of a trial before it was measured, its first measurement, and the one beside the front's."""
    first = entry.facts.get("latencies", {})
    return {
        m.objective: schema.Latency(
            predicted=first[m.objective]["predicted"],
            lower=first[m.objective]["lower"],
            upper=first[m.objective]["upper"],
            predicted_p50=first[m.objective].get("predicted_p50"),
            predicted_p99=first[m.objective].get("predicted_p99"),
            **_measured(m, entry.architecture),
            measured_first=first[m.objective]["measured"],
        )
        for m in facts.machines
        if m.objective in first
    }


def _measured(machine: MachineFacts, architecture: Architecture) -> dict[str, float | None]:
    """The last measurement, and what is known of its own error."""
    latency, key = machine.latency(architecture), architecture.key
    if latency.measured is None:
        return {"measured": None}
    about = {"slowness": machine.slowness.get(key), "repeated": machine.repeats.get(key)}
    return {name: getattr(latency, name) for name in ("measured", "measured_p50", "measured_p99")} | about


def _machine(machine: MachineFacts) -> schema.MachineEntry:
    return schema.MachineEntry(
        objective=machine.objective,
        device=machine.device,
        serving=dict(machine.serving),
        limit_ms=machine.limit_ms,
        limit=machine.limit,
        noise_floor=machine.noise_floor,
        table=machine.table,
        tables=dict(machine.tables),
        local=machine.local,
    )
