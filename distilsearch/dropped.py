"""Choices that no architecture of a space can have, because of its constraints, and what would fit them.

A search leaves such choices out; here they are named, so that whoever wrote them down knows.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .architecture import Value
from .errors import InputError

if TYPE_CHECKING:
    from .space import Constraint, Parameter, SearchSpace

LARGEST, MOST_SHOWN = 512, 8  # values that are tried, and shown, of what would fit
MOST_PRODUCTS = 10_000  # combinations that are looked through for the constraint that is to blame


def dropped(space: "SearchSpace") -> list[str]:
    """Each choice that no architecture of the space has, with the constraint that drops it; nothing of opaque rules."""
    if any(constraint.reads is None for constraint in space.constraints):
        return []
    read = {name for constraint in space.constraints for name in constraint.reads or ()}
    return [
        f"{parameter.name} = {choice} is left out: {blame(space.constraints, space.parameters, parameter, choice)}"
        for parameter in space.parameters
        if parameter.name in read and len(parameter.choices) > 1
        for choice in parameter.choices
        if not _possible(space, parameter, choice)
    ]


def _possible(space: "SearchSpace", parameter: "Parameter", choice: Value) -> bool:
    """Whether some architecture has this choice."""
    alone = type(parameter)(parameter.name, (choice,), parameter.ordered)
    parameters = [alone if each.name == parameter.name else each for each in space.parameters]
    try:
        type(space)(space.family, parameters, space.constraints, space.active)
    except InputError:
        return False
    return True


def blame(
    constraints: Sequence["Constraint"], parameters: Sequence["Parameter"], parameter: "Parameter", choice: Value
) -> str:
    """The constraint that no architecture with a choice keeps, and which values of the other gene would."""
    choices = {each.name: each.choices for each in parameters} | {parameter.name: (choice,)}
    for constraint in constraints:
        reads = constraint.reads or ()
        if parameter.name in reads and not kept(constraint, choices):
            rule = constraint.message or f"a rule on {' and '.join(reads)}"
            return rule + "".join(f"; {words}" for words in fitting(constraint, choices))
    return "the constraints together allow it with no choice of the other genes"


def kept(constraint: "Constraint", choices: Mapping[str, Sequence[Value]]) -> bool:
    """Whether some choices of the genes it reads keep a constraint; of an opaque one nobody knows."""
    if constraint.reads is None:
        return True
    combinations = itertools.product(*(choices[name] for name in constraint.reads))
    return any(constraint.holds(*values) for values in itertools.islice(combinations, MOST_PRODUCTS))


def fitting(constraint: "Constraint", choices: Mapping[str, Sequence[Value]]) -> Iterator[str]:
    """For a constraint that no choices keep, on two genes of whole numbers: what would fit each value of the first.

    >>> from .space import Constraint
    >>> rule = Constraint(("width", "heads"), lambda width, heads: width % heads == 0, "heads must divide width")
    >>> [*fitting(rule, {"width": (10,), "heads": (3, 4)})]
    ['with width = 10 heads may be 1, 2, 5, 10']
    """
    reads = constraint.reads or ()
    if len(reads) != 2 or not all(type(value) is int for name in reads for value in choices[name]):
        return
    first, second = reads
    for value in choices[first][:MOST_SHOWN]:
        fits = [str(other) for other in range(1, LARGEST + 1) if constraint.holds(value, other)]
        more = ", ..." if len(fits) > MOST_SHOWN else ""
        yield f"with {first} = {value} {second} may be {', '.join(fits[:MOST_SHOWN]) or 'nothing'}{more}"
