"""Whoever is told of work is told that it is over."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from distilsearch.progress import all_over

WORDS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 3)))


@given(WORDS, st.booleans())
def test_whatever_was_begun_is_over_in_the_end(words: list[tuple[str, int, int]], fails: bool) -> None:
    told: list[tuple[str, float, float]] = []
    with suppress(ValueError), all_over(lambda *said: told.append(said)) as progress:
        for word in words:
            progress(*word)
        if fails:
            raise ValueError
    assert told[: len(words)] == words
    last = {what: (done, total) for what, done, total in told if total}
    assert all(done >= total for done, total in last.values())
    assert all(total for _, _, total in told[len(words) :])  # none of it is a remark


def test_nobody_is_told_of_more_than_was_done() -> None:
    told: list[tuple[str, float, float]] = []
    with all_over(lambda *said: told.append(said)) as progress:
        progress("distil", 30, 90)
    assert told[-1] == ("distil", 30, 30)
