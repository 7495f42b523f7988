"""Which students are handed back, and which one is chosen."""

from types import SimpleNamespace

import pytest

from distilsearch import Architecture
from distilsearch.engine.job.ledger import Entry
from distilsearch.engine.job.result import _rank_fidelity, _warnings, front, knee

POINTS = [(0.9, 1.0), (0.3, 2.0), (0.25, 4.0), (0.2, 8.0), (0.5, 3.0)]  # loss, ms; the last one is dominated
ENTRIES = [
    Entry(i, i, Architecture("generic", {"n": i}), "complete", (loss, ms)) for i, (loss, ms) in enumerate(POINTS)
]


def _target(limit: float | None = None, teacher_ms: float = 10.0, slowness: float = 1.0) -> SimpleNamespace:
    def latency(architecture: Architecture) -> SimpleNamespace:
        ms = POINTS[architecture["n"]][1] if architecture["n"] >= 0 else teacher_ms
        return SimpleNamespace(best=ms, measured=ms, lower=9.0, upper=11.0)

    section = SimpleNamespace(latency_ms=limit)
    return SimpleNamespace(objective="latency_ms", section=section, latency=latency, slowness={TEACHER.key: slowness})


TEACHER = Architecture("generic", {"n": -1})


def _search(target: SimpleNamespace, loss_at_most: float | None = None) -> SimpleNamespace:
    return SimpleNamespace(targets=[target], teacher=TEACHER, run=SimpleNamespace(loss_at_most=loss_at_most))


def test_the_front_is_sorted_and_undominated_and_keeps_limits() -> None:
    assert [e.number for e in front(ENTRIES, [_target()])] == [0, 1, 2, 3]
    assert [e.number for e in front(ENTRIES, [_target(limit=4.0)])] == [0, 1, 2]
    assert front([], [_target()]) == []


def test_the_knee_is_farthest_below_the_chord_or_the_fastest_that_keeps_a_loss() -> None:
    target = [_target()]
    members = front(ENTRIES, target)
    assert knee(members, target, None).number == 1
    assert knee(members, target, 0.27).number == 2
    assert knee(members, target, 0.1).number == 3
    assert knee([], target, None) is None


@pytest.mark.parametrize(
    ("target", "loss_at_most", "message"),
    [
        (_target(), 0.1, "no student keeps loss_at_most = 0.1"),
        (_target(teacher_ms=20.0), None, "the teacher was measured at 20 ms"),
        (_target(slowness=1.4), None, "1.40 times slower than when quiet"),
    ],
)
def test_a_reader_is_warned(target, loss_at_most, message) -> None:
    members = front(ENTRIES, [target])
    (warning,) = _warnings(_search(target, loss_at_most), members)
    assert message in warning
    assert _warnings(_search(_target(), 0.5), members) == []


@pytest.mark.parametrize(("final", "expected"), [((0.8, 0.2, 0.1), 1.0), ((0.5, 0.5, 0.5), None)])
def test_ranks_of_equal_losses_are_no_number(tmp_path, final, expected) -> None:
    entries = ENTRIES[:3]
    finals = {e.architecture.key: SimpleNamespace(loss=loss) for e, loss in zip(entries, final, strict=True)}
    search = SimpleNamespace(folder=tmp_path, finals=finals, ledger=SimpleNamespace(entries=lambda: entries))
    assert _rank_fidelity(search)["spearman"] == (expected and pytest.approx(expected))
