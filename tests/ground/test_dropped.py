"""Choices that constraints drop are named, with what would fit them; all others are left in peace."""

import pytest

from distilsearch.dropped import dropped
from distilsearch.errors import InputError
from distilsearch.families import family
from distilsearch.space import Constraint, Parameter, SearchSpace


@pytest.mark.parametrize(
    ("name", "genes", "said"),
    [
        ("bert", {"width": [100, 128], "heads": [8, 12]},
         ["width = 100 is left out: heads must divide width into heads of size 16 to 64; "
          "with width = 100 heads may be 2, 4, 5", "heads = 12 is left out: heads must divide width"]),
        ("bert", {"width": [128, 256], "heads": [2, 4, 7]}, ["heads = 7 is left out: heads must divide width into"]),
        ("bert", {"width": [128, 256], "heads": [2, 4]}, []),
        ("llama", {"heads": [4], "kv_heads": [3, 4], "width": [64]}, ["kv_heads = 3 is left out: kv_heads must"]),
        ("llama", {"head_size": [31, 32]}, ["head_size = 31 is left out: head_size must be even"]),
        ("mobilebert", {"bottleneck": [100, 128], "heads": [8]}, ["bottleneck = 100 is left out: heads must divide"]),
    ],
)  # fmt: skip
def test_what_no_student_can_have_is_named(name: str, genes: dict[str, list[int]], said: list[str]) -> None:
    words = dropped(family(name).space(genes))
    assert len(words) == len(said)
    assert all(beginning in whole for beginning, whole in zip(said, words, strict=True))


def test_an_empty_space_says_what_would_fit() -> None:
    with pytest.raises(InputError, match=r"is valid; .*heads must divide width.*with width = 100 heads may be 2, 4, 5"):
        family("bert").space({"width": [100], "heads": [8, 12]})


def test_rules_of_strangers_are_named_too() -> None:
    genes = [Parameter("a", (1, 2)), Parameter("b", (1, 2)), Parameter("kind", ("x", "y"), ordered=False)]
    one = SearchSpace("generic", genes, [Constraint(("a", "kind"), lambda a, kind: a == 1 or kind == "z")])
    assert dropped(one) == ["a = 2 is left out: a rule on a and kind"]
    both = [Constraint(("a", "b"), lambda a, b: a != 2 or b == 2), Constraint(("b", "kind"), lambda b, _: b == 1)]
    assert dropped(SearchSpace("generic", genes, both)) == [
        "a = 2 is left out: the constraints together allow it with no choice of the other genes",
        "b = 2 is left out: a rule on b and kind",
    ]
    assert dropped(SearchSpace("generic", genes, [Constraint(None, lambda values: values["a"] == 1)])) == []
