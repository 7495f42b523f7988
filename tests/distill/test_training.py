"""One loop: it learns, resumes exactly, reports where it stands, and stops with the cause when it diverges."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.distill.compute.precision import resolve_precision
from distilsearch.distill.course import Course
from distilsearch.distill.flash import area, flash_distill
from distilsearch.distill.heldout.heldout import heldout_loss
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import EMBEDDING, MLM, RELATION, Recipe, View
from distilsearch.distill.side_by_side import CHECKPOINT
from distilsearch.distill.steps.drift import LONGEST, SHORTEST, Drift
from distilsearch.distill.steps.runs import EVALUATIONS
from distilsearch.distill.steps.schedule import Schedule
from distilsearch.distill.store.trial import TRUNK
from distilsearch.distill.students.student import Student, build_student
from distilsearch.distill.targets.targets import Targets
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.training import _former_key, distill_student, start
from distilsearch.errors import InputError, TrialError

TINY = replace(EMBEDDING, batch_tokens=256, views=(View(), View(16, 0.2)), warmup_tokens=1_000)
Make = Callable[..., Any]


def _weights(student: Student) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in student.model.state_dict().items()}


@pytest.mark.parametrize("recipe", [TINY, replace(RELATION, batch_tokens=256)], ids=lambda r: r.name)
@pytest.mark.parametrize("width", [32, 64])
def test_training_lowers_what_a_recipe_weighs(
    teacher: Teacher, text: Text, make_architecture: Make, recipe: Recipe, width: int
) -> None:
    architecture = make_architecture(teacher, width=width, heads=width // 16)
    run = start(teacher, architecture, text, recipe, 10_000, precision="float32")
    batch = run.targets.batch(0)
    before = sum(weight * run.losses(batch)[name].item() for name, weight in recipe.weights)
    while run.step < run.steps:
        run.advance()
    assert sum(weight * run.losses(batch)[name].item() for name, weight in recipe.weights) < 0.8 * before


def test_the_curve_begins_with_the_student_as_it_was_cut(
    teacher: Teacher, text_file: Path, make_architecture: Make
) -> None:
    text = load_text([str(text_file)], teacher, block=32, heldout_fraction=0.1)  # so few that all are looked at
    architecture = make_architecture(teacher)
    student = distill_student(teacher, architecture, text, TINY, 2_000, precision="float32")
    model, basis = build_student(teacher, architecture, text)
    (tokens, loss), *after = student.curve
    assert (tokens, loss) == (0, heldout_loss(teacher, text, model, architecture, ending=teacher.ending.cut(basis)))
    assert after[-1] == (student.tokens, student.loss)


def test_the_loss_is_that_of_the_returned_model(teacher: Teacher, text: Text, make_architecture: Make) -> None:
    architecture = make_architecture(teacher)
    student = distill_student(teacher, architecture, text, TINY, 10_000, precision="float32")
    assert student.loss == pytest.approx(heldout_loss(teacher, text, student.model, architecture))
    assert student.curve[-1] == (student.tokens, student.loss)


def test_a_student_of_the_teachers_own_shape_starts_as_the_teacher(
    teacher: Teacher, text: Text, make_architecture: Make
) -> None:
    architecture = make_architecture(teacher, layers=3, width=64, heads=4, ffn=128)
    model, basis = build_student(teacher, architecture, text)
    torch.testing.assert_close(basis, torch.eye(64))
    assert heldout_loss(teacher, text, model, architecture) == pytest.approx(0, abs=1e-6)


class StopError(Exception):
    """Stands for a kill."""


def test_resume_is_exact(teacher: Teacher, text: Text, make_architecture: Make, tmp_path: Path) -> None:
    architecture = make_architecture(teacher)
    options: dict[str, Any] = {"precision": "float32", "checkpoint_seconds": 0.0}
    whole = distill_student(teacher, architecture, text, TINY, 8_000, **options)

    def stop(what: str, done: float, total: float) -> None:
        if done > total * 0.6:
            raise StopError

    with pytest.raises(StopError):
        distill_student(teacher, architecture, text, TINY, 8_000, folder=tmp_path, progress=stop, **options)
    seen: list[float] = []
    told = lambda what, done, total: seen.append(done) if total else None  # noqa: E731
    resumed = distill_student(teacher, architecture, text, TINY, 8_000, folder=tmp_path, progress=told, **options)
    assert min(seen) > 0.5 * 8_000
    assert resumed.curve == whole.curve
    torch.testing.assert_close(_weights(resumed), _weights(whole), rtol=0, atol=0)


@pytest.mark.parametrize("genes", [{}, {"inherit": "none"}], ids=["even", "none"])
def test_a_longer_run_goes_on_from_a_shorter_and_is_what_it_would_have_been(
    teacher: Teacher, text: Text, make_architecture: Make, tmp_path: Path, genes: dict[str, str]
) -> None:
    job: Any = (teacher, make_architecture(teacher, **genes), text, TINY)
    whole = distill_student(*job, 12_000, precision="float32")
    distill_student(*job, 4_000, precision="float32", folder=tmp_path / "short")
    trunk = shutil.copy(tmp_path / "short" / TRUNK, tmp_path / "kept")
    seen: list[float] = []
    for conditions in ({"folder": tmp_path / "short"}, {"since": [tmp_path / "absent", trunk]}):
        seen.clear()
        told = lambda what, done, total: seen.append(done) if total else None  # noqa: E731
        longer = distill_student(*job, 12_000, 0, "float32", progress=told, **conditions)
        assert 4_000 * (1 - TINY.decay) < seen[0] < 4_000
        assert longer.curve == whole.curve
        torch.testing.assert_close(_weights(longer), _weights(whole), rtol=0, atol=0)
    first = distill_student(*job, 4_000, precision="float32")  # the trunk is now the longer run's, past this one's
    left = (tmp_path / "short" / TRUNK).read_bytes()
    again = distill_student(*job, 4_000, precision="float32", folder=tmp_path / "short")
    torch.testing.assert_close(_weights(again), _weights(first), rtol=0, atol=0)
    assert (tmp_path / "short" / TRUNK).read_bytes() == left


@pytest.mark.parametrize("longer", [4_352, 5_000, 6_000, 8_000, 8_192])
def test_a_run_is_the_same_however_little_longer_it_is(
    teacher: Teacher, text: Text, make_architecture: Make, tmp_path: Path, longer: int
) -> None:
    job: Any = (teacher, make_architecture(teacher, layers=1), text, TINY)
    distill_student(*job, 4_000, precision="float32", folder=tmp_path)
    after = distill_student(*job, longer, precision="float32", folder=tmp_path)
    alone = distill_student(*job, longer, precision="float32")
    assert after.curve == alone.curve
    torch.testing.assert_close(_weights(after), _weights(alone), rtol=0, atol=0)
    assert (tmp_path / TRUNK).exists()


def test_layers_transferred_one_after_the_other_leave_no_trunk(
    teacher: Teacher, text: Text, make_architecture: Make, tmp_path: Path
) -> None:
    recipe = replace(TINY, weights=(("features", 1.0),), progressive=0.5)
    distill_student(teacher, make_architecture(teacher), text, recipe, 4_000, precision="float32", folder=tmp_path)
    assert not (tmp_path / TRUNK).exists()


def test_checkpoints_of_another_run_or_damaged_ones_are_ignored(
    teacher: Teacher, text: Text, make_architecture: Make, tmp_path: Path
) -> None:
    steps: list[float] = []

    def distil(seed: int) -> float:
        steps.clear()
        told = lambda what, done, total: steps.append(done) if total else None  # noqa: E731
        options: dict[str, Any] = {"checkpoint_seconds": 0.0, "progress": told}
        distill_student(teacher, make_architecture(teacher), text, TINY, 2_000, seed, "float32", tmp_path, **options)
        return min(steps, default=2_000.0)

    assert distil(seed=0) <= 256
    assert distil(seed=1) <= 256
    for name in (CHECKPOINT, TRUNK):
        (tmp_path / name).write_bytes(b"damaged")
    assert distil(seed=1) <= 256
    assert distil(seed=1) > 256


def test_divergence_is_a_failed_trial_with_its_cause(teacher: Teacher, text: Text, make_architecture: Make) -> None:
    wild = replace(TINY, learning_rate=1e30, clip=1e30, warmup_tokens=0)
    with pytest.raises(TrialError, match=r"diverged at step .*tokens nan"):
        distill_student(teacher, make_architecture(teacher), text, wild, 8_000, precision="float32")


def test_a_loss_that_rises_far_above_that_of_knowing_nothing_stops_the_training(
    mlm_teacher: Teacher, text_file: Path, make_architecture: Make
) -> None:
    text = load_text([str(text_file)], mlm_teacher, block=32, heldout_fraction=0.2)
    wild = replace(MLM, batch_tokens=256, learning_rate=1.0, warmup_tokens=800)
    with pytest.raises(TrialError, match=r"diverged at step 16 of 31 \(the loss has risen to .*learning rate"):
        distill_student(mlm_teacher, make_architecture(mlm_teacher), text, wild, 8_000, precision="float32")


@pytest.mark.parametrize("recipe", [EMBEDDING, replace(EMBEDDING, near=1.0, learning_rate=1e-2)], ids=["near", "far"])
def test_a_student_that_starts_without_a_loss_may_get_one(
    teacher: Teacher, text: Text, make_architecture: Make, recipe: Recipe
) -> None:
    own = make_architecture(teacher, layers=3, width=64, heads=4, ffn=128)
    run = start(teacher, own, text, replace(recipe, batch_tokens=256, warmup_tokens=5_000), 10_000, precision="float32")
    before = run.losses(run.targets.batch(0))["tokens"].item()
    while run.step < run.steps:
        run.advance()
    assert run.losses(run.targets.batch(0))["tokens"].item() > 10 * before


def test_losses_are_held_against_their_own_stage_window_by_window() -> None:
    def follow(drift: Drift, losses: list[float]) -> list[bool]:
        return [drift.follow(loss) for loss in losses for _ in range(SHORTEST)]

    drift = Drift()
    assert drift.begins(0)
    drift.begin(0, 1.0)
    assert not drift.begins(0)
    assert not any(follow(drift, [9.0, 8.0, 2.0, 2.9]))  # high and falling, or not far above
    told = follow(drift, [4.5, 9.0])
    assert [step for step, far in enumerate(told) if far] == [SHORTEST - 1, 2 * SHORTEST - 1]
    assert drift.begins(None)
    drift.begin(None, 10.0)
    assert not any(follow(drift, [9.0, 29.0]))


@pytest.mark.parametrize(("steps", "window"), [(0, SHORTEST), (1_000, 50), (10**6, LONGEST)])
def test_windows_grow_with_the_steps_so_far(steps: int, window: int) -> None:
    drift = Drift(steps=steps - 1)
    drift.begin(None, 1.0)
    while drift.before is None:
        drift.follow(1.0)
    assert drift.steps - steps + 1 == pytest.approx(window, abs=3)


def test_two_epochs_see_other_views_and_cached_targets_equal_live_ones(
    teacher: Teacher, text: Text, make_architecture: Make
) -> None:
    cached = Targets(teacher, text, TINY, "float32")
    live = Targets(teacher, text, TINY, "float32", cache_limit=0)
    for step in (0, 1, cached.batches, cached.batches + 1):
        first, again, other = cached.batch(step), cached.batch(step), live.batch(step)
        torch.testing.assert_close(first.input_ids, other.input_ids, rtol=0, atol=0)
        for name in first.targets:
            torch.testing.assert_close(first.targets[name], again.targets[name], rtol=0, atol=0)
            torch.testing.assert_close(first.targets[name], other.targets[name], rtol=0, atol=0)


def test_masked_lm_students_learn(mlm_teacher: Teacher, text_file: Path, make_architecture: Make) -> None:
    text = load_text([str(text_file)], mlm_teacher, block=32, heldout_fraction=0.2)
    architecture = make_architecture(mlm_teacher)
    recipe = replace(MLM, batch_tokens=256)
    run = start(mlm_teacher, architecture, text, recipe, 10_000, precision="float32")
    batch = run.targets.batch(0)
    before = {name: value.item() for name, value in run.losses(batch).items()}
    while run.step < run.steps:
        run.advance()
    assert all(value.item() < before[name] for name, value in run.losses(batch).items())
    student = flash_distill(mlm_teacher, architecture, text, recipe, tokens=2_000, precision="float32")
    assert student.loss == pytest.approx(heldout_loss(mlm_teacher, text, student.model, architecture))
    losses = [loss for _, loss in student.curve]
    assert min(losses) <= area(student.curve) <= max(losses)


def test_a_student_with_another_vocabulary_is_refused(teacher: Teacher, text: Text, make_architecture: Make) -> None:
    with pytest.raises(TrialError, match="vocabulary"):
        distill_student(teacher, make_architecture(teacher, vocabulary=100), text, TINY, 1_000)
    with pytest.raises(InputError, match="at least one token"):
        distill_student(teacher, make_architecture(teacher), text, TINY, 0)


def test_precision_is_probed_or_named() -> None:
    assert resolve_precision("auto") in ("float32", "bf16")
    assert resolve_precision("bf16") == "bf16"
    with pytest.raises(InputError, match="bf16"):
        resolve_precision("bf61")


def test_the_schedule_is_complete() -> None:
    rates = [Schedule(steps=100, rise=10, fall=50, trunk=50)(step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert set(rates[10:51]) == {1.0}
    assert rates[50:] == pytest.approx([(100 - step) / 50 for step in range(50, 100)])
    assert Schedule.of(TINY, 1, 256)(0) == 1.0


@given(steps=st.integers(1, 500), more=st.integers(0, 500), decay=st.floats(0.01, 1.0), warmup=st.integers(0, 100_000))
def test_runs_of_any_two_lengths_are_one_up_to_the_shorters_trunk(
    steps: int, more: int, decay: float, warmup: int
) -> None:
    recipe = replace(TINY, decay=decay, warmup_tokens=warmup)
    short, long = (Schedule.of(recipe, s, 256) for s in (steps, steps + more))
    assert all(0 < short(step) <= 1 for step in range(steps))
    assert 0 <= short.trunk <= long.trunk < long.steps
    assert [short(step) for step in range(short.trunk)] == [long(step) for step in range(short.trunk)]
    staged = Schedule.of(replace(recipe, progressive=0.3), steps, 256)
    assert [staged(step) for step in range(steps)] == [short(step) for step in range(steps)]
    assert staged.trunk == 0


@given(since=st.integers(1, 60), more=st.integers(1, 300), decay=st.sampled_from([0.25, 0.5, 0.75, 1.0]))
def test_what_is_foreseen_to_be_shared_is_what_runs_share(since: int, more: int, decay: float) -> None:
    recipe, short, long = replace(EMBEDDING, decay=decay), 8 * since, 8 * (since + more)  # every share a whole step
    trunk = Schedule.of(recipe, short, 1_024).trunk
    asked = {share * long for share in EVALUATIONS if share * long <= trunk}
    shared = trunk if asked <= {share * short for share in EVALUATIONS} else 0
    assert recipe.shared(1_024 * short, 1_024 * long) == 1_024 * shared


def test_tokens_are_shared_by_runs_that_go_on() -> None:
    assert EMBEDDING.shared(160_000, 800_000) == EMBEDDING.shared(160_000, 320_000) == 80_000
    assert EMBEDDING.shared(160_000, 240_000) == 0
    assert EMBEDDING.shared(0, 160_000) == EMBEDDING.shared(20_000, 800_000) == 0
    assert replace(EMBEDDING, progressive=0.5).shared(160_000, 800_000) == 0


@pytest.mark.parametrize(("rule", "scales"), [("none", [1, 1, 30]), ("even", [1, 1])])
def test_a_word_table_that_starts_at_random_learns_at_a_rate_of_its_own(
    teacher: Teacher, text: Text, make_architecture: Make, rule: str, scales: list[float]
) -> None:
    run = start(teacher, make_architecture(teacher, inherit=rule), text, TINY, 2_000, precision="float32")
    tables = [p for name, p in run.model.named_parameters() if name.endswith("word_embeddings.weight")]
    run.advance()
    rate = run.rate * run.schedule(0)
    groups = run.optimizer.param_groups
    assert [group["lr"] / rate for group in groups] == pytest.approx(scales)
    assert (groups[-1]["params"] == tables) == (rule == "none")
    assert sum(len(group["params"]) for group in groups) == len(run.parameters)


@pytest.mark.parametrize(
    ("genes", "kept"),
    [
        ({"layers": 3, "width": 64, "heads": 4}, 1.0),
        ({"layers": 1, "width": 64, "heads": 4}, 1 / 3),
        ({"layers": 3, "width": 32}, 0.0),
        ({"layers": 3, "width": 64, "heads": 4, "inherit": "none"}, 0.0),
    ],
)
def test_what_is_kept_of_the_teacher_sets_the_rate(
    teacher: Teacher, text: Text, make_architecture: Callable[..., Any], genes: dict[str, Any], kept: float
) -> None:
    run = start(teacher, make_architecture(teacher, **genes), text, EMBEDDING, 1_000, precision="float32")
    assert run.objective.kept == pytest.approx(kept)
    assert run.rate == pytest.approx(EMBEDDING.rate(kept))


def test_trunks_of_0_1_0_are_gone_on_from(
    teacher: Teacher, text: Text, make_architecture: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job: Any = (teacher, make_architecture(teacher), text, TINY)
    with monkeypatch.context() as former:
        course = Course(teacher, text, TINY, 4_000, 0, "float32")
        former.setattr(Training, "way", lambda self, architecture: _former_key(course, architecture))
        distill_student(*job, 4_000, precision="float32", folder=tmp_path)
    seen: list[float] = []
    told = lambda what, done, total: seen.append(done) if total else None  # noqa: E731
    distill_student(*job, 12_000, 0, "float32", tmp_path, told)
    assert 0 < seen[0] < 4_000
