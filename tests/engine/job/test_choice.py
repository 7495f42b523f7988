"""Which students are handed back, and which one is chosen."""

from types import SimpleNamespace

import pytest

from distilsearch import Architecture
from distilsearch.engine.engine import Engine
from distilsearch.engine.job.choice import front, knee, longest, pair_key
from distilsearch.engine.job.ledger import Entry
from distilsearch.engine.objectives import Expensive, Known
from distilsearch.space import Parameter, SearchSpace

POINTS = [(0.9, 1.0), (0.3, 2.0), (0.25, 4.0), (0.2, 8.0), (0.5, 3.0)]  # loss, ms; the last one is dominated
ENTRIES = [
    Entry(i, i, Architecture("generic", {"n": i}), "complete", (loss, ms)) for i, (loss, ms) in enumerate(POINTS)
]


def machine(limit: float | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        limit_ms=limit, keeps=lambda a: True, latency=lambda a: SimpleNamespace(best=POINTS[a["n"]][1])
    )


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


def test_the_knee_is_farthest_below_the_chord_or_the_fastest_that_keeps_a_loss() -> None:
    machines = [machine()]
    members = front(ENTRIES, machines)
    assert knee(members, machines, None).number == 1
    assert knee(members, machines, 0.27).number == 2
    assert knee(members, machines, 0.1).number == 3
    assert knee([], machines, None) is None


def test_the_longest_training_of_each_pair_counts() -> None:
    architecture = Architecture("generic", {"n": 1})

    def trial(number: int, tokens: int, **served) -> Entry:
        member = Architecture("generic", {"n": 1, **{f"served.{name}": value for name, value in served.items()}})
        return Entry(number, number, member, "complete", (0.5, 1.0), {"tokens": tokens})

    entries = [
        trial(0, 100),
        trial(1, 300),
        trial(2, 100, dtype="int8"),
        Entry(3, 3, architecture, "failed"),
    ]
    assert [e.number for e in longest(entries)] == [1, 2, 3]
    assert pair_key(entries[0]) == architecture.key
    assert pair_key(entries[2]).startswith(f"{architecture.key}-")
