"""Predictors that were tampered with: refused as a `TableError`, or read whole and fit to predict."""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilsearch import Architecture, LatencyPredictor, Serving
from distilsearch.errors import TableError
from distilsearch.lowering import operators
from distilsearch.predictors.pairs.pairs import PairPredictor
from distilsearch.predictors.reading.checked import HASH, hashed

OLD = Path(__file__).parents[1] / "old" / "0.1.0"
EXPECTED = json.loads((OLD / "expected.json").read_text())
STUDENTS = [Architecture.from_json(data) for data in EXPECTED["architectures"]]
SERVING = Serving.from_json(EXPECTED["serving"])
FILES = {"predictor": "predictor.json", "pairs": "pairs.json"}
ODD = [None, True, -1, 0, 3, 1.5, 1e308, float("nan"), "", "odd", [], [1], {}, {"odd": 1}]

Place = tuple[str | int, ...]
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def places(value: Any, path: Place = ()) -> Iterator[Place]:
    """Every place of a JSON value, at most three members of each list."""
    members = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, member in members:
        yield (*path, key)
        yield from places(member, (*path, key))


def changed(content: Any, place: Place, odd: Any, how: str) -> Any:
    """The content with the value at a place replaced, dropped, doubled, or with something new beside it."""
    content = copy.deepcopy(content)
    holder, last = content, place[-1]
    for key in place[:-1]:
        holder = holder[key]
    if how == "drop":
        del holder[last]
    elif how == "add" and isinstance(holder, dict):
        holder["odd"] = odd
    elif how == "add":
        holder.append(holder[last])
    else:
        holder[last] = odd
    return content


def predicted(folder: Path) -> np.ndarray:
    """What the predictor of a folder says of some students, ms."""
    if (folder / FILES["pairs"]).exists():
        lowered = [operators(student, SERVING) for student in STUDENTS]
        return np.asarray(PairPredictor.load(folder).predict_operators(lowered).mean_ms)
    return np.asarray(LatencyPredictor.load(folder).predict(STUDENTS, SERVING).mean_ms)


@pytest.fixture(params=sorted(FILES))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An old predictor, which carries no hash of its own."""
    return Path(shutil.copytree(OLD / request.param, tmp_path / request.param))


def content_of(folder: Path) -> tuple[Path, Any]:
    path = folder / FILES[folder.name]
    return path, json.loads((OLD / folder.name / path.name).read_text())


@many
@given(data=st.data(), odd=st.sampled_from(ODD), how=st.sampled_from(["replace", "replace", "drop", "add"]))
def test_a_changed_value_is_refused_or_read_whole(folder: Path, data: st.DataObject, odd: Any, how: str) -> None:
    path, content = content_of(folder)
    place = data.draw(st.sampled_from(list(places(content))))
    path.write_text(json.dumps(changed(content, place, odd, how)))
    try:
        latency = predicted(folder)
    except TableError as refusal:
        said = str(refusal)
    else:
        assert np.isfinite(latency).all()
        assert (latency > 0).all()
        return
    assert any(way in said for way in ("fit", "upgrade", "update", "profile"))


@many
@given(data=st.data(), odd=st.sampled_from(ODD), how=st.sampled_from(["replace", "drop", "add"]))
def test_what_carries_its_hash_is_refused_after_any_change(
    folder: Path, data: st.DataObject, odd: Any, how: str
) -> None:
    path, content = content_of(folder)
    content = hashed(content)
    other = changed(content, data.draw(st.sampled_from([p for p in places(content) if p != (HASH,)])), odd, how)
    path.write_text(json.dumps(other))
    if json.dumps(other, sort_keys=True) == json.dumps(content, sort_keys=True):
        return
    with pytest.raises(TableError):
        predicted(folder)


@many
@given(at=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_bytes_are_refused(folder: Path, at: float, byte: int, cut: bool) -> None:
    for name in sorted(path.name for path in (OLD / folder.name).iterdir()):
        before = (OLD / folder.name / name).read_bytes()
        if name.endswith(".json"):
            before = json.dumps(hashed(json.loads(before))).encode()
        place = int(at * len(before))
        after = before[:place] if cut else before[:place] + bytes([byte]) + before[place + 1 :]
        (folder / name).write_bytes(after)
        if after == before:
            continue
        with pytest.raises(TableError):
            predicted(folder)
        (folder / name).write_bytes(before)


def _same_json(before: bytes, after: bytes) -> bool:
    """Whether a changed byte changed nothing: a space that became another."""
    try:
        return bool(json.loads(before) == json.loads(after))
    except ValueError:
        return False
