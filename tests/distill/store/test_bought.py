"""What training bought: taken before and after, kept with the trial, on the card, and never part of a student."""

from dataclasses import replace
from pathlib import Path

import pytest

from distilsearch.distill.course import Course
from distilsearch.distill.material import Material
from distilsearch.distill.quality import Bought
from distilsearch.distill.recipes import default_recipe
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.bought import NOTHING, PROBE, TEXT, bought, nothing, section
from distilsearch.distill.store.deliver import Order, deliver
from distilsearch.distill.store.trial import STUDENT, UNTRAINED, read_trial
from distilsearch.distill.students.card import CARD
from distilsearch.distill.texts.probe import Probe, load_probe
from distilsearch.distill.training import distill_student
from distilsearch.testing.teachers import write_text

TOKENS = 2048
RECIPE = default_recipe("embedding")


@pytest.fixture
def probe(teacher, text, tmp_path: Path) -> Probe:
    return load_probe([str(write_text(tmp_path / "second.txt", seed=7))], [], teacher, text)


def test_a_students_loss_on_the_probe_is_taken_before_and_after_and_changes_nothing(
    teacher, text, probe, make_architecture
) -> None:
    student = make_architecture(teacher)
    plain = distill_student(teacher, student, text, RECIPE, TOKENS, precision="float32")
    seen = distill_student(teacher, student, text, RECIPE, TOKENS, precision="float32", probe=probe.text)
    assert plain.probe is None
    assert seen.probe is not None
    assert seen.probe.before is not None
    assert 0 < seen.probe.after < 2
    assert seen.loss == plain.loss
    assert (seen.about, seen.curve) == (plain.about, plain.curve)


def test_what_was_taken_while_training_is_what_the_archive_would_take_later(
    teacher, text, probe, archive, make_architecture, tmp_path: Path
) -> None:
    course = Course.resolved(teacher, text, RECIPE, TOKENS, 0, "float32", "cpu")
    student = make_architecture(teacher)
    asked = (teacher, text, [student], course.recipe, course.training)
    (trial,) = archive.distil(*asked, probe=probe.text)
    kept = {score.artefact: score.values["loss"] for score in read_trial(trial.folder).scores[1:]}
    assert list(kept) == [UNTRAINED, STUDENT]
    other = Archive(tmp_path / "other")
    (untold,) = other.distil(*asked)
    assert len(untold.scores) == 1
    gains = bought(other, untold, course, probe, {})
    gain = gains[f"{PROBE}, second.txt"]
    assert gain.before == pytest.approx(kept[UNTRAINED], abs=1e-6)
    assert gain.after == pytest.approx(kept[STUDENT], abs=1e-6)
    where = f"on {untold.untrained_blocks} of {len(text.heldout)} held-out blocks"
    assert gains[TEXT] == Bought(text.sha256, untold.untrained_loss, untold.loss, where=where)
    assert len(read_trial(untold.folder).scores) == 3


def test_the_card_of_a_delivery_says_what_training_bought(
    teacher, text_file, probe, make_architecture, tmp_path: Path
) -> None:
    material = Material(str(teacher.folder), [str(text_file)], text_block=32, probe_text=[str(tmp_path / "second.txt")])
    order = Order(material, {make_architecture(teacher): {}}, TOKENS, precision="float32")
    (made,) = deliver(order, tmp_path / "out")
    card = (made.folder / CARD).read_text()
    assert f"| {PROBE}, second.txt | {made.gains[f'{PROBE}, second.txt'].words} |" in card
    assert "aaa" not in card  # no word of the text
    untold = replace(order, material=replace(material, probe_text=("auto",)))
    deliver(untold, tmp_path / "out")
    assert "| probe | none: the text is not English" in (made.folder / CARD).read_text()


def test_nothing_is_bought_where_no_figure_has_become_better() -> None:
    worse, better = Bought("", 0.2, 0.3), Bought("", 0.2, 0.3, rising=True)
    assert nothing({"a": worse})
    assert nothing({"a": worse, "b": Bought("", None, 0.1)})
    assert not nothing({"a": worse, "b": better})
    assert not nothing({"b": Bought("", None, 0.1)})
    assert section({"a": worse}, Probe(None, why="none was asked for")) == {
        "What training bought": {"a": "0.3000 (0.2000 before training)", "probe": "none: none was asked for",
                                 "in all": NOTHING}
    }  # fmt: skip
