"""Which subsets are judged, and which are best."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.distill.cuts import judging as module
from distilsearch.distill.cuts.judging import ALL, Judged, best_cuts, judged_cuts, searched
from distilsearch.distill.texts.data import measured_on
from distilsearch.errors import Interrupted


def _rated(worth):
    """Losses under which layers have a worth each: what a cut loses is what it leaves out."""
    return lambda subsets, done: {s: sum(worth) - sum(worth[layer] for layer in s) for s in subsets}


def test_of_few_layers_all_subsets_are_judged() -> None:
    made = searched(5, [1, 2, 4], _rated([1, 2, 3, 4, 5]))
    assert set(made) == {s for size in (1, 2, 4) for s in combinations(range(5), size)}


@given(st.lists(st.floats(0.1, 10), min_size=ALL + 1, max_size=14, unique=True))
def test_where_layers_do_not_depend_on_each_other_the_searches_find_the_best_of_every_depth(worth) -> None:
    asked: list[tuple[int, ...]] = []
    rated = _rated(worth)

    def ask(subsets, done):
        assert done == len(asked)
        asked.extend(subsets)
        return rated(subsets, done)

    made = searched(len(worth), range(1, len(worth)), ask)
    assert len(asked) <= module._subsets_in(len(worth), range(1, len(worth)))
    assert len(asked) == len(set(asked)) == len(made)
    for size in range(1, len(worth)):
        best = tuple(sorted(sorted(range(len(worth)), key=lambda layer: -worth[layer])[:size]))
        assert min(made[s] for s in made if len(s) == size) == pytest.approx(made[best])


def test_the_best_few_of_each_depth_below_the_teachers_are_chosen() -> None:
    judged = Judged({(0,): 0.5, (1,): 0.4, (2,): 0.6, (0, 2): 0.3, (0, 1): 0.3, (0, 1, 2): 0.0})
    assert best_cuts(judged, [1, 2, 3], 3, 2) == ["1", "0", "0,1", "0,2"]


def test_what_was_judged_is_found_again(teacher, text, monkeypatch) -> None:
    said: list[str] = []
    judged = judged_cuts(teacher, text, [1, 2, 3], lambda what, done, total: said.append(what))
    assert len(judged.losses) == 6  # the teacher itself is no cut of it
    assert set(said) == {"judging cuts"}
    monkeypatch.setattr(module, "Peeled", None)
    assert judged_cuts(teacher, text, [1, 2]) == judged


def test_of_other_depths_only_those_are_measured_that_are_not_known(teacher, text) -> None:
    said: list[float] = []
    judged_cuts(teacher, text, [1], lambda what, done, total: said.append(total))
    both = judged_cuts(teacher, text, [1, 2], lambda what, done, total: said.append(total))
    assert set(said) == {3}
    assert {len(subset) for subset in both.losses} == {1, 2}


def test_whoever_is_asked_to_end_stops_between_two_cuts(teacher, text) -> None:
    asked: list[str] = []

    def between() -> None:
        asked.append("here")
        if len(asked) == 2:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        judged_cuts(teacher, text, [1, 2], between=between)
    assert len(asked) == 2
    assert not list(module.targets_folder().glob("cuts-*.json"))


def test_when_its_time_is_over_what_was_judged_counts_and_a_later_call_goes_on(teacher, text, monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def told(what: str, done: float, total: float) -> None:
        now[0] += 1.0

    part = judged_cuts(teacher, text, [1, 2], told, seconds=2.5)
    assert part.short == "3 of at most 6 cuts were judged in the 2.5 s there were"
    assert len(part.losses) == 3
    with monkeypatch.context() as patch:
        patch.setattr(module, "Peeled", None)
        again = judged_cuts(teacher, text, [1, 2], told, seconds=2.5)  # the same question has the same answer
    assert (again, again.short) == (part, part.short)
    now[0], said = 0.0, list[float]()
    whole = judged_cuts(teacher, text, [1, 2], lambda what, done, total: said.append(done), seconds=3.0)
    assert (len(whole.losses), whole.short) == (6, "")
    assert whole.losses.items() >= part.losses.items()
    assert len(said) == 6 - 3 + 1
    assert judged_cuts(teacher, text, [1, 2], seconds=2.5) == whole


def test_of_texts_that_differ_in_what_is_held_out_cuts_are_judged_once(teacher, text, monkeypatch) -> None:
    judged = judged_cuts(teacher, text, [1, 2])
    monkeypatch.setattr(module, "Peeled", None)
    other = measured_on(text, len(text.heldout) - 1)
    assert other.sha256 != text.sha256
    assert judged_cuts(teacher, other, [1, 2]) == judged


def test_cuts_that_a_former_version_named_by_the_whole_text_are_found(teacher, text, monkeypatch) -> None:
    judged = judged_cuts(teacher, text, [1, 2])
    (path,) = module.targets_folder().glob("cuts-*.json")
    blocks = next(n for n in range(100) if module._place(teacher, n, text.learnt) == path)
    path.rename(module._place(teacher, blocks, text.sha256))
    monkeypatch.setattr(module, "Peeled", None)
    assert judged_cuts(teacher, text, [1, 2]) == judged


class _Paced:
    """Judges at a pace of its own: a second a cut, or another from one on."""

    def __init__(self, now, seconds):
        self.now, self.seconds = now, seconds

    def losses(self, subsets, told, going, step):
        subsets, made, place = sorted(subsets), {}, 0
        while place < len(subsets) and going():
            self.now[0] += self.seconds(len(made))
            made[subsets[place]] = 1.0
            told(len(made))
            place += step(len(subsets) - place - 1)
        return made


def _judged_by(monkeypatch, seconds, depth, until):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    sizes = range(1, depth)
    asking = module._Asking(
        _Paced(now, seconds), {}, module._subsets_in(depth, sizes), until, module.silent, module.nothing
    )
    return searched(depth, sizes, asking), asking.stopped


def test_where_time_is_short_what_is_judged_lies_evenly_among_all(monkeypatch) -> None:
    made, stopped = _judged_by(monkeypatch, lambda n: 1.0, 6, 20.5)
    every = sorted(s for size in range(1, 6) for s in combinations(range(6), size))
    places = [every.index(s) for s in made]
    assert stopped
    assert 16 <= len(made) <= 21
    assert max(b - a for a, b in pairwise([*places, len(every)])) <= 5
    assert _judged_by(monkeypatch, lambda n: 1.0, 6, 61.5) == (dict.fromkeys(every, 1.0), False)


def test_a_slow_beginning_leaves_nothing_out_that_there_is_time_for(monkeypatch) -> None:
    made, stopped = _judged_by(monkeypatch, lambda n: 10.0 if n == 0 else 0.1, 6, 100.0)
    assert (len(made), stopped) == (62, False)


def test_a_search_of_many_layers_that_is_short_of_time_reaches_every_depth(monkeypatch) -> None:
    made, stopped = _judged_by(monkeypatch, lambda n: 1.0, 12, 60.5)
    assert stopped
    assert len(made) <= 61
    assert {len(s) for s in made} == set(range(1, 12))


def test_where_time_is_short_fewer_blocks_are_looked_at(teacher) -> None:
    blocks = [module._blocks(teacher, 100, seconds) for seconds in (1e9, 10.0, 1.0, 0.1)]
    assert blocks[0] == blocks[1] == module._blocks(teacher, 100)
    assert blocks == sorted(blocks, reverse=True)


@given(st.lists(st.floats(0.1, 10), min_size=ALL + 1, max_size=12, unique=True), st.integers(0, 60))
def test_searches_that_are_stopped_anywhere_end(worth, most) -> None:
    rated, asked = _rated(worth), list[tuple[int, ...]]()

    def ask(subsets, done):
        asked.extend(subsets[: most - len(asked)])
        return rated(asked[done:], done)

    made = searched(len(worth), [1, 2, 3], ask)
    assert set(made) == set(asked)
    assert len(made) <= most


def test_damaged_notes_are_measured_again(teacher, text) -> None:
    judged = judged_cuts(teacher, text, [1, 2])
    (path,) = module.targets_folder().glob("cuts-*.json")
    path.write_text('{"losses": {"0,0": 1}}')
    assert judged_cuts(teacher, text, [1, 2]) == judged
