"""Sweeps on a fake device: they find the true times under disturbance, keep their budget and are resumed."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilsearch.architecture import Architecture
from distilsearch.home import file_lock
from distilsearch.operators import Operator, Serving
from distilsearch.places import MACHINE_LOCK
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.profiling import LatencyTable, collect, measure, open_device, profile, table_folder
from distilsearch.profiling.collect import WAITING
from distilsearch.profiling.measuring.alarms import suspects
from distilsearch.profiling.tables import rounds as files
from distilsearch.space import SearchSpace

Fake = Callable[..., Any]


def in_bursts(now: float) -> bool:
    """Disturbed for two fifths of the time, in bursts of a fifth of a second."""
    return now % 0.5 < 0.2


def test_disturbance_is_seen_through(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> None:
    device = make_fake(disturbed=in_bursts)
    table = profile(space, device, serving, store, clock=device.clock)
    errors = [row.measured.seconds_p10 / device.true_seconds(row.operator, serving) - 1 for row in table.operators]
    assert max(np.abs(errors)) < 0.05
    assert max(row.measured.relative_iqr for row in table.operators) > 0.3
    assert table.meta.noise_floor < 0.03


def test_meta_says_what_was_reached(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> None:
    device = make_fake(noise=0.0)
    table = profile(space, device, serving, store, clock=device.clock)
    seconds = 1e-5 + 1e-3
    assert table.meta.peak_flops["float32"] == pytest.approx(1e6 / seconds)
    assert table.meta.launch_floor_seconds == pytest.approx(1e-5)
    assert table.meta.noise_floor == pytest.approx(0.0, abs=1e-9)
    assert table.meta.additivity_error < 0  # a fake model is cheaper than its parts: one floor instead of many
    for row in table.operators:
        assert row.roofline_seconds == table.roofline_seconds([row.operator], row.regime)[0] > 0


def test_the_second_time_measures_nothing(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> None:
    first = make_fake()
    table = profile(space, first, serving, store, clock=first.clock)
    second = make_fake()
    again = profile(space, second, serving, store, clock=second.clock)
    assert not second.prepared
    assert again.operators == table.operators
    assert again.models == table.models


def test_only_what_is_new_is_measured(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> None:
    first, second = make_fake(), make_fake()
    known = profile(space, first, serving, store, models=0, clock=first.clock)
    new = Operator.parse("norm(batch=1,norm=layer,residual=1,sequence=8,width=48)")
    table = profile([space, new], second, serving, store, models=0, clock=second.clock)
    assert [work for work in second.prepared if isinstance(work, Operator)] == [new]
    assert len(table.operators) == len(known.operators) + 1


def test_a_budget_is_kept_and_the_next_call_continues(
    space: SearchSpace, serving: Serving, store: Path, make_fake: Fake
) -> None:
    whole = make_fake()
    full = profile(space, whole, serving, store.with_name("full"), clock=whole.clock)
    device, counts = make_fake(), []
    for number in range(40):
        start = device.clock.now()
        table = profile(space, device, serving, store, budget_seconds=0.5, clock=device.clock)
        counts.append(len(table.operators) + len(table.models))
        assert device.clock.now() - start < (1.5 if number else 3.0)  # the first one times an operator of each kind
        if counts[-1] == len(full.operators) + len(full.models):
            break
    assert counts == sorted(counts)
    assert len(counts) > 1
    assert counts[-1] == len(full.operators) + len(full.models)


def test_where_whole_models_alone_are_lacking_they_have_a_share_of_the_budget(
    space: SearchSpace, serving: Serving, store: Path, make_fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "MODELS_SECONDS", 0.0)
    first, device = make_fake(), make_fake()
    some = profile(space, first, serving, store, models=2, clock=first.clock)
    start = device.clock.now()
    table = profile(space, device, serving, store, budget_seconds=3.0, clock=device.clock)
    assert device.clock.now() - start < 2.5  # the least rounds take about one
    assert len(some.models) < len(table.models)
    whole = profile(space, device, serving, store, clock=device.clock)
    assert len(table.models) < len(whole.models)
    assert len(table.operators) == len(some.operators)


def test_the_smallest_budget_leaves_a_table_that_predicts(
    space: SearchSpace, serving: Serving, store: Path, make_fake: Fake
) -> None:
    whole, device = make_fake(), make_fake()
    full = profile(space, whole, serving, store.with_name("full"), clock=whole.clock)
    table = profile(space, device, serving, store, budget_seconds=1e-6, clock=device.clock)
    assert {row.operator.kind for row in table.operators} == {row.operator.kind for row in full.operators}
    assert len(table.operators) < len(full.operators)
    assert LatencyPredictor.fit(table).compile(space, serving)(space.grid(100)).min() > 0


def test_a_killed_sweep_is_resumed(
    space: SearchSpace, serving: Serving, store: Path, make_fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    device = make_fake()
    visits = iter(range(150))

    def dying(name: str, done: float, total: float) -> None:
        if name == "timing" and next(visits) == 3:
            raise Killed

    with pytest.raises(Killed):
        profile(space, device, serving, store, progress=dying, clock=device.clock)
    assert files.names(table_folder(device, store))
    resumed = make_fake()
    table = profile(space, resumed, serving, store, clock=resumed.clock)
    assert all(row.measured.rounds >= 8 for row in table.operators)


def test_what_cannot_run_is_recorded_and_not_tried_again(
    space: SearchSpace, serving: Serving, store: Path, make_fake: Fake
) -> None:
    def wide(work: object) -> bool:
        return isinstance(work, Operator) and work.kind == "linear" and work.sizes["outputs"] == 128

    def pooled(work: object) -> bool:
        return isinstance(work, Operator) and work.kind == "pooling"

    device = make_fake(too_large=wide, unsupported=pooled)
    table = profile(space, device, serving, store, clock=device.clock)
    statuses = {row.operator.kind: row.measured.status for row in table.operators if not row.measured.usable}
    assert statuses == {"linear": "oom", "pooling": "unsupported"}
    again = make_fake()
    profile(space, again, serving, store, clock=again.clock)
    assert not again.prepared


def test_measure_answers_in_order(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> None:
    device = make_fake(disturbed=in_bursts)
    models: list[Architecture] = space.decode(space.sample(5, np.random.default_rng(0)))
    found = measure([*models, models[0]], device, serving, store, clock=device.clock)
    for architecture, times in zip(models, found, strict=False):
        assert times.seconds_p10 == pytest.approx(device.true_seconds(architecture, serving), rel=0.05)
    assert found[-1] == found[0]
    stored = LatencyTable.read(table_folder(device, store))
    assert {row.architecture for row in stored.models} == set(models)
    assert {row.serving for row in stored.models} == {serving}


def test_measure_keeps_its_budget(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> None:
    device = make_fake()
    models = space.decode(space.grid(100))
    start = device.clock.now()
    found = measure(models, device, serving, store, clock=device.clock, budget_seconds=1.0)
    assert device.clock.now() - start < 2.0
    assert {times.status for times in found} == {"ok", "skipped"}


def test_progress_tells_the_time_before_it_starts(
    space: SearchSpace, serving: Serving, store: Path, make_fake: Fake
) -> None:
    device, told = make_fake(), list[tuple[str, float, float]]()
    profile(space, device, serving, store, progress=lambda *said: told.append(said), clock=device.clock)
    announced = [what for what, _, _ in told if "operators and" in what]
    assert len(announced) == 1
    assert all(0 <= done <= total for _, done, total in told)
    last = {what: (done, total) for what, done, total in told if total}
    assert set(last) == {"preparing", "timing"}
    assert all(done == total for done, total in last.values())  # nothing is left that seems to go on


def test_what_was_waited_for_is_over_before_any_timing_begins(
    space: SearchSpace, serving: Serving, store: Path, make_fake: Fake
) -> None:
    device, told = make_fake(), list[tuple[str, float, float]]()
    folder = table_folder(device, store)
    folder.mkdir(parents=True)
    held = ExitStack()
    held.enter_context(file_lock(folder.parent / MACHINE_LOCK))

    def report(*said: Any) -> None:
        told.append(said)
        held.close()

    profile(space, device, serving, store, progress=report, clock=device.clock)
    assert told[:2] == [(WAITING, 0, 1), (WAITING, 1, 1)]


@pytest.mark.parametrize(("gib", "least"), [(1.0, 1), (1e-5, 10)])
def test_no_more_is_held_than_the_device_has_room_for(
    gib: float, least: int, space: SearchSpace, serving: Serving, store: Path, make_fake: Fake, monkeypatch: Any
) -> None:
    device, began = make_fake(), list[Serving]()
    facts, sentinel = {**device.facts(), "memory_gib": gib}, device.sentinel
    monkeypatch.setattr(device, "facts", lambda: facts)
    monkeypatch.setattr(device, "sentinel", lambda asked: began.append(asked) or sentinel(asked))
    table = profile(space, device, serving, store, models=1, clock=device.clock)
    assert all(row.measured.usable for row in (*table.operators, *table.models))
    assert least <= len(began) <= 4 * least + len(table.operators) * (least > 1)


def test_several_servings_share_a_table(space: SearchSpace, store: Path, make_fake: Fake) -> None:
    device = make_fake()
    servings = [Serving(sequence=8, threads=1), Serving(sequence=8, threads=2), Serving(batch=4, sequence=8)]
    table = profile(space, device, servings, store, clock=device.clock, models=1)
    assert {row.regime.threads for row in table.operators} == {1, 2, 4}
    assert {row.serving.batch for row in table.models} == {1, 4}


def test_alarms_are_measured_again(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> None:
    """An operator far slower than larger ones gets more rounds than the rest; what is right then stands."""
    device = make_fake()
    start = device.clock.now()
    device.disturbed = lambda now: now - start < 1.0
    table = profile(space, device, serving, store, models=0, clock=device.clock)
    assert not suspects(table)
    worse = dataclasses.replace(table.operators[0].measured, seconds_p10=1e-9)
    damaged = dataclasses.replace(table.operators[0], measured=worse)
    assert suspects(dataclasses.replace(table, operators=(damaged, *table.operators[1:]))) == [damaged]
    linear = max((r for r in table.operators if r.operator.kind == "linear"), key=lambda r: r.flops)
    small = min((r for r in table.operators if r.operator.kind == "linear"), key=lambda r: r.flops)
    slow = dataclasses.replace(linear.measured, seconds_p10=10 * linear.measured.seconds_p10)
    odd = dataclasses.replace(small, measured=slow)
    same_words = dataclasses.replace(linear, operator=widened(small.operator))
    assert odd in suspects(dataclasses.replace(table, operators=(odd, same_words)))


def widened(operator: Operator) -> Operator:
    return Operator("linear", {**operator.sizes, "outputs": 10 * int(operator.sizes["outputs"])})


def test_a_session_that_is_slow_from_end_to_end_is_folded_into_a_quiet_one(
    space: SearchSpace, serving: Serving, store: Path, make_fake: Fake
) -> None:
    """The table remembers how fast the sentinel was when the machine was quiet."""
    models = space.decode(space.sample(2, np.random.default_rng(0)))
    quiet = make_fake()
    assert measure(models, quiet, serving, store, clock=quiet.clock)[0].status == "ok"
    loaded = make_fake(disturbed=lambda now: True)
    again = measure(models, loaded, serving, store, clock=loaded.clock)
    for model, times in zip(models, again, strict=True):
        assert times.seconds_p10 == pytest.approx(loaded.true_seconds(model, serving), rel=0.05)
        assert times.sentinel_ratio > 1.5
    kept = {row.architecture: row.measured for row in LatencyTable.read(table_folder(loaded, store)).models}
    assert kept[models[0]].seconds_p10 == pytest.approx(loaded.true_seconds(models[0], serving), rel=0.05)


def test_a_sentinel_that_a_large_model_drove_out_of_the_caches_makes_the_model_no_faster(
    space: SearchSpace, serving: Serving, store: Path, make_fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a quiet machine a table holds what was timed, however much each case leaves of the sentinel's data."""
    device, evicted = make_fake(), [0.0]
    works, prepare, sentinel = list[Any](), device.prepare, device.sentinel

    def ready(*asked: Any) -> Evicting:
        works.append(prepare(*asked))
        return Evicting(works[-1], evicted)

    monkeypatch.setattr(device, "prepare", ready)
    monkeypatch.setattr(device, "sentinel", lambda asked: Evicted(sentinel(asked), evicted))
    serving = dataclasses.replace(serving, sequence=64)
    table = profile(space, device, serving, store, clock=device.clock)
    assert max(work.true for work in works) > 0.01  # long enough to drive everything out
    for row in table.models:
        assert row.measured.seconds_p10 == pytest.approx(device.true_seconds(row.architecture, serving), rel=0.05)
        assert row.measured.sentinel_ratio < 1.1


@dataclasses.dataclass
class Evicting:
    """Work that leaves the less of others' data in the caches, the longer it takes."""

    work: Any
    evicted: list[float]

    def seconds(self, calls: int) -> float:
        self.evicted[0] = min(1.0, 100 * self.work.true)
        return float(self.work.seconds(calls))


@dataclasses.dataclass
class Evicted:
    """A sentinel that is slower while not all of its data is back; each call brings back a third of what lacks."""

    work: Any
    evicted: list[float]

    def seconds(self, calls: int) -> float:
        slower = 1 + 0.8 * self.evicted[0]
        self.evicted[0] *= 0.65
        return slower * float(self.work.seconds(calls))


def test_two_processes_lose_nothing_and_measure_nothing_twice(store: Path) -> None:
    code = (
        "from distilsearch.families import family; from distilsearch.operators import Serving;"
        "from distilsearch.profiling import profile;"
        "genes = dict(layers=[1], width=[32], heads=[2], ffn=[64, 128], vocabulary=[100]);"
        f"profile(family('bert').space(genes), 'cpu', Serving(sequence=8, threads=1), {str(store)!r}, models=0)"
    )
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(timeout=1800) for process in running] == [0, 0]
    parts = files.read_all(table_folder(open_device("cpu"), store))
    rows = [row for part in parts for row in part.rows.to_pylist() if row["kind"] == "operator"]
    assert len({row["signature"] for row in rows}) == 10
    assert len({(row["signature"], row["session"]) for row in rows}) == 10
