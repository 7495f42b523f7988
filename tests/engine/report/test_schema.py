"""`result.json`: what is written is read, old files open, newer ones are refused, damage is named and nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilsearch.architecture import Architecture
from distilsearch.engine.report import schema
from distilsearch.engine.report.files import read_result, write_result
from distilsearch.engine.report.readings import Reading, headline
from distilsearch.engine.report.sections import SECTIONS
from distilsearch.engine.report.terminal import final_table
from distilsearch.errors import RunError

Result = dict[str, Any]
Path_ = tuple[str | int, ...]

OLD = Path(__file__).parents[2] / "old" / "0.1.0" / "run"

reals = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(max_size=6)
genes = st.dictionaries(words, st.booleans() | st.integers(-9, 9) | reals | words, max_size=3)
served = st.dictionaries(words, st.none() | st.integers(0, 9) | words, max_size=2)
latency = st.builds(schema.Latency, predicted=reals | st.none(), lower=reals | st.none(), measured=reals | st.none())
shared = {
    "architecture": st.builds(Architecture, words, genes),
    "parameters": st.integers(0, 2**40) | st.none(),
    "latencies": st.dictionaries(st.sampled_from(["latency_ms", "latency_ms_2"]), latency),
}
members = st.builds(schema.Member, key=words, served=served, loss=reals, student=words | st.none(), **shared)
trials = st.builds(
    schema.TrialEntry,
    key=words,
    served=served,
    number=st.integers(0, 99),
    state=st.sampled_from(["complete", "failed", "running", "waiting"]),
    loss=reals | st.none(),
    curve=st.lists(st.tuples(st.integers(0, 999), reals | st.none()), max_size=3).map(tuple),
    cause=words,
    **shared,
)
results = st.builds(
    schema.ResultFile,
    name=words,
    quality=st.sampled_from(["agreement", "masked-LM loss"]),
    objectives=st.just(("loss", "latency_ms")),
    reference=st.dictionaries(words, reals, max_size=2),
    teacher=st.builds(schema.TeacherEntry, name=words, loss=reals | st.none(), **shared),
    front=st.lists(members, max_size=2).map(tuple),
    knee=words | st.none(),
    trials=st.lists(trials, max_size=2).map(tuple),
    targets=st.just(()),
    rank_fidelity=st.builds(schema.RankFidelity, spearman=reals | st.none(), note=words),
    surrogate=st.none() | st.builds(schema.Surrogate, name=words, considered=st.dictionaries(words, reals | st.none())),
    environment=st.dictionaries(words, st.recursive(words | reals | st.none(), st.lists, max_leaves=4), max_size=2),
    warnings=st.lists(words, max_size=2).map(tuple),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(results)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_is_read(file: schema.ResultFile) -> None:
    text = json.dumps(file.to_json(), allow_nan=False)
    assert schema.ResultFile.from_json(json.loads(text)) == file


def test_an_old_result_opens_and_says_the_same() -> None:
    plain, file = json.loads((OLD / "result.json").read_text()), read_result(OLD)
    assert file.front[0].latencies["latency_ms"].measured == plain["front"][0]["latency_ms"]["measured"]
    assert not file.front[0].served
    assert _without(file.to_json(), plain) == plain
    for later in ("warnings", "rank_fidelity", "phases", "surrogate"):
        del plain[later]
    plain["teacher"]["loss"] = None
    for entry in (*plain["front"], *plain["trials"]):
        entry.pop("source")
        entry.get("latency_ms", {}).pop("measured_first", None)
    file = schema.ResultFile.from_json(plain)
    assert file.front[0].source == "trained"
    assert all(build(Reading(file)) for build in SECTIONS[:1])


def test_a_newer_schema_is_refused_by_name() -> None:
    newer = json.loads((OLD / "result.json").read_text()) | {"schema": schema.SCHEMA + 1}
    message = rf"x/result.json is of schema {schema.SCHEMA + 1}, written by a newer .* up to {schema.SCHEMA}: update"
    with pytest.raises(RunError, match=message):
        schema.ResultFile.from_json(newer, "x/result.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no result"),
        ("", "is damaged"),
        ("[]", "names no schema"),
        ('{"schema": true}', "names no schema"),
        ('{"schema": 1}', "name: field required; quality: field required; objectives: field required; and 6 more"),
        ('{"schema": 1, "name": "\\ud800"}', "is damaged"),
        ("[" * 100_000, "is damaged"),
        ("1" * 5_000, "is damaged"),
    ],
)
def test_damage_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    with pytest.raises(RunError, match=re.escape(message)):
        read_result(tmp_path)
    with pytest.raises(RunError, match="there is no folder"):
        read_result(tmp_path / "nowhere" / "else")


def test_wrong_types_are_named_with_their_place(result: Result) -> None:
    result["front"][0]["loss"] = "0.5"
    result["trials"][2]["architecture"]["values"]["layers"] = None
    with pytest.raises(RunError) as raised:
        schema.ResultFile.from_json(result)
    assert "front[0].loss: input should be a valid number" in str(raised.value)
    assert "trials[2].architecture" in str(raised.value)


def test_fields_of_others_are_kept(result: Result, tmp_path: Path) -> None:
    result["front"][0] |= {"remark": {"by": "me"}, "latency_of_others": 3}
    result["rank_fidelity"]["rows"] = [{"predictor": "loss"}]
    (tmp_path / "result.json").write_text(json.dumps(result))
    write_result(read_result(tmp_path), tmp_path)
    written = json.loads((tmp_path / "result.json").read_text())
    assert _without(written, result) == result


def test_no_numbers_are_absent_ones(result: Result, tmp_path: Path) -> None:
    result["hypervolume_trace"][1] = float("nan")
    text = json.dumps(result).replace('"noise_floor": 0.034', '"noise_floor": 1e999')
    (tmp_path / "result.json").write_text(text)
    file = read_result(tmp_path)
    assert (file.hypervolume_trace[1], file.targets[0].noise_floor) == (None, None)


def test_a_pair_is_named_by_what_is_served() -> None:
    keys = {schema.member_key("abc", choice) for choice in ({}, {"dtype": "int8"}, {"dtype": "float32"})}
    assert len(keys) == 3
    assert schema.member_key("abc", {}) == "abc"
    a, b = ({"dtype": "int8", "runtime": "x"}, {"runtime": "x", "dtype": "int8"})
    assert schema.member_key("abc", a) == schema.member_key("abc", b)


@given(st.data())
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_of_a_result_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    changed = json.loads((OLD / "result.json").read_text())
    for _ in range(data.draw(st.integers(1, 2))):
        _change(changed, data)
    (tmp_path / "result.json").write_text(json.dumps(changed))
    try:
        file = read_result(tmp_path)
    except RunError:  # and no other error
        return
    assert schema.ResultFile.from_json(json.loads(json.dumps(file.to_json(), allow_nan=False))) == file
    final_table(file)
    assert headline(Reading(file))
    for section in filter(None, (build(Reading(file)) for build in SECTIONS)):
        json.dumps(dict(section.figures), allow_nan=False)


def _change(result: Result, data: st.DataObject) -> None:
    """Replace, remove or add something, anywhere."""
    path = data.draw(st.sampled_from(list(_paths(result))))
    parent: Any = result
    for part in path[:-1]:
        parent = parent[part]
    action = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if action == "remove":
        del parent[path[-1]]
    elif action == "add" and isinstance(parent, dict):
        parent[data.draw(st.text(max_size=5))] = data.draw(json_values)
    else:
        parent[path[-1]] = data.draw(json_values)


def _paths(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    if path:
        yield path
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _paths(item, (*path, name))


def _without(written: Any, read: Any) -> Any:
    """What is written, less the fields that were not there when it was read."""
    if isinstance(read, dict):
        return {name: _without(written[name], item) for name, item in read.items()}
    if isinstance(read, list):
        assert len(written) == len(read)
        return [_without(w, r) for w, r in zip(written, read, strict=True)]
    return written
