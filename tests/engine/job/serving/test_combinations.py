"""Choices of runtime, precision and mode: combinations that there are not stay out of the space, by the file alone."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch.engine.job.runfile.sections import TargetSection
from distilsearch.engine.job.serving.combinations import in_short, possible, refused
from distilsearch.engine.job.serving.served import ServedSpace
from distilsearch.errors import DeviceError, InputError
from distilsearch.operators import Serving
from distilsearch.profiling.runtimes import RUNTIMES
from distilsearch.profiling.runtimes.eager import Eager
from distilsearch.space import Parameter, SearchSpace
from distilsearch.testing import spaces

DTYPES, MODES = ("float32", "bfloat16", "float16"), ("eager", "compile")


class Other(Eager):
    """A runtime of two precisions of its own."""

    dtypes = ("float32", "bfloat16")


@pytest.fixture(autouse=True)
def other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNTIMES, "other", Other)
    monkeypatch.setitem(RUNTIMES, "third", Other)


def small() -> SearchSpace:
    return SearchSpace("generic", [Parameter("depth", (1, 2))])


def subset(choices):
    return st.lists(st.sampled_from(choices), min_size=1, unique=True)


CHOICES = st.fixed_dictionaries({
    "runtime": subset(["torch", "other", "third"]), "dtype": subset(DTYPES), "mode": subset(MODES),
})  # fmt: skip


def naive(choices) -> list[Serving]:
    rows = [dict(zip(choices, c, strict=True)) for c in itertools.product(*choices.values())]
    return [
        Serving(**row)
        for row in rows
        if row["runtime"] == "torch" or (row["mode"] == "eager" and row["dtype"] in Other.dtypes)
    ]


@given(CHOICES, spaces(largest=3))
@settings(max_examples=25)
def test_members_are_the_pairs_of_a_student_and_a_possible_serving(choices, students) -> None:
    expected = naive(choices)
    lost = [c for name, listed in choices.items() for c in listed if c not in {getattr(s, name) for s in expected}]
    if lost and any(len(listed) > 1 for listed in choices.values()):
        with pytest.raises((InputError, ValueError)):
            ServedSpace.extend(students, [TargetSection(serving=choices)])
        return
    if lost:  # one serving, and it is none: the device refuses it
        return
    section = TargetSection(serving=choices)
    served = ServedSpace.extend(students, [section])
    assert set(served.servings) == set(expected)
    rows = served.space.grid(100_000)
    members = served.space.decode(rows)
    pairs = [served.split(member) for member in members]
    assert [served.join(*pair) for pair in pairs] == members
    assert set(pairs) == set(itertools.product(students.decode(students.grid(100_000)), expected))
    assert len(pairs) == len(set(pairs)) == served.space.size
    assert [served.servings[i] for i in served.index(rows)] == [serving for _, serving in pairs]
    figures = served.by_serving(rows, lambda serving, codes: np.full(len(codes), served.servings.index(serving)))
    assert figures.tolist() == served.index(rows).tolist()


@given(CHOICES)
@settings(max_examples=25)
def test_twins_that_have_one_loss_differ_in_what_the_loss_ignores_alone(choices) -> None:
    try:
        section = TargetSection(serving=choices)
    except ValueError:
        return
    students = ServedSpace.extend(small(), [section])
    by_loss: dict[tuple, set[str]] = {}
    for serving in students.servings:
        told = {f"served.{name}": getattr(serving, name) for name in students.choices}
        by_loss.setdefault(tuple(told[name] for name in students.together), set()).add(serving.artefact)
    assert all(len(artefacts) == 1 for artefacts in by_loss.values())
    assert set(students.together) | set(students.ignores) == set(students.names)
    assert set(students.artefacts) == {serving.artefact for serving in students.servings} - {""}


@pytest.mark.parametrize(
    ("serving", "together"),
    [
        ({"dtype": ["float32", "bfloat16"], "mode": ["eager", "compile"]}, ("served.dtype",)),
        ({"runtime": ["torch", "other"], "mode": "eager"}, ()),
        ({"runtime": ["torch", "other"], "dtype": ["float32", "bfloat16"]}, ("served.dtype", "served.runtime")),
        ({"runtime": ["torch", "other"], "dtype": ["float32", "float16"]}, ("served.dtype",)),
        ({"dtype": "bfloat16", "mode": ["eager", "compile"]}, ()),
    ],
)  # fmt: skip
def test_the_loss_depends_on_precision_and_on_the_runtime_where_two_round(serving, together) -> None:
    served = ServedSpace.extend(small(), [TargetSection(serving=serving)])
    assert served.together == together


def test_what_no_combination_has_is_named() -> None:
    with pytest.raises(InputError, match=r"serving dtype 'float16' is served with none of runtime = \['other', 'thi"):
        possible({"runtime": ["other", "third"], "dtype": ["float32", "float16"]})
    with pytest.raises(InputError, match="unknown runtime 'othr': did you mean 'other'"):
        possible({"runtime": ["othr", "torch"]})
    with pytest.raises(InputError, match=r"serving mode 'compile' is served with none of"):
        possible({"runtime": "other", "mode": ["eager", "compile"]})


def test_a_target_that_is_not_judged_tells_one_loss() -> None:
    trained = TargetSection(serving={"dtype": ["float32", "bfloat16"]}, loss="trained")
    served = ServedSpace.extend(small(), [trained])
    assert (served.artefacts, served.together, served.ignores) == ({}, (), ("served.dtype",))
    two = [TargetSection(), TargetSection(serving={"dtype": "bfloat16"})]  # a student has one loss
    assert ServedSpace.extend(small(), two).artefacts == {}
    alike = [TargetSection(serving={"dtype": "bfloat16", "batch": batch}) for batch in (1, 8)]
    assert list(ServedSpace.extend(small(), alike).artefacts) == ["torch bfloat16"]


def test_what_a_machine_lacks_is_refused_by_name() -> None:
    def check(serving: Serving) -> None:
        if serving.dtype == "float16":
            raise DeviceError("no such kernels")

    servings = tuple(Serving(dtype=dtype) for dtype in DTYPES)
    with pytest.raises(InputError, match=r"of 3 ways of serving, this machine lacks 1 \(torch float16: no such kern"):
        refused(servings, check)
    with pytest.raises(DeviceError, match=r"^no such kernels$"):
        refused(servings[2:], check)
    refused(servings[:2], check)
    assert in_short(Serving(mode="compile")) == "torch compile float32"
