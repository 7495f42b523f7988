"""Trees of strangers: refused node by node before XGBoost sees them, and to the last bit the same where they are ours.

Each attack carries the right hash of its file, as whoever made it would have written it.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilsearch import LatencyPredictor
from distilsearch.errors import TableError
from distilsearch.predictors.operators import features
from distilsearch.predictors.reading import ubj
from distilsearch.predictors.reading.tree_file import load_trees

OLD = Path(__file__).parents[2] / "old" / "0.1.0" / "predictor"
RAW = (OLD / "operators.ubj").read_bytes()
NAMES = features.names()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def _trees(content: Any) -> Any:
    return content["learner"]["gradient_booster"]["model"]["trees"]


def _written(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The trees of the old predictor, the first of them changed."""
    content = ubj.loads(RAW)
    change(_trees(content)[0])
    return ubj.dumps(content)


def _put(column: str, at: int, value: float) -> Callable[[dict[str, Any]], object]:
    return lambda tree: tree[column].__setitem__(at, value)


def _ring(tree: dict[str, Any]) -> None:
    """A root without children, and beside it two nodes that hold each other, and a leaf each."""
    for column, values in tree.items():
        if isinstance(values, np.ndarray) and len(values):
            tree[column] = values[:5].copy()
    tree["left_children"][:] = [-1, 2, 1, -1, -1]
    tree["right_children"][:] = [-1, 3, 4, -1, -1]
    tree["parents"][1:] = [2, 1, 1, 2]
    tree["tree_param"]["num_nodes"] = "5"


@given(json_values)
@settings(max_examples=60)
def test_ubj_that_is_written_is_read(value: Any) -> None:
    assert ubj.loads(ubj.dumps(value)) == value


@pytest.mark.parametrize("gamma", [0.0, 20.0])
@pytest.mark.parametrize("method", ["exact", "hist"])
def test_our_own_trees_are_the_same_to_the_last_bit(gamma: float, method: str) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, len(NAMES)))
    data = xgb.DMatrix(rows, label=rows[:, 0] + rng.normal(size=300), feature_names=NAMES)
    made = xgb.train({"base_score": 0.0, "tree_method": method, "gamma": gamma, "nthread": 1}, data, 12)
    raw = bytes(made.save_raw("ubj"))
    assert bytes(load_trees(raw, NAMES).save_raw("ubj")) == raw
    assert bytes(load_trees(RAW, NAMES).save_raw("ubj")) == RAW
    none = bytes(xgb.train({"base_score": 0.0, "nthread": 1}, data, 0).save_raw("ubj"))
    assert bytes(load_trees(none, NAMES).save_raw("ubj")) == none


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_put("left_children", 0, 1_000_000), "nobody's children"),
        (_put("left_children", 0, 0), "nobody's children"),
        (_put("right_children", 0, -7), "nobody's children"),
        (_put("right_children", 0, -1), "one child"),
        (_put("parents", 0, 3), "nobody's children"),
        (_put("parents", 5, 3), "another parent"),
        (_ring, "ring"),
        (_put("split_indices", 0, 43), "column that is not there"),
        (_put("split_indices", 0, -1), "column that is not there"),
        (_put("split_conditions", 0, np.nan), "infinite or none"),
        (_put("base_weights", 3, np.inf), "infinite or none"),
        (_put("split_conditions", 22, 1e30), "make no sense"),
        (_put("split_type", 0, 1), "categories"),
        (_put("default_left", 0, 9), "one child"),
        (lambda tree: tree.update(parents=tree["parents"][:-1]), "several lengths"),
        (lambda tree: tree.update(parents=tree["parents"].astype(np.int64)), "type int32"),
        (lambda tree: tree.update(split_conditions=["x"]), "type float32"),
        (lambda tree: tree.update(id=7), "another"),
        (lambda tree: tree["tree_param"].update(num_nodes="2147483647"), "counted otherwise"),
        (lambda tree: tree["tree_param"].update(size_leaf_vector="9"), "counted otherwise"),
    ],
)
def test_nodes_that_make_no_tree_are_named(change: Callable[[dict[str, Any]], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load_trees(_written(change), NAMES)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("learner", "objective", "name"), "multi:softprob"),
        (("learner", "learner_model_param", "num_feature"), "2"),
        (("learner", "learner_model_param", "base_score"), "nan"),
        (("learner", "feature_names"), ["odd"]),
        (("learner", "feature_types"), ["c"] * 43),
        (("learner", "gradient_booster", "name"), "dart"),
        (("learner", "gradient_booster", "model", "gbtree_model_param", "num_trees"), "99"),
        (("learner", "gradient_booster", "model", "tree_info"), [5] * 10),
        (("learner", "gradient_booster", "model", "iteration_indptr"), [0, 9]),
        (("version",), [3]),
    ],
)
def test_what_surrounds_the_trees_is_checked(place: tuple[str, ...], value: Any) -> None:
    content = ubj.loads(RAW)
    holder = content
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = value
    with pytest.raises((ValueError, TableError), match="tree"):
        load_trees(ubj.dumps(content), NAMES)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[" * 100,
        b"[$d#L" + (2**62).to_bytes(8, "big"),
        b"SL" + b"\xff" * 8,
        b"{}}",
        b"{i\x01ai\x01i\x01ai\x01}",
    ],
)
def test_bytes_that_are_no_ubj_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"byte|fit|value|twice|deeply"):
        ubj.loads(content)


@given(at=st.integers(0, len(RAW) - 1), bits=st.integers(1, 255), cut=st.booleans())
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_and_truncated_trees_with_the_right_hash_never_end_the_process(
    tmp_path: Path, at: int, bits: int, cut: bool
) -> None:
    folder = Path(shutil.copytree(OLD, tmp_path / "predictor", dirs_exist_ok=True))
    raw = RAW[:at] if cut else RAW[:at] + bytes([RAW[at] ^ bits]) + RAW[at + 1 :]
    (folder / "operators.ubj").write_bytes(raw)
    content = json.loads((folder / "predictor.json").read_text())
    content["trees_sha256"] = hashlib.sha256(raw).hexdigest()
    (folder / "predictor.json").write_text(json.dumps(content))
    try:
        loaded = LatencyPredictor.load(folder)
    except TableError:
        return
    assert loaded.model.booster is not None
