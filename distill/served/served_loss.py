"""The held-out loss of an artefact: that of `heldout`, of the very file that is served, run by its runtime.

The blocks, the hidden words and the pairs are those of every other student, so the figures stand beside each other.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from distilsearch.artefacts.running import Runner, opened
from distilsearch.errors import InputError, TrialError

from ..heldout.heldout import agreement, teacher_embeddings
from ..heldout.words import ROWS, Words, words_by
from ..quality import ACCURACY, LOSS, NEXT_SENTENCE, WORDS, Held, accuracy_loss
from ..targets.batch import Batch, alternate_pairs
from ..teachers.teacher import Teacher
from ..texts.data import BlockArray, Text
from .artefact import FOLLOWS, IDS, LOGITS, TYPES, VECTORS, Artefact
from .samples import Inputs, of_blocks

FEW = 4  # rows of a batch whose logits are all given


def held_of(artefact: Artefact, teacher: Teacher, text: Text, quality: str = LOSS, threads: int = 1) -> Held:
    """The held-out loss of an artefact whose files were checked, on a text against a teacher, and its parts.

    Raises:
        InputError: it is not of the teacher's kind, or has no such quality.
        TrialError: the loss is not a number.
    """
    _check(artefact, teacher, quality)
    runner = opened(artefact.file, artefact.runtime, threads)
    try:
        held = _held(artefact, runner, teacher, text, quality)
    finally:
        runner.close()
    if not np.isfinite(held.loss):
        raise TrialError(f"the held-out loss of {artefact.file} is not a number: its outputs are not, or all the same")
    return held


def _held(artefact: Artefact, runner: Runner, teacher: Teacher, text: Text, quality: str) -> Held:
    if artefact.kind == "embedding":
        own = F.normalize(torch.from_numpy(vectors_of(runner, text.heldout, artefact.inputs)), dim=-1)
        return Held(1.0 - agreement(own, teacher_embeddings(teacher, text)))
    words = served_words(artefact, runner, teacher, text.heldout)
    if quality == LOSS:
        return Held(words.loss)
    parts = {WORDS: words.accuracy, NEXT_SENTENCE: _followed(artefact, runner, teacher, text.heldout)}
    return Held(accuracy_loss(parts) if np.isfinite(words.loss) else float("nan"), parts)


def vectors_of(runner: Runner, blocks: BlockArray, names: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """Vectors (h, o) of blocks (h, block), as they are served."""
    parts = [runner(of_blocks(blocks[at : at + ROWS], names))[VECTORS] for at in range(0, len(blocks), ROWS)]
    return np.concatenate(parts).astype(np.float32)


def served_words(artefact: Artefact, runner: Runner, teacher: Teacher, blocks: BlockArray) -> Words:
    """What an artefact makes of the words of blocks (h, block): the same hidden ones as in `words`."""

    def answers(batch: Batch) -> Iterator[Tensor]:
        ids, width = batch.input_ids.numpy(), batch.input_ids.shape[1]
        for start in range(0, len(ids), FEW):  # a few texts at a time: logits are of all words
            logits = runner(of_blocks(ids[start : start + FEW], artefact.inputs))[LOGITS]
            flat = logits.reshape(-1, logits.shape[-1])
            mine = batch.masked[(batch.masked // width >= start) & (batch.masked // width < start + FEW)]
            yield torch.from_numpy(flat[(mine - start * width).numpy()]).float()

    return words_by(teacher, blocks, answers)


def _followed(artefact: Artefact, runner: Runner, teacher: Teacher, blocks: BlockArray) -> float:
    """The share of pairs out of blocks (h, block) that it judges rightly."""
    right, count = 0, 0
    for start in range(0, len(blocks), ROWS):  # an even number, so that places stay even or odd
        batch = alternate_pairs(teacher, blocks[start : start + ROWS])
        assert batch.follows is not None
        said = _in_parts(runner, _of_pairs(batch, artefact.inputs), FOLLOWS)
        right += int(((said[:, 0] > said[:, 1]) == batch.follows.numpy().astype(bool)).sum())
        count += len(said)
    return right / count


def _of_pairs(batch: Batch, names: tuple[str, ...]) -> Inputs:
    given = of_blocks(batch.input_ids.numpy().astype(np.int32), names)
    if TYPES in names and batch.segments is not None:
        given[TYPES] = batch.segments.numpy()
    return given


def _in_parts(runner: Runner, inputs: Inputs, output: str) -> npt.NDArray[np.float32]:
    rows = len(inputs[IDS])
    parts = [runner({k: x[at : at + FEW] for k, x in inputs.items()})[output] for at in range(0, rows, FEW)]
    return np.concatenate(parts)


def _check(artefact: Artefact, teacher: Teacher, quality: str) -> None:
    """Refuse an artefact that says something else than a teacher's student."""
    if artefact.kind != teacher.kind:
        raise InputError(f"{artefact.file} is of a {artefact.kind} model, and {teacher.name} is a {teacher.kind} one")
    if quality == ACCURACY and FOLLOWS not in artefact.outputs:
        raise InputError(
            f"{artefact.file} judges no next sentences: its checkpoint has no head for them; take the loss instead"
        )
    if teacher.kind == "embedding" and artefact.prompt != pooled_prompt(teacher):
        raise InputError(
            f"{artefact.file} leaves {artefact.prompt!r} out of what it pools, and the teacher is shown"
            f" {teacher.prompt!r}; export it for that prompt"
        )


def pooled_prompt(checkpoint: Teacher) -> str:
    """The prompt that the pooling of a model depends on; "" where its tokens are pooled like all others."""
    return "" if checkpoint.surroundings.include_prompt else checkpoint.prompt
