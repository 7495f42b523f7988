"""Batches of token ids: blocks shown through a view, with noise or masking that depends on the batch alone."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distilsearch.errors import InputError

from ..recipes import View
from ..states import STATES
from ..teachers.teacher import Teacher
from ..texts.data import BlockArray, add_frame, framing, pieces
from ..texts.sentences import sentence_pieces, whole_sentences


@dataclass(frozen=True, eq=False)
class Batch:
    """Token ids of sequences, and what the teacher says of them.

    `share` is what a mean over hidden words weighs beside those of the other parts of a batch, or over tokens, where
    some are padding.
    """

    input_ids: Tensor  # (n, s) int64
    masked: Tensor  # (k,) positions in the flattened batch that are asked for a word; empty for embeddings
    labels: Tensor  # (k,) the words that stood there, or that come next
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    share: float = 1.0
    segments: Tensor | None = None  # (n, s) 0 in the first and 1 in the second half of pairs
    follows: Tensor | None = None  # (n,) whether the second half of a pair follows its first
    attention_mask: Tensor | None = None  # (n, s) 1 where a token stands, 0 where padding does; None without padding

    def part(self, index: int, parts: int) -> "Batch":
        """Every `parts`-th sequence from `index` on: what one of several processes computes of a batch."""
        if parts == 1:
            return self
        n, s = self.input_ids.shape
        if n % parts:
            raise InputError(
                f"a batch of {n} sequences cannot be shared evenly by {parts} processes or accumulation steps; "
                "choose batch_tokens as a multiple of both"
            )
        rows = self.masked // s
        mine = rows % parts == index
        masked = (rows[mine] // parts) * s + self.masked[mine] % s
        cut = {name: STATES[name].part(value, index, parts, mine) for name, value in self.targets.items()}
        share = float(len(masked) * parts / max(1, len(self.masked)))
        if (shown := self.attention_mask) is not None:
            share = int(shown[index::parts].sum()) * parts / int(shown.sum())
        beside = (x if x is None else x[index::parts] for x in (self.segments, self.follows, shown))
        return Batch(self.input_ids[index::parts], masked, self.labels[mine], cut, share, *beside)

    def to(self, device: Any) -> "Batch":
        """The batch on a device; itself where it is there already."""
        if self.input_ids.device == torch.device(device):
            return self
        moved = {name: value.to(device, non_blocking=True) for name, value in self.targets.items()}
        ids, masked, labels = (x.to(device, non_blocking=True) for x in (self.input_ids, self.masked, self.labels))
        beside = (x if x is None else x.to(device) for x in (self.segments, self.follows, self.attention_mask))
        return Batch(ids, masked, labels, moved, self.share, *beside)

    def model_inputs(self, types: int) -> dict[str, Tensor]:
        """What a model with so many segment types is called with."""
        inputs = {"input_ids": self.input_ids}
        if self.attention_mask is not None:
            inputs["attention_mask"] = self.attention_mask
        return inputs if self.segments is None or types < 2 else inputs | {"token_type_ids": self.segments}


def make_batch(
    teacher: Teacher, blocks: BlockArray, view: View, mask: float, seed: tuple[int, ...], pairs: bool = False
) -> Batch:
    """Show blocks (m, block) through a view, whole or as pairs of halves; the same seed gives the same words."""
    frame = framing(teacher)
    cut = _cut(teacher, blocks, view, frame)
    generator = np.random.default_rng(seed)
    before, after = len(frame[0]), cut.shape[1] - len(frame[1])
    inner = cut[:, before:after]
    if view.noise:
        inner = _exchanged(teacher, inner, view.noise, generator)
    masked, labels = np.zeros(0, np.int64), np.zeros(0, np.int64)
    segments, follows, half = None, None, inner.shape[1]
    if pairs:
        inner, follows, half = _paired(inner, generator)
        segments = np.zeros(cut.shape, np.int64)
        segments[:, before + half + 1 :] = 1
    if teacher.kind == "mlm":
        inner, masked, labels = _hide(teacher, inner, mask, generator)
        rows, columns = np.divmod(masked, inner.shape[1])
        masked = rows * cut.shape[1] + columns + (columns >= half) + before
    if pairs:
        inner = np.insert(inner, half, teacher.tokenizer.sep_token_id, axis=1)
    ids = add_frame(inner.astype(np.int32), frame).astype(np.int64)
    if teacher.kind == "causal":
        masked, labels = _next_words(ids)
    batch = Batch(torch.from_numpy(ids), torch.from_numpy(masked), torch.from_numpy(labels))
    if view.ends:
        return _padded(batch, whole_sentences(teacher, cut[:, before:after]), frame, teacher.tokenizer.pad_token_id)
    if segments is None or follows is None:
        return batch
    return replace(batch, segments=torch.from_numpy(segments), follows=torch.from_numpy(follows))


def _cut(teacher: Teacher, blocks: BlockArray, view: View, frame: tuple[list[int], list[int]]) -> BlockArray:
    """Blocks (m, block) in pieces of the view's length, or as they are."""
    if not 0 < view.length < blocks.shape[1]:
        return blocks
    if view.sentences:
        return sentence_pieces(teacher, blocks, view.length, frame)
    return pieces(blocks, view.length, frame)


def _padded(batch: Batch, words: npt.NDArray[np.int64], frame: tuple[list[int], list[int]], padding: int) -> Batch:
    """A batch whose sequences keep so many words (n,) each within their frame, and are padded behind it."""
    tail = torch.tensor([*frame[1], padding])
    places = (
        torch.arange(batch.input_ids.shape[1]) - len(frame[0]) - torch.from_numpy(words)[:, None]
    )  # after the words
    ids = torch.where(places < 0, batch.input_ids, tail[places.clamp(0, len(tail) - 1)])
    return replace(batch, input_ids=ids, attention_mask=(places < len(tail) - 1).long())


def _exchanged(
    teacher: Teacher, inner: npt.NDArray[Any], share: float, generator: np.random.Generator
) -> npt.NDArray[Any]:
    """Words (n, c), a share of them exchanged for any others of the vocabulary."""
    exchanged = generator.random(inner.shape) < share
    return np.where(exchanged, generator.choice(whole_words(teacher), inner.shape), inner)


def _next_words(ids: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places in ids (n, c), counted through, that are followed by a word, and those words: (n * (c - 1),) each."""
    places = np.arange(ids.size).reshape(ids.shape)
    return places[:, :-1].ravel(), ids[:, 1:].ravel().copy()


def _paired(
    inner: npt.NDArray[Any], generator: np.random.Generator
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], int]:
    """(n, c) words -> (n, c - 1), whether (n,) the second part still follows, and where it begins.

    One word makes room for the separator; half of the second parts are those of another block.
    """
    half = (inner.shape[1] - 1) // 2
    second = inner[:, half:-1]
    other = (generator.random(len(inner)) < 0.5) & (len(inner) > 1)
    second = np.where(other[:, None], np.roll(second, 1, axis=0), second)
    return np.concatenate([inner[:, :half], second], axis=1), (~other).astype(np.int64), half


def alternate_pairs(teacher: Teacher, blocks: BlockArray) -> Batch:
    """Blocks (m, block) as pairs of halves in which no word is hidden: those at odd places do not follow.

    A block at an odd place is shown with the second half of the one before it.
    """
    frame = framing(teacher)
    before = len(frame[0])
    inner = blocks[:, before : blocks.shape[1] - len(frame[1])]
    half = (inner.shape[1] - 1) // 2
    odd = np.arange(len(inner)) % 2 == 1
    second = np.where(odd[:, None], np.roll(inner[:, half:-1], 1, axis=0), inner[:, half:-1])
    separator = np.full((len(inner), 1), teacher.tokenizer.sep_token_id)
    ids = add_frame(np.concatenate([inner[:, :half], separator, second], axis=1).astype(np.int32), frame)
    segments = np.zeros(ids.shape, np.int64)
    segments[:, before + half + 1 :] = 1
    none = torch.zeros(0, dtype=torch.int64)
    shown = torch.from_numpy(ids.astype(np.int64))
    return Batch(
        shown, none, none, segments=torch.from_numpy(segments), follows=torch.from_numpy((~odd).astype(np.int64))
    )


@functools.lru_cache(maxsize=4)  # by the identity of the teacher; the vocabulary has tens of thousands of words
def whole_words(teacher: Teacher) -> npt.NDArray[np.int64]:
    """The ids of the vocabulary's whole alphabetic words (special tokens and word parts left out)."""
    special = set(teacher.tokenizer.all_special_ids)
    words = (i for token, i in teacher.tokenizer.get_vocab().items() if _is_word(token) and i not in special)
    return np.sort(np.fromiter(words, np.int64))


def _is_word(token: str) -> bool:
    return len(token.lstrip("▁Ġ")) > 1 and token.lstrip("▁Ġ").isalpha()


def _hide(
    teacher: Teacher, inner: npt.NDArray[Any], share: float, generator: np.random.Generator
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """BERT's masking: a share of the words; of these 80 % become [MASK], 10 % another word, 10 % stay."""
    count = max(1, round(share * inner.size))
    masked = np.sort(generator.choice(inner.size, count, replace=False))
    shown = inner.astype(np.int64).ravel().copy()
    labels = shown[masked].copy()
    fate = generator.random(count)
    shown[masked[fate < 0.8]] = teacher.tokenizer.mask_token_id
    other = masked[(fate >= 0.8) & (fate < 0.9)]
    shown[other] = generator.integers(0, teacher.config.vocab_size, len(other))
    return shown.reshape(inner.shape), masked, labels
