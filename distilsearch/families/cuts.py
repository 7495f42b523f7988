"""Which of its teacher's layers a student starts from: a rule by its name, or the layers themselves, as "0,3,5".

Of one depth a rule is one subset, and several rules may be the same one. A student that is spelt by its subset is the
same student: `spelt` gives the one canonical spelling, `spellings` all that mean it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ..architecture import Architecture, Value
from ..errors import InputError
from ..space import SearchSpace
from .family import TeacherFacts

GENE = "inherit"
RULES = ("even", "first", "last")
FRESH = "none"  # random weights
SUBSET = re.compile(r"(0|[1-9]\d*)(,(0|[1-9]\d*))*")


def subset_text(layers: Iterable[int]) -> str:
    """The layers of a subset as the value of a gene.

    >>> subset_text([0, 3, 5])
    '0,3,5'
    """
    return ",".join(map(str, layers))


def is_subset(value: object) -> bool:
    """Whether a value of the gene names layers, and no rule."""
    return isinstance(value, str) and SUBSET.fullmatch(value) is not None


def layers_of(subset: str) -> list[int]:
    """The layers that a subset names; an `InputError` where they do not rise.

    >>> layers_of("0,3,5")
    [0, 3, 5]
    """
    layers = [int(one) for one in subset.split(",")]
    if any(a >= b for a, b in pairwise(layers)):
        raise InputError(f"the layers of inherit = {subset!r} do not rise: name each once, the first one first")
    return layers


def inherited_layers(rule: str, layers: int, depth: int) -> list[int]:
    """The teacher layer that each student layer starts from; "even" keeps the first and the last.

    >>> inherited_layers("even", 3, 6), inherited_layers("last", 3, 6), inherited_layers("0,2,5", 3, 6)
    ([0, 3, 5], [3, 4, 5], [0, 2, 5])

    Raises:
        InputError: a subset is of another number of layers, or of layers that the teacher does not have.
    """
    if is_subset(rule):
        return _fitting(rule, layers, depth)
    if rule == "even":
        gaps = max(1, layers - 1)
        return [(2 * i * (depth - 1) + gaps) // (2 * gaps) for i in range(layers)] if layers > 1 else [depth - 1]
    return [i + (depth - layers if rule == "last" else 0) for i in range(layers)]


def _fitting(subset: str, layers: int, depth: int) -> list[int]:
    chosen = layers_of(subset)
    if len(chosen) != layers:
        raise InputError(
            f"inherit = {subset!r} names {len(chosen)} layers, and the student has {layers}; name one for each"
        )
    check_within([subset], depth)
    return chosen


def check_within(values: Iterable[Value], depth: int) -> None:
    """Refuse subsets that name a layer which a teacher of so many does not have."""
    for value in values:
        if is_subset(value) and (most := layers_of(str(value))[-1]) >= depth:
            raise InputError(
                f"inherit = {value!r} names layer {most}, and the teacher's {depth} layers are 0 to {depth - 1}"
            )


def fits(layers: int, value: Value) -> bool:
    """Whether a student of so many layers can start so, as far as can be said without its teacher."""
    return not is_subset(value) or str(value).count(",") + 1 == layers


def spelt(architecture: Architecture, teacher: TeacherFacts) -> Architecture:
    """The same student with its teacher's layers named one by one; of one that has none of them, itself."""
    rule, layers = architecture.values.get(GENE), architecture.values.get("layers")
    kin = architecture.family == teacher.family
    if not kin or rule not in RULES or not isinstance(layers, int) or not 1 <= layers <= teacher.layers:
        return architecture
    return _with(architecture, subset_text(inherited_layers(str(rule), layers, teacher.layers)))


def spelt_row(row: Mapping[str, str], choices: Sequence[Value], teacher: TeacherFacts) -> dict[str, str]:
    """A row of a file as a space with its rules spelt out has it; the only choice holds where the gene is absent."""
    rule, layers = row.get(GENE) or (str(choices[0]) if len(choices) == 1 else ""), row.get("layers", "")
    if rule in RULES and layers.isdecimal() and 1 <= int(layers) <= teacher.layers:
        rule = subset_text(inherited_layers(rule, int(layers), teacher.layers))
    return {**row, GENE: rule} if rule else dict(row)


def spellings(architecture: Architecture, teacher: TeacherFacts) -> list[Architecture]:
    """All spellings of a student, the canonical one first."""
    canonical = spelt(architecture, teacher)
    if not is_subset(canonical.values.get(GENE)):
        return [canonical]
    named = [_with(architecture, rule) for rule in RULES]
    return [canonical, *(one for one in named if spelt(one, teacher) == canonical)]


def within(space: SearchSpace, architecture: Architecture, teacher: TeacherFacts) -> Architecture | None:
    """A student as a space spells it; None where it is no member."""
    spelt_otherwise = (one for one in spellings(architecture, teacher) if one != architecture)
    return next((one for one in (architecture, *spelt_otherwise) if space.contains(one)), None)


def spelt_out(genes: Mapping[str, Sequence[Value]], space: SearchSpace, teacher: TeacherFacts) -> dict[str, Any]:
    """The genes of a space with the rules among the choices spelt out, where students start from layers."""
    choices = {parameter.name: parameter.choices for parameter in space.parameters}
    if teacher.family != space.family or not set(choices.get(GENE, ())) - {FRESH}:
        return dict(genes)
    layers = [int(one) for one in choices["layers"]]
    return {**genes, GENE: tuple(subsets(choices[GENE], layers, teacher.layers))}


def subsets(choices: Sequence[Value], layers: Sequence[int], depth: int) -> list[Value]:
    """Choices of the gene with each rule spelt out for every number of layers; each once, random weights as they are.

    >>> subsets(["even", "last"], [1, 2, 6], 6)
    ['5', '0,5', '4,5', '0,1,2,3,4,5']
    """
    spelt_out: dict[Value, None] = {}
    for count in layers:
        own = [one for one in choices if one != FRESH and fits(count, one)]
        texts = [subset_text(inherited_layers(str(one), count, depth)) for one in own]
        whole = [subset_text(range(depth))] if count == depth else []
        spelt_out |= dict.fromkeys([*whole, *texts])
    return [*spelt_out, *(one for one in choices if one == FRESH)]


def _with(architecture: Architecture, value: str) -> Architecture:
    values: Mapping[str, Value] = {**architecture.values, GENE: value}
    return Architecture(architecture.family, values)
