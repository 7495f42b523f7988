"""Where teachers and students are computed: students are cut on the CPU, then both go where the training runs."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from distilsearch.distill.compute.processes import SHARDED, accelerator_for, check_device
from distilsearch.distill.recipes import MLM
from distilsearch.distill.targets import objective, watch
from distilsearch.distill.targets.targets import Targets
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import load_text
from distilsearch.distill.training import start
from distilsearch.errors import DeviceError, InputError

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


@pytest.mark.parametrize(
    ("device", "gpus", "message"),
    [
        ("cpuu", 0, "unknown training device 'cpuu': did you mean 'cpu'"),
        ("cuda:x", 2, "unknown training device 'cuda:x'"),
        ("cpu:0", 2, "unknown training device 'cpu:0'"),
        ("cuda", 0, "'cuda', and this machine has no GPU that torch can use"),
        ("cuda:2", 2, "'cuda:2', and this machine has 2 GPUs, counted from 0"),
        ("cuda:1", 1, "'cuda:1', and this machine has 1 GPU, counted from 0"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    device: str, gpus: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(DeviceError, match=message):
        accelerator_for(device)


def test_a_gpu_by_number_is_for_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in ("cuda", "cuda:0", "cuda:1", "cpu", "auto"):
        check_device(device)
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_device("cuda")
    with pytest.raises(DeviceError, match="ask for 'cuda', not 'cuda:1'"):
        check_device("cuda:1")
