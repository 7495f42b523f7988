"""What a run hands back, from facts alone."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.distill.store.trial import read_trial
from distilsearch.engine.job.ledger import Entry
from distilsearch.engine.job.machines.machines import Latency
from distilsearch.engine.job.outcome.bought import card_rows
from distilsearch.engine.job.outcome.choice import CHOICES, pair_key
from distilsearch.engine.job.outcome.exports import export_students
from distilsearch.engine.job.outcome.facts import Final, MachineFacts, RunFacts
from distilsearch.engine.job.outcome.result import conclude, members, rank_fidelity, trace, warnings
from distilsearch.engine.report.readings import Reading, headline
from distilsearch.engine.report.report import render
from distilsearch.engine.report.schema import RankFidelity, ResultFile
from distilsearch.engine.report.terminal import final_table
from distilsearch.errors import RunError
from distilsearch.families import family
from distilsearch.lowering import parameter_count

POINTS = [(0.9, 1.0), (0.3, 2.0), (0.25, 4.0), (0.2, 8.0), (0.5, 3.0)]  # loss, ms; the last one is dominated
SPACE = family("bert").space(
    {"layers": [1, 2, 3, 4, 5, 6], "width": [64], "heads": [2], "ffn": [64], "inherit": ["even"]}
)
*STUDENTS, TEACHER = SPACE.decode(SPACE.grid(100))


def entry(number: int, loss: float, ms: float, **facts: Any) -> Entry:
    latencies = {"latency_ms": {"predicted": ms, "lower": 0.9 * ms, "upper": 1.1 * ms, "measured": 1.01 * ms}}
    known = {"tokens": 100, "parameters": 10, "curve": [[50, 1.0], [100, loss]], "latencies": latencies}
    return Entry(number, number, STUDENTS[number], "complete", (loss, ms), known | facts)


ENTRIES = [entry(i, loss, ms) for i, (loss, ms) in enumerate(POINTS)]
LATENCIES = {
    student.key: Latency(ms, 0.9 * ms, 1.1 * ms, ms) for student, (_, ms) in zip(STUDENTS, POINTS, strict=True)
}


def machine(teacher_ms: float = 10.0, latencies: dict[str, Latency] | None = None, **changes: Any) -> MachineFacts:
    latencies = LATENCIES | {TEACHER.key: Latency(10.0, 9.0, 11.0, teacher_ms)} | (latencies or {})
    return MachineFacts("latency_ms", "cpu", {"batch": 1}, True, latencies, **changes)


@pytest.fixture
def facts(tmp_path: Path) -> RunFacts:
    corner = {"loss": 1.0, "latency_ms": 10.0}
    return RunFacts(tmp_path, "mine", "a teacher", "embedding", TEACHER, 0.0, ENTRIES, [machine()], corner)


def keys(entries: list[Entry]) -> list[int]:
    return [e.number for e in entries]


def test_a_result_names_front_knee_teacher_and_all_trials(facts: RunFacts) -> None:
    failed = Entry(5, 5, STUDENTS[0], "failed", cause="it diverged")
    result = conclude(replace(facts, entries=[*ENTRIES, failed], students={STUDENTS[1].key: "students/x"}))
    file = result.file
    assert [m.key for m in result.front] == [s.key for s in STUDENTS[:4]]
    assert result.knee == STUDENTS[1].key
    assert [m.student for m in result.front] == [None, "students/x", None, None]
    assert [t.number for t in file.trials] == list(range(6))
    assert file.trials[5].cause == "it diverged"
    assert file.trials[5].latencies == {}
    first = file.front[0].latencies["latency_ms"]
    assert (first.predicted, first.measured, first.measured_first) == (1.0, 1.0, 1.01)
    assert file.teacher.parameters == parameter_count(TEACHER)
    assert ResultFile.from_json(result.data) == file
    assert "layers × 64 is" in render(file)


def test_a_finished_student_has_its_final_loss_and_length_and_hides_nobody(facts: RunFacts) -> None:
    final = Final("k" * 64, 900, 0.1)
    result = conclude(replace(facts, finals={STUDENTS[1].key: final}))
    assert [m.key for m in result.front] == [s.key for s in STUDENTS[:4]]
    member = result.front[1]
    assert (member.loss, member.flash_loss, member.tokens, member.flash_tokens) == (0.1, 0.3, 900, 100)
    assert result.file.trials[1].loss == 0.3
    assert result.knee == STUDENTS[1].key


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    losses=st.lists(st.none() | st.floats(0.01, 1.5), min_size=5, max_size=5),
    choose=st.sampled_from([*CHOICES]),
    loss_at_most=st.none() | st.floats(0.1, 1.0),
    limit=st.none() | st.floats(0.5, 9.0),
)
def test_finishing_changes_neither_the_front_nor_the_choice(facts, losses, choose, loss_at_most, limit) -> None:
    facts = replace(facts, choose=choose, loss_at_most=loss_at_most, machines=[machine(limit_ms=limit)])
    before = conclude(facts)
    finals = {s.key: Final("k", 900, x) for s, x in zip(STUDENTS, losses, strict=True) if x is not None}
    after = conclude(replace(facts, finals=finals))
    assert [m.key for m in after.front] == [m.key for m in before.front]
    assert after.knee == before.knee
    assert (after.knee is None) == (not after.front)
    assert after.knee is None or after.knee in {m.key for m in after.front}


def test_a_final_training_that_raises_the_loss_is_not_handed_back(facts: RunFacts) -> None:
    entries = [entry(i, loss, ms, trial=f"flash {i}") for i, (loss, ms) in enumerate(POINTS)]
    worse = replace(facts, entries=entries, finals={STUDENTS[1].key: Final("final", 900, 0.4)})
    assert [e.facts["trial"] for e in members(worse)] == [f"flash {i}" for i in range(4)]
    result = conclude(worse)
    assert result.knee == STUDENTS[1].key
    assert (result.front[1].loss, result.front[1].tokens) == (0.3, 100)
    (warning,) = result.file.warnings
    assert f"{STUDENTS[1].key} was trained on 900 tokens more and its loss rose from 0.3 to 0.4" in warning


def test_what_training_bought_is_told_and_where_it_bought_nothing(facts: RunFacts) -> None:
    curves = [[[0, start], [100, loss]] for start, (loss, _) in zip((0.95, 0.25, 0.4, 0.2), POINTS, strict=False)]
    entries = [entry(i, *POINTS[i], curve=curve) for i, curve in enumerate(curves)]
    result = conclude(replace(facts, entries=entries))
    assert [member.untrained_loss for member in result.front] == [0.95, 0.25, 0.4, 0.2]
    (warning,) = result.file.warnings
    assert "training bought nothing for 2 of 4 students" in warning
    assert f"{STUDENTS[1].key} (0.2500, then 0.3000), {STUDENTS[3].key} (0.2000, then 0.2000)" in warning
    assert "from 0.050" in render(result.file)
    scored = [entry(i, *POINTS[i], curve=[[0, POINTS[i][0]]], tokens=0) for i in range(4)]
    slices = conclude(replace(facts, entries=scored))
    assert [member.untrained_loss for member in slices.front] == [None] * 4
    assert not slices.file.warnings


def test_on_how_many_blocks_untrained_losses_are_is_known_of_the_training_that_is_handed_back(facts: RunFacts) -> None:
    entries = [entry(i, *POINTS[i], curve=[[0, 0.9], [100, POINTS[i][0]]], untrained_blocks=44) for i in range(4)]
    finals = {
        STUDENTS[1].key: Final("k" * 64, 900, 0.1, untrained=(0.8, None)),
        STUDENTS[2].key: Final("l" * 64, 900, 0.05),  # of a version that did not take it
    }
    told = replace(facts, entries=entries, finals=finals, environment={"heldout_blocks": 190})
    file = conclude(told).file
    losses = [(member.untrained_loss, member.untrained_blocks) for member in file.front]
    assert losses == [(0.9, 44), (0.8, None), (0.9, 44), (0.9, 44)]
    assert "untrained was measured on the first 44 of the 190 held-out blocks" in render(file)
    (words, *_), (finished, *_) = (card_rows(file, member).values() for member in file.front[:2])
    assert words == "0.9000 (0.9000 before training, on 44 of 190 held-out blocks)"
    assert finished == "0.1000 (0.8000 before training)"


def test_limits_hold_in_the_result(facts: RunFacts) -> None:
    assert keys(members(replace(facts, machines=[machine(limit_ms=4.0)]))) == [0, 1, 2]
    nothing = conclude(replace(facts, machines=[machine(limit_ms=0.5)]))
    assert (nothing.front, nothing.knee) == ((), None)


def test_with_a_limit_the_best_within_it_is_chosen_and_the_page_says_the_limit(facts: RunFacts) -> None:
    here = machine(limit_ms=5.0, limit="0.5x teacher")
    result = conclude(replace(facts, machines=[here], choose="quality"))
    assert result.knee == STUDENTS[2].key
    assert result.file.targets[0].limit == "0.5x teacher"
    assert "Chosen is the best quality within the limit: the star" in render(result.file)
    assert conclude(replace(facts, loss_at_most=0.3)).file.choose == "loss_at_most"
    assert "limit 5.00 ms (0.5x teacher)" in render(result.file)
    assert headline(Reading(result.file)) == "3 layers × 64 is 2.5× faster than the teacher at 0.75 agreement"


def test_who_breaks_a_limit_on_size_is_not_handed_back(facts: RunFacts) -> None:
    small = machine(beyond=frozenset({STUDENTS[1].key}))
    assert keys(members(replace(facts, machines=[small]))) == [0, 4, 2, 3]


def test_the_pair_of_student_and_serving_has_its_own_key(facts: RunFacts) -> None:
    member = Architecture("bert", {**STUDENTS[1].values, "served.dtype": "int8"})
    here = machine(latencies={member.key: Latency(1.5, 1.4, 1.6)})
    quick = replace(entry(1, 0.35, 1.5), architecture=member)
    result = conclude(replace(facts, entries=[entry(0, 0.9, 1.0), quick], machines=[here]))
    key = result.front[1].key
    assert key.startswith(f"{STUDENTS[1].key}-")
    assert (result.front[1].served, result.file.trials[1].key) == ({"dtype": "int8"}, key)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_at_most": 0.1}, "no student keeps loss_at_most = 0.1"),
        ({"machines": [machine(20.0)]}, "the teacher was measured at 20 ms"),
        ({"machines": [machine(slowness={TEACHER.key: 1.4})]}, "1.40 times slower than when quiet"),
        (
            {"machines": [machine(repeats={TEACHER.key: 1.3, STUDENTS[0].key: 1.02})]},
            "latency_ms of 1 of 2 models, measured side by side again, differed by more than 10% (up to 30%)",
        ),
    ],
)
def test_a_reader_is_warned(facts: RunFacts, changes: dict[str, Any], message: str) -> None:
    changed = replace(facts, **changes)
    (warning,) = warnings(changed, members(changed))
    assert message in warning
    assert warnings(replace(facts, loss_at_most=0.5), members(facts)) == ()
    skipped = replace(facts, environment={"text": ["2 of 5 rows hold no text"]})
    assert warnings(skipped, members(facts)) == ("text: 2 of 5 rows hold no text",)


@pytest.mark.parametrize(("final", "spearman"), [((0.8, 0.2, 0.1), 1.0), ((0.5, 0.5, 0.5), None), ((0.5, 0.4), None)])
def test_ranks_of_equal_or_few_losses_are_no_number(facts: RunFacts, final, spearman) -> None:
    finals = {e.architecture.key: Final("k", 900, loss) for e, loss in zip(ENTRIES, final, strict=False)}
    ranks = rank_fidelity(replace(facts, finals=finals))
    assert ranks.spearman == (spearman and pytest.approx(spearman))
    assert ranks.pairs == len(final)
    measured = RankFidelity(spearman=0.5, kendall=0.4, pairs=9)
    assert rank_fidelity(replace(facts, finals=finals, fidelity=measured)) is measured


def test_a_measurement_carries_what_is_known_of_its_own_error(facts: RunFacts) -> None:
    here = machine(slowness={STUDENTS[0].key: 1.7, TEACHER.key: 1.0}, repeats={STUDENTS[0].key: 1.02})
    file = conclude(replace(facts, machines=[here])).file
    latency = file.front[0].latencies["latency_ms"]
    assert (latency.measured, latency.slowness, latency.repeated) == (1.0, 1.7, 1.02)
    teacher = file.teacher.latencies["latency_ms"]
    assert (teacher.measured, teacher.slowness, teacher.repeated) == (10.0, 1.0, None)
    assert ResultFile.from_json(file.to_json()) == file


def test_the_trace_grows_by_every_complete_trial(facts: RunFacts) -> None:
    volumes = trace(facts)
    assert volumes == tuple(sorted(volumes))
    assert volumes[0] == pytest.approx(0.1 * 9.0)
    assert trace(replace(facts, entries=[])) == ()


def test_students_are_copied_whole_and_replaced(tmp_path: Path) -> None:
    trial = read_trial(sorted((Path(__file__).parents[3] / "old" / "0.1.0" / "trials").iterdir())[0])
    gone = replace(trial, home=tmp_path / "gone")
    old = tmp_path / "run" / "students" / "a"
    shutil.copytree(trial.student, old)
    (old / "config.json").write_text("old")
    assert export_students(tmp_path / "run", {"a": trial, "b": gone}) == {"a": "students/a"}
    assert (old / "config.json").read_bytes() == (trial.student / "config.json").read_bytes()
    assert [p.name for p in old.parent.iterdir()] == ["a"]
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot copy a student"):
        export_students(tmp_path / "file", {"a": trial})


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    losses=st.lists(st.floats(0.01, 2.0), min_size=5, max_size=5),
    finals=st.dictionaries(st.integers(0, 4), st.floats(0.01, 4.0)),
    rule=st.sampled_from([*CHOICES, 0.2, 1.0]),
)
def test_whoever_is_chosen_is_on_the_front_whatever_final_training_did_to_its_loss(facts, losses, finals, rule) -> None:
    entries = [entry(i, loss, ms) for i, (loss, (_, ms)) in enumerate(zip(losses, POINTS, strict=True))]
    trained = {STUDENTS[i].key: Final("k" * 64, 900, loss) for i, loss in finals.items()}
    choice = {"loss_at_most": rule} if isinstance(rule, float) else {"choose": rule}
    whole = replace(facts, entries=entries, finals=trained, **choice)
    exported = {pair_key(one): f"students/{pair_key(one)}" for one in members(whole)}
    result = conclude(replace(whole, students=exported))
    (knee,) = (member for member in result.front if member.key == result.knee)
    assert knee.student == f"students/{knee.key}"
    assert knee.loss <= knee.flash_loss
    (first, *_) = final_table(result.file).columns
    assert [cell for cell in map(str, first.cells) if cell.startswith("★")] == [f"★ {knee.key}"]
