"""What can be recorded of a model while it runs, teacher or student: the names that losses ask for.

Notation
    n, s       sequences in the batch, tokens a sequence
    k          words that are asked for: hidden ones, or all that have a next one
    w          what stands there: the width of the stream, or of queries, keys or values
    L          layers
"""

from dataclasses import dataclass

from torch import Tensor

from .teachers.ending import Ending


@dataclass(frozen=True)
class State:
    """One thing that can be recorded. `per` is what it holds one row for: its first axes, and how it is cut."""

    about: str
    per: str  # "sequence" (n, w) | "token" (n, s, w) | "word" (k, w) | "layer" (L, n, s, w)

    def part(self, value: Tensor, index: int, parts: int, words: Tensor) -> Tensor:
        """What every `parts`-th sequence from `index` on has of it; `words` (k,) says which words are in those."""
        if self.per == "word":
            return value[words]
        return value[:, index::parts] if self.per == "layer" else value[index::parts]

    def stored(self, value: Tensor) -> Tensor:
        """As a teacher's targets are kept on disk."""
        return value.float().contiguous() if self.per == "sequence" else value.bfloat16().contiguous()

    def token_bytes(self, width: int, layers: int, sequence: int, words: float) -> float:
        """About the bytes a token of text, where `words` of them are asked for, on average."""
        sizes = {"sequence": 4.0 * width / sequence, "word": 2 * words * width, "layer": 2.0 * width * layers}
        return sizes.get(self.per, 2 * width)


STATES: dict[str, State] = {  # in the order in which targets are listed: it is part of what a set of them is known by
    "hidden": State("the stream after the last layer", "token"),
    "pooled": State("the sequence's embedding, of unit length", "sequence"),
    "queries": State("queries of one layer", "token"),
    "keys": State("keys of one layer", "token"),
    "values": State("values of one layer", "token"),
    "transformed": State("as the output table takes the words that are asked for", "word"),
    "states": State("the stream after each layer", "layer"),
    "all_queries": State("queries of each layer", "layer"),
    "all_keys": State("keys of each layer", "layer"),
    "chosen": State("the stream after the last layer, of the words that are asked for", "word"),
}


def pooled(hidden: Tensor, ending: Ending, mask: Tensor | None = None) -> Tensor:
    """(n, s, w) hidden states of sequences, with their mask (n, s) if they are padded -> (n, o) of unit length."""
    return ending.units(hidden, mask)
