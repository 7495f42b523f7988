"""Which of many requests are counted."""

import numpy as np

from distilsearch.distill.texts.requests import drawn


def test_of_many_requests_each_is_as_likely_as_any_other_and_always_the_same_are_drawn() -> None:
    many = [str(place) for place in range(20_000)]
    found = drawn(iter(many), 2_000)
    assert found == drawn(many, 2_000)
    assert len(set(found)) == 2_000
    tenths, _ = np.histogram([int(one) for one in found], bins=10, range=(0, 20_000))
    assert tenths.min() > 150  # 200 each, give or take 13
    assert tenths.max() < 250
    assert drawn(many[:5], 5) == drawn(many[:5], 9) == many[:5]
