"""Which students are handed back, and which one is chosen: against naive rules, on few points with many ties."""

import math
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch import Architecture
from distilsearch.engine.engine import Engine
from distilsearch.engine.job.ledger import Entry
from distilsearch.engine.job.outcome.choice import CHOICES, at_speeds, chosen, front, pair_key, points
from distilsearch.engine.objectives import Expensive, Known
from distilsearch.space import Parameter, SearchSpace

POINTS = [(0.9, 1.0), (0.3, 2.0), (0.25, 4.0), (0.2, 8.0), (0.5, 3.0)]  # loss, ms; the last one is dominated
ENTRIES = [
    Entry(i, i, Architecture("generic", {"n": i}), "complete", (loss, ms)) for i, (loss, ms) in enumerate(POINTS)
]
TEACHER = Architecture("generic", {"n": 99})


def machine(
    limit: float | None = None, ms: dict[int, float] | None = None, told: tuple[int, ...] = ()
) -> SimpleNamespace:
    times = ms or {99: 16.0, **{n: point[1] for n, point in enumerate(POINTS)}}
    return SimpleNamespace(limit_ms=limit, keeps=lambda a: True, latency=lambda a: known(times[a["n"]], a["n"] in told))


def known(best: float, measured: bool) -> SimpleNamespace:
    times = lambda other: other.best / best  # noqa: E731
    return SimpleNamespace(best=best, measured=best if measured else None, times=times)


@pytest.mark.parametrize(("limit", "numbers"), [(None, [0, 1, 2, 3]), (4.0, [0, 1, 2]), (0.5, [])])
def test_the_front_is_sorted_and_undominated_and_keeps_limits(limit, numbers) -> None:
    assert [e.number for e in front(ENTRIES, [machine(limit)])] == numbers
    assert front([], [machine(limit)]) == []


@pytest.mark.parametrize("limit", [None, 4.0, 2.5])
def test_the_engine_has_the_same_front(limit) -> None:
    space = SearchSpace("generic", [Parameter("n", tuple(range(len(POINTS))))])
    cost = Known("latency_ms", lambda codes: [POINTS[int(n)][1] for n in codes[:, 0]], at_most=limit)
    engine = Engine(space, [Expensive("loss"), cost])
    for entry in ENTRIES:
        engine.tell(entry.architecture, {"loss": entry.values[0]})
    members = [entry.architecture for entry in front(ENTRIES, [machine(limit)])]
    assert [outcome.architecture for outcome in engine.front()] == members


# Equals

few = st.integers(0, 4).map(float)
lengths = st.sampled_from([100, 200, 400])
students = st.lists(
    st.tuples(few, few, st.dictionaries(lengths, few, min_size=1)), min_size=1, max_size=7
)  # ms on two machines, loss by length


def made(rows) -> tuple[list[Entry], list[SimpleNamespace]]:
    """Trials of students, the lengths of each in falling order, and two machines without limits."""
    trials = [
        (n, length, loss) for n, (_, _, losses) in enumerate(rows) for length, loss in sorted(losses.items())[::-1]
    ]
    entries = [
        Entry(i, i, Architecture("generic", {"n": n}), "complete", (loss, 1.0), {"asked": length, "tokens": length + 7})
        for i, (n, length, loss) in enumerate(trials)
    ]
    return entries, [machine(ms={n: 1 + row[k] for n, row in enumerate(rows)}) for k in (0, 1)]


def hides(one, other) -> bool:
    """The rule in words: no slower and no worse, and better in one, as known best and after equal training."""
    *mine, losses = one
    *theirs, others = other
    best, worst = losses[max(losses)], others[max(others)]
    no_worse = all(a <= b for a, b in zip((*mine, best), (*theirs, worst), strict=True))
    common = losses.keys() & others.keys()
    shorter = [length for length in losses if length <= max(others)]
    if common:
        return no_worse and (*mine, best) != (*theirs, worst) and losses[max(common)] <= others[max(common)]
    return no_worse and (*mine, best) != (*theirs, worst) and bool(shorter) and losses[max(shorter)] <= worst


@given(students)
def test_the_front_is_who_nobody_hides(rows) -> None:
    entries, machines = made(rows)
    expected = {n for n, row in enumerate(rows) if not any(hides(other, row) for other in rows)}
    members = front(entries, machines)
    assert [entry.architecture["n"] for entry in members].count(0) <= 1
    assert {entry.architecture["n"] for entry in members} == expected != set()
    assert all(entry.facts["asked"] == max(rows[entry.architecture["n"]][2]) for entry in members)
    assert [m.latency(e.architecture).best for e in members for m in machines[:1]] == sorted(
        machines[0].latency(e.architecture).best for e in members
    )


@given(students)
def test_who_is_best_as_known_is_on_the_front_of_equals(rows) -> None:
    """So the engine's front, which is of the longest trainings, is a part of it."""
    entries, machines = made(rows)
    known = [(*ms, losses[max(losses)]) for *ms, losses in rows]
    undominated = {
        n for n, own in enumerate(known)
        if not any(other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in known)
    }  # fmt: skip
    assert undominated <= {entry.architecture["n"] for entry in front(entries, machines)}


def test_a_longer_training_hides_nobody_who_would_beat_it() -> None:
    rows = [(2.0, 0.0, {100: 3.0, 400: 1.0}), (3.0, 0.0, {100: 2.0}), (4.0, 0.0, {100: 3.0})]
    entries, machines = made(rows)
    assert [entry.architecture["n"] for entry in front(entries, machines[:1])] == [0, 1]


def test_of_replicates_the_best_one_counts_and_failed_trials_do_not() -> None:
    pair = Architecture("generic", {"n": 1, "served.dtype": "int8"})
    facts = {"asked": 100, "tokens": 100}
    entries = [
        Entry(0, 0, pair, "complete", (0.5, 1.0), facts),
        Entry(1, 1, pair, "complete", (0.4, 1.0), facts),
        Entry(2, 2, Architecture("generic", {"n": 0}), "failed"),
    ]
    assert [e.number for e in front(entries, [machine()])] == [1]
    assert pair_key(entries[0]).startswith(f"{Architecture('generic', {'n': 1}).key}-")


# The choice


@pytest.mark.parametrize(
    ("choose", "loss_at_most", "number"),
    [
        ("knee", None, 1), ("quality", None, 3), ("fastest", None, 0), ("knee", 0.27, 2), ("quality", 0.27, 2),
        ("fastest", 0.27, 2), ("knee", 0.1, 3), ("fastest", 0.1, 3), ("quality", 1.0, 0),
    ],
)  # fmt: skip
def test_the_choice_is_by_limit_then_choose_then_loss_at_most(choose, loss_at_most, number) -> None:
    machines = [machine()]
    assert chosen(front(ENTRIES, machines), machines, choose, loss_at_most).number == number
    assert chosen([], machines, choose, loss_at_most) is None


@given(students, st.sampled_from([*CHOICES]), st.none() | few, st.floats(1.0, 6.0))
@settings(max_examples=200)
def test_the_chosen_one_is_a_member_within_the_limit_as_a_naive_rule_finds_it(rows, choose, most, limit) -> None:
    entries, machines = made(rows)
    machines[0].limit_ms = limit
    members = front(entries, machines)
    best = chosen(members, machines, choose, most)
    if not members:
        assert best is None
        return
    figures = {e.number: (e.values[0], machines[0].latency(e.architecture).best) for e in members}
    loss, ms = figures[best.number]
    assert ms <= limit
    keeping = [pair for pair in figures.values() if most is not None and pair[0] <= most]
    if keeping:
        assert ms == min(pair[1] for pair in keeping)
        assert loss <= most
    elif choose == "quality" or most is not None:
        assert loss == min(pair[0] for pair in figures.values())
    elif choose == "fastest":
        assert ms == min(pair[1] for pair in figures.values())
    else:
        assert (loss, ms) in figures.values()


@given(st.lists(st.tuples(st.floats(0.1, 1.0), st.floats(0.5, 40.0)), min_size=2, max_size=8, unique_by=lambda p: p[1]))
def test_the_knee_is_farthest_below_its_chord(pairs) -> None:
    times = {n: ms for n, (_, ms) in enumerate(pairs)}
    entries = [
        Entry(n, n, Architecture("generic", {"n": n}), "complete", (loss, ms)) for n, (loss, ms) in enumerate(pairs)
    ]
    machines = [machine(ms=times)]
    members = front(entries, machines)
    losses, logs = [e.values[0] for e in members], [math.log(times[e.number]) for e in members]
    if len(members) < 3 or losses[0] - losses[-1] < 1e-6 or logs[-1] - logs[0] < 1e-6:
        return

    def below(entry: Entry) -> float:
        share = (math.log(times[entry.number]) - logs[0]) / (logs[-1] - logs[0])
        return 1 - share - (entry.values[0] - losses[-1]) / (losses[0] - losses[-1])

    assert below(chosen(members, machines)) == pytest.approx(max(map(below, members)))


# What there is at multiples of the teacher's speed


def test_the_best_at_each_speed_has_the_least_loss_of_those_at_least_so_fast() -> None:
    machines = [machine()]
    members = front(ENTRIES, machines)
    best = at_speeds(members, machines, TEACHER)
    assert {speed: entry.number for speed, entry in best.items()} == {2: 3, 3: 2, 5: 1, 7: 1, 10: 0}
    assert set(at_speeds(members[1:], machines, TEACHER)) == {2, 3, 5, 7}
    assert at_speeds([], machines, TEACHER) == {}


def test_who_was_measured_to_be_fast_enough_comes_before_who_is_predicted_to_be() -> None:
    machines = [machine(told=(1, 99))]
    best = at_speeds(front(ENTRIES, machines), machines, TEACHER)
    assert {speed: entry.number for speed, entry in best.items()} == {2: 1, 3: 1, 5: 1, 7: 1, 10: 0}


@given(students, st.floats(1.0, 60.0))
def test_the_best_at_a_speed_as_a_naive_rule_finds_it(rows, teacher_ms) -> None:
    entries, machines = made(rows)
    machines[0] = machine(ms={99: teacher_ms, **{n: 1 + row[0] for n, row in enumerate(rows)}})
    members = front(entries, machines)
    best = at_speeds(members, machines, TEACHER)
    for speed in (2, 3, 5, 7, 10):
        fast = [e for e in members if teacher_ms / machines[0].latency(e.architecture).best >= speed]
        assert (speed in best) == bool(fast)
        if fast:
            assert best[speed].values[0] == min(e.values[0] for e in fast)
            assert best[speed] in fast
    assert points(members, machines).shape == (len(members), 3)
