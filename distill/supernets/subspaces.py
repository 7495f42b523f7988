"""Sub-spaces: the few small spaces that super-networks are trained for, one each, as shares of a teacher.

One super-network for shapes of all sizes trains none of them well (AutoDistil's ablation: one space of 11,232 against
three of 256), so a space is the union of a few in which shapes are alike. The published ones are of a teacher of 12
layers, 768 wide; another teacher's have the same shares of its layers and its width. Heads are what divides a width
into heads of 16 to 64: with the paper's own, whose size is 64 whatever the width, no student is a stock BERT.

Notation
    of          layers and width of the teacher that a sub-space's numbers are of; none: they are taken as they are
    ratio       width of the feed-forward network over the width of the model
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distilsearch.architecture import Architecture, Value
from distilsearch.errors import InputError, unknown
from distilsearch.families import TeacherFacts, family
from distilsearch.families.shared import not_larger
from distilsearch.space import Constraint, SearchSpace

Json = Mapping[str, Any]
Choices = Mapping[str, Sequence[Value]]

PAPER = (12, 768)  # layers and width of the paper's teacher
SUBSPACES: dict[str, Json] = {  # AutoDistil's (arXiv 2201.12507): 4 choices of 4 genes each, 256 shapes
    "tiny": {"layers": [4, 5, 6, 7], "width": [128, 160, 192, 224], "ratio": [2.0, 2.5, 3.0, 3.5], "of": [*PAPER]},
    "small": {"layers": [9, 10, 11, 12], "width": [256, 288, 320, 352], "ratio": [2.5, 3.0, 3.5, 4.0], "of": [*PAPER]},
    "base": {"layers": [9, 10, 11, 12], "width": [544, 576, 608, 640], "ratio": [2.5, 3.0, 3.5, 4.0], "of": [*PAPER]},
}
GENES = ("layers", "width", "heads", "ffn")  # what a sub-space chooses; all other genes have one value
NEEDED, KEYS = ("layers", "width"), ("layers", "width", "heads", "ratio", "ffn", "of")
MULTIPLE = 8  # of which widths are whole numbers
HEAD_SIZES = (16, 64)


@dataclass(frozen=True)
class SubSpace:
    """One sub-space of a teacher: choices of each gene, and of the feed-forward width by the width of the model."""

    name: str
    layers: tuple[int, ...]
    width: tuple[int, ...]
    heads: tuple[int, ...]
    ffn: Mapping[int, tuple[int, ...]]

    def holds(self, layers: int, width: int, heads: int, ffn: int) -> bool:
        """Whether a shape is a member; that heads divide widths is the family's rule."""
        return layers in self.layers and heads in self.heads and ffn in self.ffn.get(width, ())

    def has(self, architecture: Architecture) -> bool:
        """Whether an architecture is a member."""
        return self.holds(*(int(architecture[gene]) for gene in GENES))

    @property
    def choices(self) -> dict[str, tuple[int, ...]]:
        """The choices of each gene."""
        wide = sorted({one for several in self.ffn.values() for one in several})
        return {"layers": self.layers, "width": self.width, "heads": self.heads, "ffn": tuple(wide)}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        ffn = [[width, list(several)] for width, several in sorted(self.ffn.items())]
        lists = {gene: list(getattr(self, gene)) for gene in ("layers", "width", "heads")}
        return {"name": self.name, **lists, "ffn": ffn}

    @classmethod
    def from_json(cls, data: Json) -> "SubSpace":
        """The inverse of `to_json`."""
        lists = {gene: tuple(data[gene]) for gene in ("layers", "width", "heads")}
        return cls(str(data["name"]), **lists, ffn={width: tuple(several) for width, several in data["ffn"]})


def spelt_out(given: Sequence[str] | Mapping[str, Json]) -> dict[str, dict[str, Any]]:
    """Sub-spaces by name as tables: those of `SUBSPACES` where names alone are given; one table a sub-space else.

    Raises:
        InputError: there is none, a name is unknown, or a table lacks what it needs or holds something else.
    """
    if not given:
        raise InputError(f"expected one sub-space or more, such as {', '.join(map(repr, SUBSPACES))}; got none")
    if not isinstance(given, Mapping):
        for name in given:
            if name not in SUBSPACES:
                raise unknown("sub-space", name, SUBSPACES)
        given = {name: SUBSPACES[name] for name in given}
    for name, table in given.items():
        _check(name, table)
    return {name: {key: _plain(key, values) for key, values in table.items()} for name, table in given.items()}


def subspaces(
    given: Sequence[str] | Mapping[str, Json], name: str, genes: Choices, facts: TeacherFacts | None
) -> tuple[SubSpace, ...]:
    """The sub-spaces of a teacher, for students of a family; equal ones are one.

    Args:
        given: as `spelt_out` takes them.
        name: the family's.
        genes: choices of the user, which stand in place of each sub-space's own.
        facts: of the teacher; without one, numbers are those of the paper's.

    Raises:
        InputError: a sub-space has no shape that stock transformers can load, or the family has no such genes.
    """
    _check_family(name, genes)
    made = [_made(label, table, genes, facts) for label, table in spelt_out(given).items()]
    for one in made:
        space_of([one], name, genes, facts)
    alike = {(one.layers, one.width, one.heads, tuple(sorted(one.ffn.items()))): one for one in reversed(made)}
    return tuple(one for one in made if any(one is first for first in alike.values()))


def space_of(parts: Sequence[SubSpace], name: str, genes: Choices, facts: TeacherFacts | None) -> SearchSpace:
    """The space of the shapes of some sub-spaces, as a family and a teacher allow them.

    Raises:
        InputError: there is none.
    """
    merged = {gene: sorted({choice for part in parts for choice in part.choices[gene]}) for gene in GENES}
    whole = family(name).space({"inherit": ("even",), **genes, **merged}, facts)
    if facts is not None:  # a super-network is as large as its largest choices
        kept = {parameter.name: parameter.choices for parameter in whole.parameters}
        for gene, choices in merged.items():
            if larger := [choice for choice in choices if choice not in kept[gene]]:
                raise not_larger(gene, larger, facts[gene])
    rule = Constraint(
        GENES,
        lambda *shape: any(part.holds(*shape) for part in parts),
        f"a shape belongs to a sub-space ({', '.join(part.name for part in parts)})",
    )
    return SearchSpace(whole.family, whole.parameters, [*whole.constraints, rule], whole.active)


def part_of(parts: Iterable[SubSpace], architecture: Architecture) -> SubSpace:
    """The first sub-space that an architecture is a member of; an `InputError` where it is of none."""
    for part in parts:
        if part.has(architecture):
            return part
    shape = ", ".join(f"{gene}={architecture[gene]}" for gene in GENES)
    raise InputError(f"no sub-space holds {shape}: ask for members of the run's space")


def said(parts: Sequence[SubSpace], name: str, genes: Choices, facts: TeacherFacts | None) -> list[str]:
    """What each sub-space came to, a line each: how many shapes, of which sizes."""
    return [f"sub-space {part.name!r}: {_shapes(part, name, genes, facts)}" for part in parts]


def _shapes(part: SubSpace, name: str, genes: Choices, facts: TeacherFacts | None) -> str:
    count = space_of([part], name, genes, facts).size
    depths, widths = ", ".join(map(str, part.layers)), ", ".join(map(str, part.width))
    usual = " (256 in the paper)" if part.name in SUBSPACES and not genes else ""
    return f"{count} students{usual}: {depths} layers, {widths} wide, with heads of 16 to 64 that divide the width"


def _made(name: str, table: Json, genes: Choices, facts: TeacherFacts | None) -> SubSpace:
    """A sub-space scaled to a teacher, with what the user gives in place of its own choices."""
    layers, width = table.get("of", (None, None))
    of_layers, of_width = (facts.layers, facts.width) if facts else PAPER
    depths = [_whole(one, of_layers, layers) for one in table["layers"]]
    widths = [_whole(one, of_width, width, MULTIPLE) for one in table["width"]]
    chosen = {"layers": depths, "width": widths, **{gene: genes[gene] for gene in NEEDED if gene in genes}}
    given = genes.get("heads", table.get("heads"))
    heads = {one: [n for n in _heads(one) if not given or n in given] for one in _rising(chosen["width"])}
    ffn = {one: several for one in heads if heads[one] and (several := _ffn(one, table, genes, facts))}
    if not ffn:
        raise _no_shape(name, heads, given)
    return SubSpace(name, _rising(chosen["layers"]), tuple(ffn), _rising(n for one in ffn for n in heads[one]), ffn)


def _no_shape(name: str, heads: Mapping[int, Sequence[int]], given: Sequence[Value] | None) -> InputError:
    widths = ", ".join(map(str, heads))
    why = f"are divided by none of the heads {list(given)}" if given else "cannot be divided"
    if any(heads.values()):
        return InputError(f"all feed-forward networks of the sub-space {name!r} are wider than the teacher's; leave it"
                          " out of `subspaces`, or give [space] ffn")  # fmt: skip
    return InputError(
        f"the sub-space {name!r} has no shape that stock transformers can load: its widths ({widths}) {why} into"
        f" heads of {HEAD_SIZES[0]} to {HEAD_SIZES[1]}; leave it out of `subspaces`, or give genes of your own"
    )


def _ffn(width: int, table: Json, genes: Choices, facts: TeacherFacts | None) -> tuple[int, ...]:
    """The feed-forward widths of a width, none larger than the teacher's."""
    given = genes.get("ffn", table.get("ffn"))
    several = given if given else [_half_up(ratio * width) for ratio in table["ratio"]]
    most = facts.ffn if facts and not given else math.inf  # a larger one that is given, the family refuses
    return _rising(one for one in several if int(one) <= most)


def _heads(width: int) -> list[int]:
    least, most = HEAD_SIZES
    return [width // size for size in range(most, least - 1, -1) if width % size == 0]


def _whole(number: float, of_teacher: int, of: int | None, multiple: int = 1) -> int:
    """A number of a sub-space, scaled to a teacher."""
    if of is None:
        return int(number)
    return min(of_teacher, max(1, _half_up(number * of_teacher / of / multiple)) * multiple)


def _plain(key: str, values: Sequence[float]) -> list[int | float]:
    return [float(one) if key == "ratio" else int(one) for one in values]


def _half_up(number: float) -> int:
    return math.floor(number + 0.5)


def _rising(numbers: Iterable[Value]) -> tuple[int, ...]:
    return tuple(sorted({int(number) for number in numbers}))


def _check(name: str, table: Json) -> None:
    """Refuse a table that is no sub-space."""
    for key in table:
        if key not in KEYS:
            raise unknown(f"key of the sub-space {name!r}", key, KEYS)
    lacking = [key for key in NEEDED if not table.get(key)] + ([] if {"ratio", "ffn"} & set(table) else ["ratio"])
    if lacking:
        raise InputError(f"the sub-space {name!r} needs {' and '.join(lacking)}: a list of choices each")
    for key, values in table.items():
        whole = key != "ratio"
        if not all(isinstance(one, int | float) and one > 0 and (not whole or one == int(one)) for one in values):
            kind = "positive whole numbers" if whole else "positive numbers"
            raise InputError(f"{key} of the sub-space {name!r} should be {kind}; got {list(values)}")
    if "of" in table and len(table["of"]) != 2:
        raise InputError(f"of in the sub-space {name!r} should be a teacher's layers and width, such as {[*PAPER]}")


def _check_family(name: str, genes: Choices) -> None:
    """Refuse families whose students no super-network of sub-spaces holds, and genes that are the same for all."""
    known = {parameter.name for parameter in family(name).space().parameters}
    if not set(GENES) <= known or {"kv_heads", "bottleneck"} & known:
        raise InputError(
            f"students of family {name!r} are not sub-networks of one super-network: its sub-spaces choose"
            f" {', '.join(GENES)}, and it has other genes; use 'bert' or 'roberta', or the source \"distilled\""
        )
    if [*genes.get("inherit", ("even",))] != ["even"]:
        raise InputError("a sub-network starts from its super-network's layers: leave the gene inherit out of [space]")
    several = [gene for gene, choices in genes.items() if gene not in GENES and len(choices) > 1]
    if several:
        raise InputError(f"all sub-networks of a super-network have one {several[0]}; got {list(genes[several[0]])}")
