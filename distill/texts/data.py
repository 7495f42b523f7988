"""Text to packed token blocks: (m, block) int32, each one framed as the teacher expects it.

All documents are tokenised once, joined, and cut into full blocks, which need no padding. Which
blocks are held out, and the order in which training meets them, depends on the text alone: every student of
a search sees the same tokens in the same order. Packed blocks are cached by content of tokenizer and files.
"""

import functools
import hashlib
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from distilsearch.errors import TextError
from distilsearch.home import targets_folder, write_atomically
from distilsearch.progress import Progress, silent

from ..teachers.frame import prompt_ids, stated_frame
from ..teachers.refusals import MIN_BLOCK
from ..teachers.teacher import Teacher
from .account import Account
from .distinct import check_varied, different, separated
from .readers import TEXT
from .sources import BUILT_IN, documents, passed_over, stamp

BlockArray = npt.NDArray[np.int32]

USUAL_BLOCK = 128
MOST_UNKNOWN = 0.5  # share of unknown tokens above which a text is refused
MIN_WORDS = 8  # of a block
MIN_HELDOUT = 4  # fewer blocks give too few pairs to rank
MOST_HELDOUT = 2_000  # two million pairs; time and memory of ranking them grow with the square of the blocks


class ShortTextError(TextError):
    """A text makes too few blocks to hold some out and to train on others; it has `tokens` of `needed` ones."""

    def __init__(self, tokens: int, needed: int, blocks: str, heldout: int) -> None:
        super().__init__(
            f"the text has {tokens:,} tokens, {blocks}: too few to hold out {heldout} and train on {MIN_HELDOUT} or"
            f" more; at least {needed:,} tokens are needed: add text (or shorten the blocks, where text_block can be"
            " set)"
        )
        self.tokens, self.needed = tokens, needed


@dataclass(frozen=True, eq=False)
class Text:
    """Packed blocks of token ids. `sha256` is of their content; `tokens` counts the training part.

    `learnt` is a sha256 of the training part alone: what depends on nothing else is kept by it, whatever is held out.

    `notes` say what was left out of it, a sentence each, for its user to read. `whole` is the share of blocks whose
    middle half is of one document, so that the second half goes on with the first; None where nobody counted.
    """

    train: BlockArray  # (m, block)
    heldout: BlockArray  # (h, block)
    sha256: str
    notes: tuple[str, ...] = ()
    whole: float | None = None

    @property
    def block(self) -> int:
        """Tokens a block, special tokens included."""
        return int(self.train.shape[1])

    @property
    def tokens(self) -> int:
        """Tokens of the training part."""
        return int(self.train.size)

    @functools.cached_property
    def learnt(self) -> str:
        """A sha256 of the training blocks and their shape."""
        return hashlib.sha256(self.train.tobytes() + f"learnt {self.train.shape}".encode()).hexdigest()


def learnt_name(text: Text, place: Callable[[str], Path]) -> str:
    """By which name something lies at its `place` that depends on the training part of a text alone: its digest.

    Former versions named it by the whole text, with what is held out: where it lies there and nowhere else, by that.
    """
    return text.sha256 if place(text.sha256).exists() and not place(text.learnt).exists() else text.learnt


def load_text(
    sources: Sequence[str],
    teacher: Teacher,
    block: int | None = None,
    heldout_fraction: float = 0.05,
    temperature: float = 1.0,
    most_tokens: int | None = None,
    column: str = TEXT,
    progress: Progress = silent,
    most_heldout: int = MOST_HELDOUT,
) -> Text:
    """Read, tokenise, pack and split `sources`: files, globs, folders, a datasets name, or "python-docs".

    All that a glob or a folder holds is one source.

    Args:
        block: tokens of a block; 128 where none is given, or as many as the teacher reads, if these are fewer.
        heldout_fraction: the share of blocks that no student trains on; never more than 2,000 of them.
        most_heldout: of these, how many students are measured on at most, evenly spread; nobody trains on the others.
        temperature: above 1 it evens out the sources, one a language: each is drawn in proportion to its tokens
            to the power 1 / temperature, small ones repeated (XLM-R, arXiv 1911.02116, uses 1 / 0.3).
        most_tokens: how much of each source is read, for streams without end.
        column: where rows of JSON, CSV, Parquet and datasets hold their text. Rows without are skipped and counted;
            where most have none, the text is refused.
        progress: is told the text's notes.
    """
    if not sources:
        raise TextError("no text was named; give files, folders, a datasets name, or 'python-docs'")
    if temperature < 1 or (most_tokens is not None and most_tokens < 1):
        raise TextError(f"temperature must be at least 1 and most_tokens positive, got {temperature}, {most_tokens}")
    if not 0.0 < heldout_fraction < 1.0:
        raise TextError(f"heldout_fraction must lie between 0 and 1, got {heldout_fraction}")
    longest = teacher.longest
    block = min(USUAL_BLOCK, longest) if block is None else block
    if not MIN_BLOCK <= block <= longest:
        raise TextError(
            f"a block must hold {MIN_BLOCK} to {longest} tokens for this teacher, got {block}: choose another "
            "text_block (--text-block), or leave it out and it follows the teacher"
        )
    text = _loaded(sources, teacher, block, heldout_fraction, temperature, most_tokens, column)
    for note in text.notes:
        progress(note, 0, 0)
    return measured_on(text, most_heldout)


def measured_on(text: Text, most: int) -> Text:
    """A text with so many held-out blocks at most; what is learnt, and in which order, stays."""
    if len(text.heldout) <= most:
        return text
    if most < MIN_HELDOUT:
        raise TextError(f"students are measured on at least {MIN_HELDOUT} held-out blocks, got {most}")
    heldout = text.heldout[np.linspace(0, len(text.heldout) - 1, most).round().astype(int)]  # of all sources
    return replace(text, heldout=heldout, sha256=_digest(heldout, text.train))


def _loaded(
    sources: Sequence[str],
    teacher: Teacher,
    block: int,
    heldout_fraction: float,
    temperature: float,
    most_tokens: int | None,
    column: str,
) -> Text:
    """The text as it is cached, or read anew."""
    key = _cache_key(sources, teacher, block, heldout_fraction, temperature, most_tokens, column)
    path = targets_folder() / f"text-{key}.safetensors" if key else None
    cached = read_blocks(path) if path else None
    if cached is not None:
        return cached
    account = Account(column)
    streams = [_tokenise(documents([source], column, account), teacher, most_tokens) for source in sources]
    parts = [np.concatenate(documents) for documents in streams]
    whole = [whole_blocks([len(one) for one in stream], _content(teacher, block)) for stream in streams]
    if temperature == 1:
        parts = [np.concatenate(parts)]
    for part in parts:
        _check(part, teacher)
    texts = [pack(part, teacher, block, heldout_fraction) for part in parts]
    text = texts[0] if temperature == 1 else mix(texts, temperature)
    text = replace(text, whole=sum(many for many, _ in whole) / max(1, sum(all_ for _, all_ in whole)))
    text = replace(text, notes=(*account.notes(), *text.notes))
    if path:
        write_atomically(path, blocks_file(text))
    return text


def pack(tokens: npt.NDArray[np.int32], teacher: Teacher, block: int, heldout_fraction: float) -> Text:
    """Cut one stream of ids into framed blocks, shuffled once, the first of them held out."""
    frame = framing(teacher)
    content = _content(teacher, block)
    if content < MIN_WORDS:
        raise TextError(
            f"a block of {block} tokens leaves {content} for the text, beside {block - content} that the tokenizer and "
            f"the prompt add to each: at least {MIN_WORDS} are needed; choose longer blocks or another prompt"
        )
    count = len(tokens) // content
    heldout = min(MOST_HELDOUT, max(MIN_HELDOUT, round(count * heldout_fraction)))
    if count < heldout + MIN_HELDOUT:
        needed = max(2 * MIN_HELDOUT, math.ceil(MIN_HELDOUT / (1 - heldout_fraction))) * content
        raise ShortTextError(len(tokens), needed, f"which make {count} blocks of {block}", heldout)
    check_varied(tokens, MIN_HELDOUT * content)
    order = np.random.default_rng(0).permutation(count)
    blocks = add_frame(tokens[: count * content].reshape(count, content)[order], frame)
    return _apart(blocks[:heldout], blocks[heldout:])


def _content(teacher: Teacher, block: int) -> int:
    """How many tokens of a block are the text's own."""
    return block - sum(len(part) for part in framing(teacher))


def whole_blocks(lengths: Sequence[int], content: int) -> tuple[int, int]:
    """Of blocks cut from documents of so many tokens, joined: of how many one document covers the middle half, and all.

    >>> whole_blocks([100], 10), whole_blocks([2] * 50, 10), whole_blocks([15, 3, 2], 10)
    ((10, 10), (0, 10), (1, 2))
    """
    count = sum(lengths) // content if content > 0 else 0
    first = np.arange(count) * content + content // 4
    last = np.arange(count) * content + content - content // 4 - 1
    ends = np.cumsum(np.asarray(lengths, np.int64))
    same = np.searchsorted(ends, first, "right") == np.searchsorted(ends, last, "right")
    return int(same.sum()), count


def _apart(heldout: BlockArray, train: BlockArray) -> Text:
    """The text of two parts, without what occurs in both; a `TextError` where too little is left."""
    chosen, rest = separated(heldout, train)
    if min(len(chosen), different(rest)) < MIN_HELDOUT:
        raise TextError(
            f"the text repeats itself: it has {len(heldout) + len(train):,} blocks of {train.shape[1]}, of which"
            f" {different(np.concatenate([heldout, train])):,} differ, too few to hold out {MIN_HELDOUT} and train on"
            f" {MIN_HELDOUT} others; name a text that says more"
        )
    dropped, note = len(train) - len(rest), "blocks that equal one of those held out are not trained on"
    return Text(rest, chosen, _digest(chosen, rest), (f"{dropped:,} {note}",) if dropped else ())


def mix(texts: Sequence[Text], temperature: float) -> Text:
    """One text of several, as long as all together, evened out by temperature.

    Held-out blocks are never repeated, and keep the sources' own shares.
    """
    generator = np.random.default_rng(0)
    sizes = np.array([len(text.train) for text in texts], dtype=float)
    shares = sizes ** (1 / temperature) / (sizes ** (1 / temperature)).sum()
    rows = [
        np.concatenate([generator.permutation(len(text.train)) for _ in range(-(-count // len(text.train)))])[:count]
        for text, count in zip(texts, np.maximum(1, (shares * sizes.sum()).round().astype(int)), strict=True)
    ]
    train = np.concatenate([text.train[chosen] for text, chosen in zip(texts, rows, strict=True)])
    train = np.ascontiguousarray(train[generator.permutation(len(train))])
    heldout_share = min(1.0, MOST_HELDOUT / sum(len(text.heldout) for text in texts))
    heldout = np.concatenate([text.heldout[: max(1, int(heldout_share * len(text.heldout)))] for text in texts])
    mixed = _apart(heldout, train)
    return replace(mixed, notes=(*(note for text in texts for note in text.notes), *mixed.notes))


def blocks_alone(heldout: BlockArray) -> Text:
    """A text of held-out blocks (h, block) that nobody trains on."""
    none = heldout[:0]
    return Text(none, heldout, _digest(heldout, none))


def _digest(heldout: BlockArray, train: BlockArray) -> str:
    shape = (len(heldout) + len(train), heldout.shape[1])
    digest = hashlib.sha256(heldout.tobytes())
    digest.update(train.tobytes() + f"{shape} {len(heldout)}".encode())
    return digest.hexdigest()


def framing(teacher: Teacher) -> tuple[list[int], list[int]]:
    """The ids before and after each sequence: the tokenizer's own, and the prompt that the teacher is asked with."""
    before, after = teacher.frame
    return [*before, *prompt_ids(teacher)], [*after]


def add_frame(content: BlockArray, frame: tuple[list[int], list[int]]) -> BlockArray:
    """(n, c) ids -> (n, before + c + after)."""
    rows = len(content)
    before, after = (np.tile(np.asarray(part, np.int32), (rows, 1)) for part in frame)
    return np.ascontiguousarray(np.concatenate([before, content, after], axis=1), dtype=np.int32)


def pieces(blocks: BlockArray, length: int, frame: tuple[list[int], list[int]]) -> BlockArray:
    """Cut blocks into shorter framed sequences of `length`: (m, block) -> (m * (block // length), length)."""
    before, after = len(frame[0]), len(frame[1])
    per_block, content = blocks.shape[1] // length, length - before - after
    inner = blocks[:, before : before + per_block * content]
    return add_frame(inner.reshape(-1, content), frame)


def _tokenise(texts: Iterator[str], teacher: Teacher, most: int | None = None) -> list[npt.NDArray[np.int32]]:
    """The ids of each document, the first `most` of all; one without any where there are none."""
    parts: list[npt.NDArray[np.int32]] = []
    encode = teacher.reader.encode_batch_fast
    separator = [int(teacher.tokenizer.eos_token_id)] if teacher.kind == "causal" else []
    count, batch = 0, 512 if most is None else 32  # little more is read than is asked for
    while waiting := list(itertools.islice(texts, batch)):
        for encoding in encode(waiting, add_special_tokens=False):
            parts.append(np.asarray(encoding.ids + separator, np.int32))
            count += len(parts[-1])
        if most is not None and count >= most:
            break
    if most is not None and count > most:
        before = count - len(parts[-1])
        while before >= most:
            parts.pop()
            before -= len(parts[-1])
        parts[-1] = parts[-1][: most - before]
    return parts or [np.zeros(0, np.int32)]


def _check(tokens: npt.NDArray[np.int32], teacher: Teacher) -> None:
    """Refuse text that is empty, or in a script or language that the teacher's vocabulary does not have."""
    if not len(tokens):
        raise TextError("the text is empty: no token in any source; name files that hold text")
    unknown = teacher.tokenizer.unk_token_id
    share = float((tokens == unknown).mean()) if unknown is not None else 0.0
    if share > MOST_UNKNOWN:
        raise TextError(
            f"{share:.0%} of the text's tokens are unknown to the tokenizer of {teacher.name}: it was not trained on "
            "this language or script; choose another teacher or another text"
        )


def _cache_key(
    sources: Sequence[str],
    teacher: Teacher,
    block: int,
    heldout_fraction: float,
    temperature: float,
    most: int | None,
    column: str,
) -> str | None:
    """A key over everything the blocks depend on; none when a source cannot be stamped without reading it."""
    stamps = [stamp(source) for source in sources]  # what a folder holds is one source, the same files by name several
    if None in stamps:
        return None
    version = sys.version if any(source in BUILT_IN for source in sources) else ""
    content: list[Any] = [teacher.tokenizer_sha256, teacher.kind, block, heldout_fraction, stamps, version, 5]
    content += [temperature, most, column, [passed_over(source) for source in sources]]
    content += [teacher.prompt, stated_frame(teacher), teacher.reader is not teacher.tokenizer.backend_tokenizer]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def blocks_file(text: Text) -> bytes:
    """A text as the content of a safetensors file, which carries its own hash."""
    notes = {"notes": json.dumps(text.notes)} if text.notes else {}
    notes |= {} if text.whole is None else {"whole": json.dumps(text.whole)}
    return save({"train": text.train, "heldout": text.heldout}, {"sha256": text.sha256, **notes})


def read_blocks(path: Path) -> Text | None:
    """The text in a file of blocks; none when it is absent or damaged."""
    try:
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
            sha256, notes = metadata["sha256"], tuple(json.loads(metadata.get("notes", "[]")))
            whole = float(metadata["whole"]) if "whole" in metadata else None
            train, heldout = file.get_tensor("train"), file.get_tensor("heldout")
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
    return Text(train, heldout, sha256, notes, whole) if _digest(heldout, train) == sha256 else None
