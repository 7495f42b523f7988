"""What a run knows when it is called again: everything in its ledger, told in the order it was told first.

So a run that was killed and continued proposes what it would have proposed: the counter of asks, the frozen reference,
the intervals that winners have moved, and what failed are all as they were. `replay` asks every question of a ledger
again and gives the answers beside those that were noted.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from distilsearch import strict
from distilsearch.architecture import Architecture
from distilsearch.distill.flash import area
from distilsearch.errors import InputError, RunError
from distilsearch.lowering import parameter_count

from ...adapters.results_csv import Failure
from ...engine import Engine
from ...record import Tell
from ..ledger import Entry, Ledger, is_imported
from ..machines.machines import Profiled
from ..serving.losses import trained_loss
from ..serving.served import ServedSpace, student_of

IMPORTED = "imported.json"  # results of other tools, as plain JSON


@dataclass(frozen=True)
class Plan:
    """What one ask rested on: who asked, how many asks went before, which trials he had been told since his last ask
    (their numbers, in order), which were pending, and the reference where it was frozen.
    """

    holder: str
    counter: int
    told: tuple[int, ...]
    pending: tuple[int, ...]
    reference: Mapping[str, float] | None

    def with_reference(self, reference: Mapping[str, float] | None) -> "Plan":
        """The same with a reference."""
        return replace(self, reference=reference)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def of(cls, entry: Entry) -> "Plan | None":
        """The plan that a trial was opened with; None where it was not asked for here, or by an older version."""
        noted = entry.facts.get("plan")
        return cls(**noted | {"told": tuple(noted["told"]), "pending": tuple(noted["pending"])}) if noted else None


def imported(folder: Path) -> list[Tell]:
    """The results of other tools that are kept in a run's folder."""
    return [Tell.from_json(item) for item in _imported(folder) if "cause" not in item]


def imported_failures(folder: Path) -> list[Failure]:
    """The failed trials of other tools that are kept in a run's folder."""
    failed = [item for item in _imported(folder) if "cause" in item]
    return [Failure(Architecture.from_json(item["architecture"]), item["cause"]) for item in failed]


def failure_json(failure: Failure) -> dict[str, Any]:
    """A failed trial as plain JSON, told from a result by its cause."""
    return {"architecture": failure.architecture.to_json(), "cause": failure.cause}


def _imported(folder: Path) -> list[dict[str, Any]]:
    """Results of other tools, as they were kept; a `RunError` where the file is damaged."""
    path = folder / IMPORTED
    try:
        return [_checked(item) for item in strict.read_json(path)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        raise RunError(f"{path} is damaged ({error}); move it away, and import the results again") from None


def _checked(item: Any) -> dict[str, Any]:
    """A result or a failure, each value as it should be."""
    data = strict.table(item, "a result")
    Architecture.from_json(data["architecture"])
    if "cause" in data:
        strict.text(data["cause"], "cause")
        return data
    for name, value in strict.table(data["values"], "values").items():
        strict.number(value, name)
    for name in ("noise", "fidelity", "area"):
        if data.get(name) is not None:
            strict.number(data[name], name, 0.0)
    return data | {name: data.get(name) for name in ("noise", "fidelity")}


def recall(
    engine: Engine, ledger: Ledger, machines: Sequence[Profiled], served: ServedSpace, flash_tokens: int, session: int
) -> list[int]:
    """Tell an engine all that a ledger holds; the numbers of the trials that were told, in order.

    Args:
        session: the present one: what failed by accident in it is not tried again, what did so before may be.
    """
    entries = {entry.number: entry for entry in ledger.entries()}
    order = [number for number in _order(list(entries.values())) if number in entries]
    for number in order:
        retell(engine, entries[number], machines, served, flash_tokens, session)
    lasting = [entry for entry in entries.values() if not _forgotten(entry, session)]
    counted = [plan for entry in lasting if (plan := Plan.of(entry)) is not None]
    engine.expect([], 1 + max((plan.counter for plan in counted), default=-1))
    for plan in counted[::-1]:
        if plan.reference is not None:
            engine.freeze(plan.reference)
            break
    for machine in machines:
        learnt = [entries[n].facts["intervals"] for n in order if "intervals" in entries[n].facts]
        if learnt and machine.objective in learnt[-1]:
            machine.relearn(learnt[-1][machine.objective])
        machine.measured.update((ledger.noted("measured") or {}).get(machine.objective, {}))
        machine.slowness.update((ledger.noted("slowness") or {}).get(machine.objective, {}))
        machine.requests.update((ledger.noted("requests") or {}).get(machine.objective, {}))
    return order


def tell(engine: Engine, entry: Entry, machines: Sequence[Profiled], tokens: int) -> None:
    """Tell an engine a complete trial, with what was measured of it."""
    told = {"loss": entry.values[0]}
    for machine in machines:
        noted = entry.facts["latencies"][machine.objective]
        if (measured := machine.recall(entry.architecture, noted)) is not None:
            told[machine.objective] = measured
    curve = entry.facts.get("curve")
    if not tokens:  # what was scored had no training of its own, so neither a length nor a way
        engine.tell(entry.architecture, told, entry.facts.get("noise"))
        return
    under = area(curve) + entry.values[0] - trained_loss(entry) if curve else None  # curves are of what was trained
    engine.tell(entry.architecture, told, entry.facts.get("noise"), float(tokens), under)


def enter_imported(
    results: Iterable[Tell],
    ledger: Ledger,
    machines: Sequence[Profiled],
    served: ServedSpace,
    flash_tokens: int,
) -> Iterator[Entry]:
    """Put results of other tools into a ledger, each once; there is no student of them."""
    entries = ledger.entries()
    own = {(e.architecture, planned_tokens(e, flash_tokens)) for e in entries if not is_imported(e)}
    entered = Counter((e.architecture, planned_tokens(e, flash_tokens)) for e in entries if is_imported(e))
    seen = Counter[tuple[Architecture, int]]()
    for result in (replace(r, architecture=m) for r in results for m in _served_as_told(r.architecture, served)):
        tokens = int(result.fidelity or flash_tokens)
        key = result.architecture, tokens
        seen[key] += 1
        if key in own or entered[key] > 0:  # ours is of this text and machine; what was entered stays so
            entered[key] -= 1
            continue
        latencies = {}
        for machine in machines:
            machine.recall(result.architecture, {"measured": result.values.get(machine.objective)})
            latencies[machine.objective] = machine.latency(result.architecture).to_json()
        facts = {"source": "imported", "asked": tokens, "tokens": tokens, "noise": result.noise}
        facts |= {"parameters": parameter_count(result.architecture), "latencies": latencies}
        best = [machine.latency(result.architecture).best for machine in machines]
        fewer = partial(_fewer, flash_tokens, key, seen[key])
        if (entry := ledger.add(result.architecture, [result.values["loss"], *best], facts, fewer)) is not None:
            yield entry


def _served_as_told(student: Architecture, served: ServedSpace) -> list[Architecture]:
    """How a student is served where it has the loss that another tool gave: as it was trained, where it may be so."""
    members = served.outcomes_of(student)
    return [member for member in members if not served.artefact(member)] or members


def _fewer(flash_tokens: int, key: tuple[Architecture, int], count: int, entries: Sequence[Entry]) -> bool:
    """Whether fewer results of other tools than so many were entered of one student, by whomever."""
    there = (e for e in entries if is_imported(e) and e.state == "complete")
    return sum((e.architecture, planned_tokens(e, flash_tokens)) == key for e in there) < count


def enter_failures(failures: Iterable[Failure], ledger: Ledger, served: ServedSpace) -> None:
    """Put failed trials of other tools into a ledger, unless it knows the student."""
    for failure in failures:
        absent = partial(_absent, failure.architecture)
        members = served.outcomes_of(failure.architecture)
        if members and absent(ledger.entries()):
            ledger.add_failed(members[0], failure.cause, {"source": "imported"}, absent)


def _absent(student: Architecture, entries: Sequence[Entry]) -> bool:
    return all(student_of(entry.architecture) != student for entry in entries)


def planned_tokens(entry: Entry, flash_tokens: int) -> int:
    """The training a trial was planned for, in tokens."""
    return int(entry.facts.get("asked", flash_tokens))


def replay(
    ledger: Ledger,
    engine: Callable[[], Engine],
    machines: Sequence[Profiled],
    served: ServedSpace,
    flash_tokens: int,
    ask: Callable[[Engine], Architecture | None],
) -> Iterator[tuple[Entry, Architecture | None]]:
    """Ask every question of a ledger again: each planned trial, and what a fresh engine proposes in its place."""
    entries = {entry.number: entry for entry in ledger.entries()}
    told: dict[str, list[int]] = {}
    for entry in entries.values():
        if (plan := Plan.of(entry)) is None:
            continue
        order = told.setdefault(plan.holder, [])
        order += plan.told
        fresh = engine()
        for number in order:
            retell(fresh, entries[number], machines, served, flash_tokens, int(entry.facts.get("session", -1)))
        students = [student_of(entries[number].architecture) for number in plan.pending]
        fresh.expect([m for s in students for m in served.outcomes_of(s)], plan.counter, again=True)
        if plan.reference is not None:
            fresh.freeze(plan.reference)
        yield entry, ask(fresh)


def retell(
    engine: Engine, entry: Entry, machines: Sequence[Profiled], served: ServedSpace, flash_tokens: int, session: int
) -> None:
    """Tell an engine how a trial has ended, well or not; an accident of the present session bans it until that ends."""
    if entry.state == "complete":
        if Plan.of(entry) is not None:
            engine.expect([entry.architecture])
        tell(engine, entry, machines, planned_tokens(entry, flash_tokens))
    elif entry.state == "failed":
        for member in served.outcomes_of(student_of(entry.architecture)):
            engine.fail(member, entry.cause, _forgotten(entry, session))


def _forgotten(entry: Entry, session: int) -> bool:
    """Whether a trial failed by an accident of an earlier session: nothing was learnt, so its ask is made again."""
    return entry.state == "failed" and entry.transient and entry.facts.get("session") != session


def _order(entries: Sequence[Entry]) -> list[int]:
    """The order in which trials were told: as the last driver noted it, then by number what ended since."""
    plans = [plan for entry in entries if (plan := Plan.of(entry)) is not None]
    noted = [number for plan in plans if plan.holder == plans[-1].holder for number in plan.told]
    ended = [entry.number for entry in entries if entry.state in ("complete", "failed")]
    return list(dict.fromkeys([*noted, *ended]))
