"""Models of every kind and every way of pooling as graphs: what torch says, by a runtime."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from distilsearch.artefacts.onnx import to_onnx
from distilsearch.artefacts.running import opened
from distilsearch.distill.heldout.heldout import teacher_held_out
from distilsearch.distill.served.artefact import FOLLOWS, LOGITS, MASK
from distilsearch.distill.served.checks import check_differences, differences, judged_on
from distilsearch.distill.served.kept import held_as_served
from distilsearch.distill.served.samples import calibration, check_batches
from distilsearch.distill.served.whole import Whole
from distilsearch.distill.teachers.ending import Dense, Ending, Normalize
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import load_text
from distilsearch.errors import InputError, TrialError
from distilsearch.families.shared import POOLS
from distilsearch.testing.teachers import write_teacher


class Served(NamedTuple):
    """Of a serving what counts here."""

    runtime: str = "onnxruntime"
    dtype: str = "float32"
    threads: int | None = None


AXES = {"hidden": {0: "texts", 1: "tokens"}, MASK: {0: "texts", 1: "tokens"}}


def endings() -> dict[str, Ending]:
    """Every way of pooling; and modules after it, a shorter vector and a prompt that is not pooled."""
    dense = Dense(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), torch.ones(6) / 4)
    pooled = {pool: Ending(pool, ()) for pool in POOLS}
    return pooled | {
        "dense": Ending("mean", (dense, Normalize())),
        "short": Ending("mean", (), 3),
        "skip": Ending(skip=2),
    }


class Endings(nn.Module):
    """All of them over the same states."""

    def __init__(self) -> None:
        super().__init__()
        self.endings = endings()

    def forward(self, hidden: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(ending.vectors(hidden, attention_mask) for ending in self.endings.values())


def test_every_ending_is_pooled_in_the_graph_as_in_torch(tmp_path: Path) -> None:
    states = torch.randn(3, 7, 8, generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(7)[None] < torch.tensor([7, 4, 3])[:, None]).long()
    example = {"hidden": states[:2, :5], MASK: mask[:2, :5]}
    to_onnx(Endings().eval(), example, tmp_path / "model.onnx", outputs=list(endings()), dynamic=AXES)
    runner = opened(tmp_path / "model.onnx", "onnxruntime", 1)
    given = runner({"hidden": states.numpy(), MASK: mask.numpy()})
    for name, expected in zip(endings(), Endings()(states, mask), strict=True):
        assert np.allclose(given[name], expected.numpy(), atol=1e-5), name


@pytest.mark.parametrize("quality", ["loss", "accuracy"])
def test_words_and_pairs_are_judged_by_the_graph_as_by_torch(quality: str, judging: Teacher, text_file: Path) -> None:
    text = load_text([str(text_file)], judging, 32)
    expected = teacher_held_out(judging, text, quality)
    served = held_as_served(judging.folder, Served(), judging, text, quality)
    assert served.loss == pytest.approx(expected.loss, abs=1e-4)
    assert dict(served.parts) == pytest.approx(dict(expected.parts))


@pytest.fixture(scope="module")
def judging(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """A masked-LM model that judges next sentences, where artefacts may lie beside it."""
    return load_teacher(
        str(write_teacher(tmp_path_factory.mktemp("trial") / "student", "pretraining", num_hidden_layers=1))
    )


def test_a_decoder_s_words_are_judged_by_the_graph_as_by_torch(tmp_path: Path, text_file: Path) -> None:
    model = load_teacher(str(write_teacher(tmp_path / "student", "causal", num_hidden_layers=1)))
    text = load_text([str(text_file)], model, 32)
    served = held_as_served(model.folder, Served(), model, text)
    assert served.loss == pytest.approx(teacher_held_out(model, text).loss, abs=1e-4)
    assert Whole(model).outputs == (LOGITS,)


def test_a_model_without_a_judge_gives_no_accuracy(mlm_teacher: Teacher, judging: Teacher) -> None:
    assert Whole(mlm_teacher).outputs == (LOGITS,)
    assert Whole(judging).outputs == (LOGITS, FOLLOWS)


class Off:
    """A runtime that is off by so much, as a share of each number."""

    def __init__(self, module: Whole, share: float) -> None:
        self.module, self.share = module, share

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            made = self.module(**{name: torch.from_numpy(array) for name, array in inputs.items()})
        return {name: x.numpy() * (1 + self.share) for name, x in zip(self.module.outputs, made, strict=True)}

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("share", [1e-3, float("nan")])
def test_a_graph_that_is_off_is_refused_by_how_much(teacher: Teacher, text_file: Path, share: float) -> None:
    module, text = Whole(teacher).eval(), load_text([str(text_file)], teacher, 32)
    batches = check_batches(teacher, text, module.inputs)
    check_differences("it", differences(module, Off(module, 1e-6), batches))
    with pytest.raises(TrialError, match=r"last_hidden_state by up to (0\.0|nan).* is allowed; it is not kept"):
        check_differences("it", differences(module, Off(module, share), batches))


def test_a_check_reads_every_length_up_to_the_longest(teacher: Teacher, text_file: Path) -> None:
    text = load_text([str(text_file)], teacher, 32)
    masks = [batch[MASK] for batch in check_batches(teacher, text, Whole(teacher).inputs)]
    lengths = {int(row.sum()) for mask in masks for row in mask}
    assert max(lengths) == teacher.surroundings.length
    assert min(lengths) == 4
    assert len(lengths) > 10
    assert any(0 in mask for mask in masks)


def test_int8_is_scaled_and_judged_on_short_texts_too(teacher: Teacher, text_file: Path) -> None:
    text, frame = load_text([str(text_file)], teacher, 32), teacher.frame
    samples = calibration(teacher, text, Whole(teacher).inputs)
    lengths = [sample["input_ids"].shape[1] for sample in samples]
    assert lengths[1::2] == [32] * (len(samples) // 2)
    assert min(lengths) < 6 < 20 < max(lengths[::2])
    for sample in samples:
        (row,) = sample["input_ids"].tolist()
        assert (row[:1], row[-1:]) == ([*frame[0]], [*frame[1]])
    blocks, short = (few.heldout for few in judged_on(teacher, text))
    assert (blocks.shape[1], short.shape[1]) == (32, 10)
    assert 64 <= len(blocks) <= len(short) <= 256


def test_an_artefact_of_another_kind_has_no_loss(teacher: Teacher, judging: Teacher, text_file: Path) -> None:
    text = load_text([str(text_file)], teacher, 32)
    with pytest.raises(InputError, match=r"is of a mlm model, and .* is a embedding one"):
        held_as_served(judging.folder, Served(), teacher, text)
