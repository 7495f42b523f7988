"""The super-networks of a run: one a sub-space, each trained once and found by its key ever after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from distilsearch.architecture import Architecture, Value
from distilsearch.distill.quality import LOSS
from distilsearch.distill.supernets.subspaces import SubSpace, part_of, space_of, spelt_out
from distilsearch.distill.supernets.subspaces import subspaces as parts_of
from distilsearch.errors import InputError
from distilsearch.families import TeacherFacts
from distilsearch.space import SearchSpace

if TYPE_CHECKING:
    from distilsearch.distill.supernets.training import SuperTraining
    from distilsearch.distill.teachers.teacher import Teacher

    from ..work.making import Making

Parts = tuple[str, ...] | dict[str, dict[str, list[float]]]
Genes = Mapping[str, Sequence[Value]]
Rule = Literal["sandwich", "nested"]
PUBLISHED = ("tiny", "small", "base")
SUPER_TOKENS = 2_000_000


@dataclass(frozen=True)
class Super:
    """A super-network: the sub-space whose shapes it holds, as the user's genes leave it, and how it is trained."""

    part: SubSpace
    genes: Genes
    training: "SuperTraining"

    @property
    def key(self) -> str:
        """The sha256 that it is kept by, and that trainings which start from it name."""
        return self.training.key


def key_of(supers: Sequence[Super], architecture: Architecture) -> str:
    """The key of the super-network that holds a student; an `InputError` where none does."""
    part = part_of([one.part for one in supers], architecture)
    return next(one.key for one in supers if one.part is part)


def with_supers(
    making: "Making",
    kind: str,
    genes: Genes,
    teacher: "Teacher",
    subspaces: Parts,
    rule: str,
    super_tokens: int,
) -> "Making":
    """A making with one super-network a sub-space of its teacher.

    Raises:
        InputError: the recipe has losses that sub-networks cannot share, or a sub-space has no largest member.
    """
    from distilsearch.distill.supernets.superlm import check_superlm
    from distilsearch.distill.supernets.training import SuperTraining

    if making.training.quality != LOSS:
        raise InputError(
            f'sub-networks of a super-network are judged by quality = "{LOSS}"; got "{making.training.quality}": the'
            " head that this asks for is one student's own"
        )
    supers = []
    for part in parts_of(subspaces, kind, genes, teacher.facts):
        space = space_of([part], kind, genes, teacher.facts)
        check_superlm(teacher, space, making.recipe)
        base = replace(making.training.whole.at(super_tokens), quality=LOSS)  # weights depend on neither
        training = SuperTraining.of(base, space, teacher, rule)
        supers.append(Super(part, genes, training))
    return replace(making, supers=tuple(supers))


def bounded(kind: str, genes: Genes, facts: TeacherFacts | None, given: Parts) -> SearchSpace:
    """The students that the super-networks of a run hold."""
    return space_of(parts_of(given, kind, genes, facts), kind, genes, facts)


def checked(given: Parts, super_tokens: int) -> dict[str, dict[str, Any]]:
    """Sub-spaces as tables; an `InputError` where they are none, or the super-networks would see no text."""
    if super_tokens < 1:
        raise InputError(f"super_tokens are what each super-network is trained on, 1 or more; got {super_tokens}")
    return spelt_out(given)
