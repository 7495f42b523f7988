"""Where teachers and students are computed: students are cut on the CPU, then both go where the training runs."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from distilsearch.distill import objective, watch
from distilsearch.distill.data import load_text
from distilsearch.distill.processes import SHARDED, accelerator_for
from distilsearch.distill.recipes import MLM
from distilsearch.distill.targets import Targets
from distilsearch.distill.teacher import Teacher, load_teacher
from distilsearch.distill.training import start
from distilsearch.errors import InputError

RECIPE = replace(MLM, batch_tokens=256)


def _elsewhere(device: str) -> Any:
    """An accelerator of one process whose device this machine need not have."""
    return SimpleNamespace(device=torch.device(device), num_processes=1, prepare_model=lambda model: model, trackers=[])


def test_the_teacher_goes_where_the_student_is(
    mlm_teacher: Teacher, text_file: Path, make_architecture: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (objective, watch):
        monkeypatch.setattr(module, "autocast", lambda *_: contextlib.nullcontext())  # which "meta" has none of
    text = load_text([str(text_file)], mlm_teacher, block=32, heldout_fraction=0.2)
    batch = Targets(mlm_teacher, text, RECIPE, "float32").batch(0)
    own = load_teacher(str(mlm_teacher.folder))
    run = start(own, make_architecture(own), text, RECIPE, 1_000, 0, "float32", _elsewhere("meta"))
    assert {p.device.type for p in own.model().parameters()} == {"meta"}
    assert {tensor.device.type for tensor in run.objective.state_dict().values()} == {"meta"}
    assert run.objective.basis.device.type == "meta"
    assert all(value.device.type == "meta" for value in run.losses(batch).values())


def test_each_student_is_cut_on_the_cpu(
    mlm_teacher: Teacher, text_file: Path, make_architecture: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = load_text([str(text_file)], mlm_teacher, block=32, heldout_fraction=0.2)
    own = load_teacher(str(mlm_teacher.folder))
    model, moves = own.model(), []
    monkeypatch.setattr(model, "to", lambda device: moves.append(torch.device(device).type) or model)
    for layers in (1, 2):
        start(own, make_architecture(own, layers=layers), text, RECIPE, 1_000, 0, "float32", _elsewhere("meta"))
        assert moves[-2:] == ["cpu", "meta"]


@pytest.mark.parametrize("name", SHARDED)
def test_students_are_not_split_among_processes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARDED[name], "true")
    with pytest.raises(InputError, match=f"{name} is not supported: .* data-parallel"):
        accelerator_for("cpu")
    monkeypatch.setenv(SHARDED[name], "false")
    assert accelerator_for("cpu").num_processes == 1
