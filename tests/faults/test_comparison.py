"""What a disturbed run is told by: each way to be wrong is seen."""

from dataclasses import replace

from .world import Facts, compared

WHOLE = Facts(
    trials=(("a", "complete", 0.5), ("b", "complete", 0.25)),
    causes=(),
    knee="a",
    students={"a": "weights of a"},
    kept={"training of a": "weights of a", "training of b": "weights of b"},
    files=frozenset({"run/result.json"}),
)


def test_equal_runs_differ_in_nothing() -> None:
    difference = compared(WHOLE, WHOLE)
    assert (difference.lost, difference.doubled, difference.corrupted) == (0, 0, 0)
    assert not difference.strayed
    assert difference.left_over == ()


def test_what_is_lost_doubled_or_corrupted_is_counted() -> None:
    first, second = WHOLE.trials
    assert compared(replace(WHOLE, trials=(first,)), WHOLE).lost == 1
    assert compared(replace(WHOLE, trials=(first, second, second)), WHOLE).doubled == 1
    assert compared(replace(WHOLE, trials=(first, ("b", "complete", 0.26))), WHOLE).corrupted == 1
    assert compared(replace(WHOLE, students={"a": "others"}), WHOLE).corrupted == 1
    spoilt = replace(WHOLE, kept={"training of a": "others"})
    assert compared(spoilt, WHOLE).corrupted == 1
    assert compared(spoilt, WHOLE, beside="training of a").corrupted == 0
    assert compared(replace(spoilt, students={"a": "others"}), WHOLE, beside="training of a").corrupted == 1


def test_another_order_and_files_left_over_are_told() -> None:
    assert compared(replace(WHOLE, trials=WHOLE.trials[::-1]), WHOLE).strayed
    again = replace(WHOLE, trials=(("b", "failed", None), *WHOLE.trials))
    assert not compared(again, WHOLE).strayed  # what was lost by accident was made again, in its order
    assert compared(replace(again, trials=(again.trials[0], *WHOLE.trials[::-1])), WHOLE).strayed
    more = replace(WHOLE, files=WHOLE.files | {"run/.fragment"})
    assert compared(more, WHOLE).left_over == ("run/.fragment",)


def test_a_trial_that_fails_for_a_cause_of_its_own_is_not_lost_but_others_are() -> None:
    first, _ = WHOLE.trials
    failed = replace(WHOLE, trials=(first, ("b", "failed", None)))
    assert compared(failed, WHOLE, failed=1).lost == 0
    assert compared(failed, WHOLE).lost == 1
    assert compared(replace(WHOLE, trials=()), WHOLE, failed=1).lost == 1
