"""What evaluations on held-out blocks share: whose tokens a text was cut into, and whether a model reads the same."""

from collections.abc import Sequence

from distilsearch.errors import InputError

from ..given import check_blocks
from ..teachers.teacher import Teacher, load_teacher
from ..texts.data import Text
from .evaluation import Given, Subject


def reader_of(given: Given, name: str) -> tuple[Teacher, Text]:
    """Who the given text was cut into blocks for, and the text."""
    reader = given.reader or given.teacher
    check_blocks(name, given.text is not None and reader is not None)
    assert given.text is not None
    assert reader is not None
    return reader, given.text


def read_by(model: Subject, reader: Teacher, text: Text, kinds: Sequence[str], name: str) -> Teacher:
    """A model, loaded, that reads a text's blocks as they are; an `InputError` says why another does not."""
    own = model if isinstance(model, Teacher) else load_teacher(str(model))
    if own.kind not in kinds:
        raise InputError(
            f"the evaluation {name!r} is of {' and '.join(kinds)} models; {own.name} is of kind {own.kind!r}"
        )
    if own.kind != reader.kind or own.tokenizer.get_vocab() != reader.tokenizer.get_vocab():
        raise InputError(
            f"{own.name} does not read the text in the tokens of {reader.name}: expected a {reader.kind} model of the "
            f"same vocabulary, got a {own.kind} one of {len(own.tokenizer):,} tokens; name no teacher, or its own"
        )
    if text.block > own.longest:
        raise InputError(f"{own.name} reads {own.longest} tokens, and the text's blocks have {text.block}")
    return own
