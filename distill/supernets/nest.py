"""The sub-networks of one super-network: a space whose largest member holds all others as slices of its own weights.

A gene of size (of `Family.sliced`) may vary, and so may the number of heads, which only divides the width anew; all
else must be one value. Which sub-networks a step trains is a rule of `RULES`: a pure function of the members, the seed
and the step, so that a run that was killed meets the same ones again.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError
from distilsearch.families import family
from distilsearch.families.family import TeacherFacts
from distilsearch.space import Codes, SearchSpace

HEADS = "heads"  # a gene that divides the width and cuts no weight
MOST = 1 << 17  # members of one sub-space; a rule of sampling looks at all of them
FEWEST, MOST_SIZES = 4, 6  # nested sizes
RANDOM = 2  # sub-networks of a sandwich beside the smallest and the largest


@dataclass(frozen=True, eq=False)
class Nest:
    """The members of a space, the smallest and the largest of them.

    Of members that differ in heads alone, the one whose heads are nearest in size to the teacher's stands for them.
    """

    space: SearchSpace
    codes: Codes  # (n, d) of all members
    smallest: Architecture
    largest: Architecture
    head_size: float  # the teacher's

    @classmethod
    def of(cls, space: SearchSpace, facts: TeacherFacts) -> "Nest":
        """The nest of a space; an `InputError` says why its members cannot share weights."""
        sliced = _check_family(space, facts)
        if space.listed > MOST:
            raise InputError(
                f"a super-network is trained on a space of at most {MOST:,} sub-networks, and this one has "
                f"{space.size}: give fewer choices, or several sub-spaces"
            )
        codes, head_size = space.grid(MOST), facts.width / facts.heads
        _check_genes(space, codes, sliced)
        ends = [_end(space, codes, sliced, which) for which in (np.min, np.max)]
        smallest, largest = (_nearest(space, rows, head_size) for rows in ends)
        return cls(space, codes, smallest, largest, head_size)

    def __len__(self) -> int:
        """How many sub-networks there are."""
        return len(self.codes)

    def to_json(self) -> dict[str, Any]:
        """What the space is, as plain JSON; two spaces of the same members in the same words are equal."""
        genes = {parameter.name: list(parameter.choices) for parameter in self.space.parameters}
        members = hashlib.sha256(np.ascontiguousarray(self.codes).tobytes()).hexdigest()
        return {"family": self.space.family, "genes": genes, "count": len(self), "members": members}

    def drawn(self, seed: int, step: int, count: int) -> list[Architecture]:
        """So many members, each drawn evenly from all; the same for the same seed and step."""
        rows = np.random.default_rng([seed, step]).integers(len(self), size=count)
        return self.space.decode(self.codes[rows])

    def sizes(self, count: int) -> list[Architecture]:
        """At most `count` members from the smallest to the largest, each within the next, about evenly apart."""
        sizes = np.stack([_values(self.space, self.codes, gene) for gene in family(self.space.family).sliced], axis=1)
        low, high = sizes.min(0), sizes.max(0)  # (genes,)
        scaled = (sizes - low) / np.where(high > low, high - low, 1.0)  # (n, genes)
        off = np.abs(_values(self.space, self.codes, "width") / _values(self.space, self.codes, HEADS) - self.head_size)
        chosen, before = [self.smallest], low
        for share in np.linspace(0, 1, count)[1:-1]:
            distance = np.square(scaled - share).sum(1) + np.where((sizes >= before).all(1), 0.0, np.inf)
            place = int(np.lexsort((off, distance.round(12)))[0])
            chosen += self.space.decode(self.codes[place : place + 1])
            before = sizes[place]
        return list(dict.fromkeys([*chosen, self.largest]))


def _check_family(space: SearchSpace, facts: TeacherFacts) -> tuple[str, ...]:
    sliced: tuple[str, ...] = getattr(family(space.family), "sliced", ())
    if not sliced:
        raise InputError(
            f"{space.family} students cannot share the weights of one super-network: their weights are no slices of "
            "each other; train them apart (source = \"distilled\"), or take a teacher of BERT's or RoBERTa's kind"
        )
    if space.family != facts.family:
        raise InputError(
            f"a super-network is cut from a teacher of its own family; got {space.family} sub-networks of a "
            f"{facts.family} teacher"
        )
    return sliced


def _check_genes(space: SearchSpace, codes: Codes, sliced: tuple[str, ...]) -> None:
    for column, parameter in enumerate(space.parameters):
        values = [parameter.choices[i] for i in np.unique(codes[:, column])]
        if len(values) > 1 and parameter.name not in (*sliced, HEADS):
            raise InputError(
                f"the sub-networks of one super-network differ in {', '.join(sliced)} and {HEADS} alone; this space "
                f"has {parameter.name} = {values}: choose one of them"
            )


def _end(space: SearchSpace, codes: Codes, sliced: tuple[str, ...], which: Callable[..., Any]) -> Codes:
    """The members (m, d) that have the least or the most of every gene of size."""
    chosen = np.ones(len(codes), dtype=bool)
    wanted = {}
    for gene in sliced:
        values = _values(space, codes, gene)
        wanted[gene] = int(which(values))
        chosen &= values == which(values)
    if not chosen.any():
        word = "largest" if which is np.max else "smallest"
        shape = ", ".join(f"{gene} {value}" for gene, value in wanted.items())
        raise InputError(
            f"this space has no {word} member: none of its {len(codes):,} sub-networks has {shape}, so no one of them "
            f"{'holds all others' if which is np.max else 'lies in all others'}; allow that shape, or split the space"
        )
    return codes[chosen]


def _nearest(space: SearchSpace, rows: Codes, head_size: float) -> Architecture:
    """The member whose heads are nearest in size to the teacher's; of two equally near, the one with more of them."""
    heads = _values(space, rows, HEADS)
    off = np.abs(_values(space, rows, "width") / heads - head_size)
    place = int(np.lexsort((-heads, off))[0])
    return space.decode(rows[place : place + 1])[0]


def _values(space: SearchSpace, codes: Codes, gene: str) -> npt.NDArray[np.float64]:
    """The values (n,) of a gene of numbers."""
    column = space.column(gene)
    return np.array([float(value) for value in space.parameters[column].choices])[codes[:, column]]


Rule = Callable[[Nest, int, int], list[Architecture]]
"""(nest, seed, step) -> the sub-networks that the step trains; their gradients are summed."""


def sandwich(nest: Nest, seed: int, step: int) -> list[Architecture]:
    """The smallest, the largest and two drawn evenly: AutoDistil's rule (arXiv 2201.12507)."""
    return [nest.smallest, nest.largest, *nest.drawn(seed, step, RANDOM)]


def nested(nest: Nest, seed: int, step: int) -> list[Architecture]:
    """The same four to six sizes at every step, each within the next: as many as there are widths or depths."""
    varied = [len(np.unique(nest.codes[:, nest.space.column(gene)])) for gene in ("layers", "width")]
    return nest.sizes(min(MOST_SIZES, max(FEWEST, *varied)))


def largest(nest: Nest, seed: int, step: int) -> list[Architecture]:
    """The largest alone: one fixed student, whose slices nobody has trained. What the other rules are held against."""
    return [nest.largest]


RULES: Mapping[str, Rule] = {"sandwich": sandwich, "nested": nested, "largest": largest}
"""Which sub-networks a step trains, by the names that a `SuperTraining` holds."""
