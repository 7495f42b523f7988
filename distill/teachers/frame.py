"""What stands around the words of every text: the tokens that the tokenizer adds to an empty one, and a prompt."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .teacher import Teacher

Frame = tuple[tuple[int, ...], tuple[int, ...]]  # the ids before a text and after it
WORDS = ("a", "the", "1", "。")  # of which any vocabulary has one, if only as unknown


def frame_of(tokenizer: Any) -> Frame:
    """The ids that a fast tokenizer puts before and after a text; both empty where it adds none."""
    backend = tokenizer.backend_tokenizer
    for word in WORDS:
        content, whole = backend.encode(word, add_special_tokens=False).ids, backend.encode(word).ids
        for place in range(len(whole) - len(content) + 1) if content else ():
            if whole[place : place + len(content)] == content:
                return tuple(whole[:place]), tuple(whole[place + len(content) :])
    return (), ()


def prompt_ids(teacher: "Teacher") -> list[int]:
    """The ids of the prompt that texts begin with. Its last space is the first word's, where tokens hold spaces."""
    ids: list[int] = teacher.reader.encode(teacher.prompt.rstrip(), add_special_tokens=False).ids
    return ids


def former_frame(teacher: "Teacher") -> Frame:
    """What version 0.1.0 put around blocks, whatever the tokenizer does."""
    if teacher.kind == "causal":
        return (), ()
    return (int(teacher.tokenizer.cls_token_id),), (int(teacher.tokenizer.sep_token_id),)


def stated_frame(teacher: "Teacher") -> str:
    """The tokenizer's frame in words, for keys; "" where it is what version 0.1.0 put there."""
    if teacher.frame == former_frame(teacher):
        return ""
    return "|".join(",".join(map(str, part)) for part in teacher.frame)
