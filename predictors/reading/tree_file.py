"""Trees from a file that anybody may have written: checked node by node, before XGBoost sees any of them.

XGBoost trusts what it loads: a child beyond the end of a tree ends the process. So the file is read here
(`ubj`), every value is held against what trees of this product can be, and what XGBoost gets is written anew from the
checked values alone. A float keeps all its bits: the same trees predict the same.

Notation
    n          nodes of a tree; node 0 is its root, and a node with left child -1 is a leaf
    weight     of a leaf: what it adds to the logarithm of a factor on seconds
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from . import checked, ubj

MOST_TREES, MOST_NODES = 10_000, 100_000
MOST_WEIGHT = 100.0  # of all trees together: nobody is a factor of exp(100) off
ROOT, DELETED = 2**31 - 1, 2**31 - 1  # the root's parent; what a pruned node is said to split at
COLUMNS: Mapping[str, type] = {
    "base_weights": np.float32, "default_left": np.uint8, "left_children": np.int32, "loss_changes": np.float32,
    "parents": np.int32, "right_children": np.int32, "split_conditions": np.float32, "split_indices": np.int32,
    "split_type": np.uint8, "sum_hessian": np.float32,
}  # fmt: skip
CATEGORIES: Mapping[str, type] = {
    "categories": np.int32, "categories_nodes": np.int32, "categories_segments": np.int64, "categories_sizes": np.int64,
}  # fmt: skip
TREE = ("id", "tree_param", *COLUMNS, *CATEGORIES)
DIGITS = re.compile(r"\d{1,9}")
BASE = re.compile(r"\[?[-+]?\d{1,12}(\.\d{1,12})?([eE][-+]?\d{1,2})?\]?")


def load_trees(raw: bytes, names: Sequence[str]) -> xgb.Booster:
    """The trees of a UBJ file over columns out of `names`; a `ValueError` says what of it is none of ours."""
    booster = xgb.Booster({"nthread": 1})
    booster.load_model(bytearray(ubj.dumps(_model(ubj.loads(raw), names))))
    return booster


def _model(data: Any, names: Sequence[str]) -> dict[str, Any]:
    """The whole content, written anew."""
    said = checked.fields("the trees", data, ("learner", "version"))
    parts = ("attributes", "feature_names", "feature_types", "gradient_booster", "learner_model_param", "objective")
    learner = checked.fields("the trees", said["learner"], parts)
    columns = learner["feature_names"]
    if not _listed(columns, str) or not 0 < len(columns) == len(set(columns)) or not set(columns) <= set(names):
        raise ValueError("the trees see other features than the file says")
    types = learner["feature_types"]
    if not _listed(types, str) or (types and types != ["float"] * len(columns)):
        raise ValueError(f"the trees see features of the types {types!r:.80}")
    objective = checked.fields("the trees' aim", learner["objective"], ("name", "reg_loss_param"))
    if objective["name"] != "reg:squarederror":
        raise ValueError(f"the trees were trained for {objective['name']!r:.80}")
    return {
        "learner": {
            "attributes": {},
            "feature_names": columns,
            "feature_types": types,
            "gradient_booster": _booster(learner["gradient_booster"], len(columns)),
            "learner_model_param": _parameters(learner["learner_model_param"], len(columns)),
            "objective": {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}},
        },
        "version": _version(said["version"]),
    }


def _version(data: Any) -> list[int]:
    """Of XGBoost: three numbers."""
    if not _listed(data, int) or len(data) != 3:
        raise ValueError(f"the trees are of no version of XGBoost: {data!r:.80}")
    return [checked.whole(number, 0, 1000) for number in data]


def _parameters(data: Any, columns: int) -> dict[str, str]:
    """What XGBoost calls the learner's parameters: texts."""
    fixed = {"num_class": "0", "num_feature": str(columns), "num_target": "1"}
    said = checked.fields("the trees' parameters", data, ("base_score", "boost_from_average", *fixed))
    if any(said[name] != value for name, value in fixed.items()) or said["boost_from_average"] not in ("0", "1"):
        raise ValueError(f"the trees' parameters are {dict(said)!r:.200}")
    if not isinstance(said["base_score"], str) or not BASE.fullmatch(said["base_score"]):
        raise ValueError(f"the trees begin at {said['base_score']!r:.80}")
    return {name: str(value) for name, value in said.items()}


def _booster(data: Any, columns: int) -> dict[str, Any]:
    """All trees, in order, one a round."""
    said = checked.fields("the trees' kind", data, ("model", "name"))
    if said["name"] != "gbtree":
        raise ValueError(f"the trees are of the kind {said['name']!r:.80}")
    parts = ("cats", "gbtree_model_param", "iteration_indptr", "tree_info", "trees")
    model = checked.fields("the trees' list", said["model"], parts, ("cats",))
    trees = model["trees"]
    if not isinstance(trees, list) or not len(trees) <= MOST_TREES:
        raise ValueError(f"expected a list of at most {MOST_TREES} trees")
    plain = [_tree(tree, at, columns) for at, tree in enumerate(trees)]
    weights = [float(np.abs(tree["split_conditions"][tree["left_children"] == -1]).max()) for tree in plain]
    if sum(weights) > MOST_WEIGHT:
        raise ValueError("the trees' weights make no sense")
    one = {"num_parallel_tree": "1", "num_trees": str(len(plain))}
    if dict(checked.fields("the trees' counts", model["gbtree_model_param"], tuple(one))) != one:
        raise ValueError("the trees are counted otherwise than they stand")
    rounds = list(range(len(plain) + 1))
    if _plain(model["iteration_indptr"]) != rounds or _plain(model["tree_info"]) != [0] * len(plain):
        raise ValueError("the trees are not one a round")
    rest = {"gbtree_model_param": one, "iteration_indptr": rounds, "tree_info": [0] * len(plain), "trees": plain}
    none: dict[str, list[Any]] = {"enc": [], "feature_segments": [], "sorted_idx": []}
    return {"model": rest | ({"cats": none} if "cats" in model else {}), "name": "gbtree"}


def _tree(data: Any, at: int, columns: int) -> dict[str, Any]:
    """One tree, its nodes checked."""
    said = checked.fields("a tree", data, TREE)
    tree = {name: _column(name, said[name], kind) for name, kind in {**COLUMNS, **CATEGORIES}.items()}
    nodes = len(tree["left_children"])
    if not 0 < nodes <= MOST_NODES or any(len(tree[name]) != nodes for name in COLUMNS):
        raise ValueError(f"tree {at} has columns of several lengths")
    if checked.whole(said["id"]) != at:
        raise ValueError(f"tree {at} says that it is another")
    if any(len(tree[name]) for name in CATEGORIES) or tree["split_type"].any():
        raise ValueError(f"tree {at} splits by categories")
    deleted = _check_nodes(tree, at, columns)
    counts = {"num_feature": str(columns), "num_nodes": str(nodes), "size_leaf_vector": "1"}
    stated = checked.fields("a tree's counts", said["tree_param"], ("num_deleted", *counts))
    if any(stated[name] not in (value, "0" * (name == "size_leaf_vector")) for name, value in counts.items()):
        raise ValueError(f"tree {at} is counted otherwise than it stands")
    return tree | {"id": at, "tree_param": {"num_deleted": str(deleted), **counts}}


def _check_nodes(tree: Mapping[str, NDArray[Any]], at: int, columns: int) -> int:
    """Refuse nodes that do not make one tree, or split at what is not there; returns how many were pruned."""
    left, right, parents = tree["left_children"], tree["right_children"], tree["parents"]
    nodes, inner, splits = len(left), left != -1, tree["split_indices"]
    pruned = (splits == DELETED) & (tree["default_left"] == 1) & ~inner & (np.arange(nodes) > 0)
    if ((right != -1) != inner).any() or (tree["default_left"] > 1).any():
        raise ValueError(f"tree {at} has a node with one child")
    children = np.concatenate([left[inner], right[inner]])
    due = np.flatnonzero(~pruned)[1:]  # every node but the root is the child of one node
    if parents[0] != ROOT or pruned[0] or not np.array_equal(np.sort(children), due):
        raise ValueError(f"tree {at} has nodes that are nobody's children, or of several")
    holders = np.flatnonzero(inner)
    if (parents[left[inner]] != holders).any() or (parents[right[inner]] != holders).any():
        raise ValueError(f"tree {at} has nodes that know another parent")
    seen, level = 1, np.array([0])
    while len(level := level[inner[level]]):  # with one parent each, whoever hangs in a ring is never reached
        level = np.concatenate([left[level], right[level]])
        seen += len(level)
    if seen != 1 + len(due):
        raise ValueError(f"tree {at} has nodes in a ring")
    if (splits[~pruned] < 0).any() or (splits[~pruned] >= columns).any():
        raise ValueError(f"tree {at} splits at a column that is not there")
    return int(pruned.sum())


def _column(name: str, data: Any, kind: type) -> NDArray[Any]:
    """A column of a tree as numbers of its type, all of them finite."""
    if isinstance(data, list) and not data:
        data = np.array([], kind)
    if not isinstance(data, np.ndarray) or data.dtype != np.dtype(kind):
        raise ValueError(f"the trees' {name} are not numbers of the type {np.dtype(kind)}")
    if not np.isfinite(data).all():
        raise ValueError(f"the trees' {name} hold numbers that are infinite or none")
    return data


def _listed(data: Any, kind: type) -> bool:
    return isinstance(data, list) and all(type(one) is kind for one in data)


def _plain(data: Any) -> Any:
    return data.tolist() if isinstance(data, np.ndarray) else data
