"""Lengths of requests in a few nodes, against what all requests take one by one."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch.errors import InputError
from distilsearch.length_nodes import FEWEST_REQUESTS, MOST_NODES, request_lengths
from distilsearch.operators import Serving
from distilsearch.request_lengths import RequestLengths

Law = Callable[[float], float]

many = st.lists(st.integers(1, 512), min_size=FEWEST_REQUESTS, max_size=300)
few = st.lists(st.sampled_from([3, 9, 40]), min_size=FEWEST_REQUESTS, max_size=24)
laws = st.tuples(st.floats(0.1, 10), st.floats(0.01, 1), st.floats(0, 1e-3)).map(
    lambda c: lambda length: c[0] + c[1] * length + c[2] * length**2
)


def at_nodes(lengths: RequestLengths, law: Law) -> float:
    return sum(weight * law(node) for node, weight in zip(lengths.nodes, lengths.weights, strict=True))


@given(many, st.integers(1, 8), st.integers(4, MOST_NODES))
def test_nodes_are_few_of_the_lengths_and_their_weights_sum_to_one(lengths: list[int], batch: int, most: int) -> None:
    found = request_lengths(lengths, batch, most)
    assert set(found.nodes) <= set(lengths)
    assert len(found.nodes) <= most
    assert sum(found.weights) == pytest.approx(1.0, abs=1e-12)
    assert (found.nodes[0], found.longest, found.requests) == (min(lengths), max(lengths), len(lengths))


@settings(deadline=None)
@given(many, laws)
def test_the_mean_is_that_of_all_requests(lengths: list[int], law: Law) -> None:
    found, naive = request_lengths(lengths), float(np.mean([law(length) for length in lengths]))
    assert found.mean == pytest.approx(float(np.mean(lengths)), rel=1e-3)
    assert at_nodes(found, law) == pytest.approx(naive, rel=0.03)
    assert at_nodes(found, law) >= naive * (1 - 1e-3)  # a curve that bends upwards lies below its chords


@pytest.mark.parametrize(
    ("drawn", "most_over"),
    [
        (np.random.default_rng(0).integers(1, 513, 20_000), 0.02),
        (np.clip(np.random.default_rng(0).exponential(100, 20_000), 3, 512), 0.04),
        (np.clip(np.random.default_rng(0).lognormal(3.2, 0.7, 20_000), 3, 512), 0.06),
    ],
    ids=["even", "exponential", "lognormal"],
)
def test_what_grows_with_the_square_is_overstated_by_a_few_per_cent(drawn: np.ndarray, most_over: float) -> None:
    lengths = drawn.astype(int)
    over = at_nodes(request_lengths(lengths.tolist()), lambda length: length**2) / float(np.mean(lengths**2)) - 1
    assert 0 < over < most_over


@given(many, laws)
def test_quantiles_are_those_of_all_requests(lengths: list[int], law: Law) -> None:
    found, taken = request_lengths(lengths), [law(length) for length in lengths]
    p50, p99 = np.quantile(taken, [0.5, 0.99], method="inverted_cdf")
    assert (law(found.p50), law(found.p99)) == (p50, p99)
    assert {found.p50, found.p99} <= set(found.nodes)


@given(few, st.integers(1, 3), laws)
def test_a_batch_takes_as_long_as_its_longest_request(lengths: list[int], batch: int, law: Law) -> None:
    found = request_lengths(lengths, batch)
    together = [law(max(drawn)) for drawn in itertools.product(lengths, repeat=batch)]
    assert at_nodes(found, law) == pytest.approx(float(np.mean(together)), rel=1e-4)
    p50, p99 = np.quantile(together, [0.5, 0.99], method="inverted_cdf")
    assert (law(found.p50), law(found.p99)) == (p50, p99)


def test_requests_of_one_length_are_one_node() -> None:
    found = request_lengths([12] * 40)
    assert (found.nodes, found.weights, found.p50, found.p99) == ((12,), (1.0,), 12, 12)


def test_where_a_few_lengths_say_it_all_more_are_not_taken() -> None:
    assert len(request_lengths([*[10] * 50, *range(9, 12), 400]).nodes) < MOST_NODES


@given(many, st.integers(1, 4))
def test_what_is_written_is_read_again(lengths: list[int], batch: int) -> None:
    found = request_lengths(lengths, batch)
    assert RequestLengths.parse(str(found)) == found
    served = Serving(batch=batch, lengths=found)
    assert Serving.from_json(served.to_json()) == served


@pytest.mark.parametrize("lengths", [[], [3] * (FEWEST_REQUESTS - 1), [0] * 30, [1 << 30] * 30])
def test_too_few_requests_or_senseless_ones_are_refused(lengths: list[int]) -> None:
    with pytest.raises(InputError, match=r"20 requests or more; got|a request has 1 to"):
        request_lengths(lengths)


@pytest.mark.parametrize(
    "text",
    ["", "text", "40 requests, p50 4, p99 4: ", "40 requests, p50 4, p99 4: 4 x 0.5", "4 x 1.000000",
     "40 requests, p50 5, p99 5: 4 x 1.000000", "40 requests, p50 4, p99 4: 4 x 0.500000",
     "40 requests, p50 4, p99 4: 4 x 0.500000, 4 x 0.500000", "40 requests, p50 8, p99 4: 4 x 0.500000, 8 x 0.500000",
     "0 requests, p50 4, p99 4: 4 x 1.000000", "40 requests, p50 0, p99 0: 0 x 1.000000"],
)  # fmt: skip
def test_what_sums_up_no_lengths_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"lengths of requests"):
        RequestLengths.parse(text)


LENGTHS = request_lengths([4] * 20 + [16] * 20)


@pytest.mark.parametrize("wrong", [{"phase": "prefill"}, {"phase": "decode"}, {"sequence": 64}, {"padded": True}])
def test_a_serving_has_lengths_or_a_sequence_and_reads_whole_requests(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"the phase 'encode'; got|both say how long requests are|leave padded out"):
        Serving(lengths=LENGTHS, **wrong)  # type: ignore[arg-type]


def test_one_request_alone_is_never_padded() -> None:
    for wrong in ({"batch": 1}, {"batch": 2, "phase": "prefill"}, {"batch": 2, "padded": 1}):
        with pytest.raises(InputError, match="padded is true or false, and true in the phase 'encode' alone"):
            Serving(**{"padded": True, **wrong})  # type: ignore[arg-type]
    assert Serving(batch=2, padded=True).tokens == "padded to 128 tokens"


def test_a_serving_of_many_lengths_is_one_serving_a_node() -> None:
    serving = Serving(lengths=LENGTHS, threads=1)
    assert serving.parts == ((Serving(sequence=4, threads=1), 0.5), (Serving(sequence=16, threads=1), 0.5))
    assert serving.sequence == 16
    assert Serving(sequence=7).parts == ((Serving(sequence=7), 1),)
