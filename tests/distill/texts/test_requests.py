"""Which of many requests are counted."""

import numpy as np

from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.requests import MOST_READ, TOLD, drawn, lengths_of


def test_of_many_requests_each_is_as_likely_as_any_other_and_always_the_same_are_drawn() -> None:
    many = [str(place) for place in range(20_000)]
    found = drawn(iter(many), 2_000)
    assert found == drawn(many, 2_000)
    assert len(set(found)) == 2_000
    tenths, _ = np.histogram([int(one) for one in found], bins=10, range=(0, 20_000))
    assert tenths.min() > 150  # 200 each, give or take 13
    assert tenths.max() < 250
    assert drawn(many[:5], 5) == drawn(many[:5], 9) == many[:5]


def test_whoever_waits_for_many_requests_is_told_how_many_were_read_and_counted(teacher: Teacher) -> None:
    told: list[tuple[str, float, float]] = []

    def note(what: str, done: float, total: float) -> None:
        told.append((what, done, total))

    lengths_of(["ba"] * (2 * TOLD + 5), teacher, note)
    read = [said[1:] for said in told if said[0] == "reading requests"]
    assert read == [(TOLD, MOST_READ), (2 * TOLD, MOST_READ), (2 * TOLD + 5, 2 * TOLD + 5)]
    assert told[-1] == ("counting the tokens of requests", 2 * TOLD + 5, 2 * TOLD + 5)
    told.clear()
    assert lengths_of(["ba"] * 50, teacher, note) == [3] * 50
    assert told == []
