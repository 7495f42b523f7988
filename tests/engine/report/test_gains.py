"""What training bought, on the page and in the terminal: before and after, and where it is no better."""

from typing import Any

import pytest
from rich.console import Console

from distilsearch.engine.job.outcome.bought import card_rows, warnings
from distilsearch.engine.report.gains import figures, gain_words
from distilsearch.engine.report.readings import Reading
from distilsearch.engine.report.report import render
from distilsearch.engine.report.schema import ResultFile
from distilsearch.engine.report.terminal import final_table, gain_lines


@pytest.fixture
def plain(result: dict[str, Any]) -> dict[str, Any]:
    """A result whose members all gained on the text."""
    front = [member | {"loss": 0.2, "untrained_loss": 0.3} for member in result["front"]]
    return result | {"front": front, "quality": "agreement", "warnings": []}


def probed(plain: dict[str, Any], after: float, quality: str = "agreement", **more: Any) -> ResultFile:
    students = {member["key"]: {"before": 0.25, "after": after} for member in plain["front"]}
    probe = {"name": "docs", "heldout": "x", "blocks": 64, "quality": quality, "students": students}
    return ResultFile.from_json(plain | {"probe": probe} | more)


def test_a_loss_that_rose_on_the_probe_is_named_where_it_fell_on_the_text(plain: dict[str, Any]) -> None:
    file = probed(plain, 0.4)
    member = file.front[0]
    assert figures(Reading(file), member) == {
        "Agreement, held-out text": (pytest.approx(0.7), pytest.approx(0.8)),
        "Agreement, docs": (0.75, pytest.approx(0.6)),
    }
    page = render(file)
    assert "<h2>What training bought</h2>" in page
    assert "from 0.750, no better" in page
    assert "docs is the probe: 64 blocks" in page
    (warning,) = warnings(file)
    assert f"for {len(file.front)} of {len(file.front)} students, by the loss on the probe, docs" in warning
    assert card_rows(file, member) == {
        "held-out loss": "0.2000 (0.3000 before training)",
        "loss on the probe, docs": "0.4000 (0.2500 before training)",
    }
    assert not list(warnings(probed(plain, 0.1)))
    assert ResultFile.from_json(file.to_json()) == file


def test_losses_of_words_are_better_where_they_are_less(plain: dict[str, Any]) -> None:
    file = probed(plain, 0.1, "masked-LM loss")
    assert "Masked-LM loss, docs 0.250 -> 0.100" in gain_words(Reading(file), file.front[0])
    assert "no better" not in gain_words(Reading(file), file.front[0])


def test_pairs_are_held_beside_the_untrained_student(plain: dict[str, Any]) -> None:
    keys = [member["key"] for member in plain["front"]]
    scores = {"students": {key: {"values": {"spearman": 0.7}} for key in keys}}
    scores |= {"untrained": {keys[0]: {"values": {"spearman": 0.8}}}, "teacher": {"values": {"spearman": 0.9}}}
    entry = {"evaluation": "similarity", "title": "sts.csv", "heldout": "x"} | scores
    file = ResultFile.from_json(plain | {"evaluations": [entry]})
    first = next(member for member in file.front if member.key == keys[0])
    assert gain_words(Reading(file), first).endswith("Spearman, sts.csv 0.800 -> 0.700 (no better)")
    assert "for 1 of 1 students, by the sts.csv, Spearman" in next(iter(warnings(file)))


def test_where_there_is_no_probe_the_page_says_why(plain: dict[str, Any]) -> None:
    file = ResultFile.from_json(plain | {"probe": {"why": "the text is <not> English"}})
    assert "the text is &lt;not&gt; English." in render(file)
    assert gain_lines(file)[-1] == "  no probe of what it brings beyond the text: the text is <not> English"
    old = ResultFile.from_json({name: value for name, value in plain.items() if name != "probe"})
    assert old.probe is None
    assert "There is no probe" not in render(old)


def test_the_terminal_says_what_each_student_was_trained_on_where_that_differs(plain: dict[str, Any]) -> None:
    def shown(tokens: list[int]) -> str:
        front = [member | {"tokens": count} for member, count in zip(plain["front"], tokens, strict=True)]
        console = Console(width=160)
        with console.capture() as capture:
            console.print(final_table(ResultFile.from_json(plain | {"front": front})))
        return capture.get()

    count = len(plain["front"])
    assert "360 k" in shown([360_000] + [160_000] * (count - 1))
    assert "trained" not in shown([160_000] * count)
