"""What slices score is a column of the surrogate: exact for those that were scored, foreseen for others."""

import time
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.engine.engine import Engine
from distilsearch.engine.job.ledger import Ledger, open_storage
from distilsearch.engine.job.loop.informed import MOST, SAMPLE, column_of, cut_column, cuts_within, to_score
from distilsearch.engine.job.plans.phases import UNTRAINED, shortened
from distilsearch.engine.objectives import Expensive, Known
from distilsearch.progress import silent
from distilsearch.space import Codes, Parameter, SearchSpace

SPACE = SearchSpace("generic", [Parameter("depth", (1, 2, 3, 4)), Parameter("width", (8, 16, 32, 64, 128))])


def sizes(codes: Codes) -> FloatArray:
    return np.asarray(codes, dtype=np.float64).sum(axis=1, keepdims=True)


def score(codes: Codes) -> FloatArray:
    return -0.3 * codes[:, 0] - 0.1 * codes[:, 1].astype(np.float64)


def test_scores_of_a_whole_space_are_given_back_in_any_order() -> None:
    codes = to_score(SPACE, 0)
    assert len(codes) == SPACE.size
    column = column_of(SPACE, codes[::-1], score(codes[::-1]), sizes)
    np.testing.assert_array_equal(column(codes)[:, 0], score(codes))


def test_of_a_sample_the_others_are_foreseen() -> None:
    codes = SPACE.grid(100)
    known = codes[::2]
    column = column_of(SPACE, known, score(known), sizes)
    np.testing.assert_array_equal(column(known)[:, 0], score(known))
    np.testing.assert_allclose(column(codes)[:, 0], score(codes), atol=0.05)


def test_a_large_space_is_sampled_the_same_way_each_time() -> None:
    large = SearchSpace("generic", [Parameter(name, tuple(range(9))) for name in "abcd"])
    assert large.listed > MOST
    codes = to_score(large, 3)
    assert 0 < len(codes) <= SAMPLE
    np.testing.assert_array_equal(codes, to_score(large, 3))


def test_a_score_that_tells_the_loss_makes_it_foreseen_from_few_trials() -> None:
    rng = np.random.default_rng(0)
    codes = SPACE.grid(100)
    losses = {row.tobytes(): loss for row, loss in zip(codes, rng.permutation(len(codes)) / len(codes), strict=True)}

    def loss(rows: Codes) -> FloatArray:
        return np.array([losses[row.tobytes()] for row in np.asarray(rows, dtype=np.int16)])

    def coverage(further: Any) -> float:
        objectives = [Expensive("loss"), Known("cost", lambda rows: 1.0 + rows.sum(axis=1))]
        engine = Engine(SPACE, objectives, seed=0, features=further)
        for one in SPACE.decode(codes[::3]):
            engine.tell(one, {"loss": float(loss(SPACE.encode([one]))[0])})
        facts = engine.diagnostics()
        assert facts is not None
        return float(facts["r2"])

    assert coverage(column_of(SPACE, codes, loss(codes), sizes)) > 0.9 > coverage(None)  # no gene tells anything here


class Cutting:
    """A making and an executor in one: the losses of untrained cuts, or None where `losses` has none."""

    def __init__(self, losses: dict[Architecture, float]) -> None:
        self.losses = losses
        self.cut, self.workers = list, 2

    def submit(self, group: list[Architecture]) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result([self.losses.get(one) for one in group])
        return future


class TwoSeconds(Cutting):
    """One worker that takes two seconds of a clock for every group."""

    def __init__(self, losses: dict[Architecture, float], now: list[float]) -> None:
        super().__init__(losses)
        self.workers, self.now = 1, now

    def submit(self, group: list[Architecture]) -> "Future[Any]":
        self.now[0] += 2.0
        return super().submit(group)


def test_what_cuts_lose_is_a_column_and_what_cannot_be_cut_is_foreseen() -> None:
    codes = SPACE.grid(100)
    losses = dict(zip(SPACE.decode(codes), np.exp(score(codes)), strict=True))
    del losses[SPACE.decode(codes[:1])[0]]
    hands: Any = Cutting(losses)
    column = cut_column(SPACE, sizes, hands, hands, 0, silent)
    assert column is not None
    np.testing.assert_allclose(column(codes[1:])[:, 0], score(codes[1:]))


def test_where_time_is_over_cuts_from_all_over_the_space_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    large = SearchSpace("generic", [Parameter(name, tuple(range(9))) for name in "abc"])
    asked: list[Architecture] = []

    class Slow(Cutting):
        def submit(self, group: list[Architecture]) -> "Future[Any]":
            asked.extend(group)
            return super().submit(group)

    every = large.decode(large.grid(1_000))
    hands: Any = Slow({one: 1.0 + one["a"] for one in every})
    said: list[str] = []
    assert cut_column(large, sizes, hands, hands, 0, lambda what, *_: said.append(what), seconds=0.0) is None
    assert "no time to judge more" in said[-1]
    asked.clear()
    monkeypatch.setattr(time, "monotonic", lambda: float(len(asked)))
    column = cut_column(large, sizes, hands, hands, 0, silent, seconds=20.0)
    assert column is not None
    assert 16 <= len(asked) <= 32
    codes = large.encode(asked[:16])
    np.testing.assert_allclose(column(codes)[:, 0], np.log(1.0 + codes[:, 0]))
    assert np.ptp(codes[:, 0]) > 4
    asked.clear()
    assert cut_column(large, sizes, hands, hands, 0, silent) is not None
    assert len(asked) > 32


def test_a_group_is_begun_only_if_it_should_end_in_time_and_what_is_left_out_is_said(monkeypatch) -> None:
    large = SearchSpace("generic", [Parameter(name, tuple(range(9))) for name in "abc"])
    now, said, groups = [0.0], list[str](), list[int]()

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    hands: Any = TwoSeconds({one: 1.0 + one["a"] for one in large.decode(large.grid(1_000))}, now)
    for seconds, judged in ((21.0, 10), (5.0, 1)):  # of two groups next to nothing would be seen
        now[0] = 0.0
        column = cut_column(large, sizes, hands, hands, 0, silent, seconds, None, groups.append, said.append)
        assert (column is not None) == (judged == 10)
        assert groups[-1] == judged
        assert now[0] <= seconds
    whole = len(np.unique(large.sample(64, np.random.default_rng(0)), axis=0))
    first, last = said
    assert first == f"40 of {whole} untrained students were judged in the 21.0 s there were"
    assert last == f"4 of {whole} untrained students were judged in the 5.0 s there were, too few to be looked at"


def test_cuts_and_untrained_students_share_a_twentieth_and_a_second_call_sees_what_the_first_saw(tmp_path) -> None:
    ledger = Ledger(open_storage("", tmp_path), "run", ["loss", "cost"], SPACE)
    first: Any = cuts_within(4.0, ledger, spent=5.0)
    assert first.keywords["seconds"] == pytest.approx(0.05 * 240 - 5.0)
    assert cuts_within(4.0, ledger, spent=99.0).keywords["seconds"] == 0.0  # type: ignore[attr-defined]
    assert cuts_within(0.0, ledger, spent=99.0).keywords["seconds"] == float("inf")  # type: ignore[attr-defined]
    first.keywords["tell"](7)
    first.keywords["short"]("28 of 64")
    again: Any = cuts_within(9.0, ledger)
    assert again.keywords == {"groups": 7}
    assert shortened(ledger) == {UNTRAINED: "28 of 64"}
    ledger.close()


def test_a_run_that_goes_on_sees_as_many_cuts_as_its_first_call() -> None:
    large = SearchSpace("generic", [Parameter(name, tuple(range(9))) for name in "abc"])
    codes = large.grid(1_000)
    hands: Any = Cutting({one: 1.0 + one["a"] * one["b"] for one in large.decode(codes)})
    counts: list[int] = []
    first = cut_column(large, sizes, hands, hands, 0, silent, groups=5, tell=counts.append)
    again = cut_column(large, sizes, hands, hands, 0, silent, seconds=0.0, groups=counts[0])
    every = cut_column(large, sizes, hands, hands, 0, silent)
    assert counts == [5]
    assert first is not None
    assert again is not None
    assert every is not None
    np.testing.assert_array_equal(first(codes), again(codes))
    assert not np.array_equal(first(codes), every(codes))


def test_cuts_that_say_nothing_are_not_looked_at() -> None:
    said: list[str] = []
    for losses in ({}, dict.fromkeys(SPACE.decode(SPACE.grid(100)), 0.5)):
        hands: Any = Cutting(losses)
        assert cut_column(SPACE, sizes, hands, hands, 0, lambda what, *_: said.append(what)) is None
    assert "say nothing" in said[-1]


def test_of_a_small_space_all_students_are_judged_where_there_is_time_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    small = SearchSpace("generic", [Parameter("a", tuple(range(8)))])
    now, said, groups = [0.0], list[str](), list[int]()

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    hands: Any = TwoSeconds({one: 1.0 + one["a"] for one in small.decode(small.grid(8))}, now)
    column = cut_column(small, sizes, hands, hands, 0, silent, 4.5, None, groups.append, said.append)
    assert (groups, said) == ([2], [])
    assert column is not None
