"""What the families share: genes with a teacher's limits, which layers and units are kept, where layers lie.

Families stay one file each; what stands here knows nothing of any of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..architecture import Architecture, Value
from ..errors import InputError, TeacherError, unknown
from ..operators import ACTIVATIONS, SAME_ACTIVATION, Serving
from ..space import Constraint, Parameter, SearchSpace
from .cuts import FRESH, GENE, check_within, fits, is_subset, layers_of, subset_text, subsets
from .cuts import inherited_layers as inherited_layers
from .family import TeacherFacts

INHERIT = ("even", "first", "last", "none")
"""The rules for which teacher layers a student starts from; "none": from random weights, no choice by default."""

TIMED = (*ACTIVATIONS[1:], *SAME_ACTIVATION)
"""The activations a model may have: without weights of their own, and each timed under a name of `ACTIVATIONS`."""
WORDS = {"embedding": "an embedding model", "mlm": "a masked language model", "causal": "a causal language model"}
POOLS = ("mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""The ways of making one vector of a text's tokens, by the names of sentence-transformers."""


@dataclass(frozen=True)
class Genes:
    """The genes of a family: default choices, and what a teacher decides."""

    family: str
    choices: Mapping[str, tuple[Value, ...]]
    bounded: tuple[str, ...]  # a student has no more of these than a teacher of its own family
    constants: tuple[str, ...]  # the teacher's own
    words: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)  # genes whose values are listed
    categorical: tuple[str, ...] = ("inherit", "activation", "head", "pool")

    def space(
        self,
        given: Mapping[str, Sequence[Value]] | None,
        teacher: TeacherFacts | None,
        constraints: Sequence[Constraint],
    ) -> SearchSpace:
        """The space of the given choices; with a teacher, constants are its own and it bounds its students.

        Choices that are more than the teacher's are left out where others remain: `too_large` names them.
        """
        given = _as_text(dict(given or {}))
        if mistakes := [mistake for gene in given for mistake in self._mistakes(gene, given[gene])]:
            raise InputError("; ".join(mistakes))
        chosen = {gene: tuple(self._of(gene, given, teacher)) for gene in self.choices}
        active = {}
        if teacher and teacher.family == self.family:
            constraints = [*constraints, self._smaller(teacher)]
        if any(map(is_subset, chosen[GENE])):
            chosen[GENE] = self._subsets(chosen, teacher)
            constraints = [*constraints, _as_many(chosen[GENE], teacher)]
        elif teacher:
            depth = teacher.layers
            active[GENE] = Constraint(("layers",), lambda layers: layers < depth)
        parameters = [Parameter(gene, own, ordered=gene not in self.categorical) for gene, own in chosen.items()]
        try:
            return SearchSpace(self.family, parameters, constraints, active)
        except InputError as error:  # the choices that would keep the constraints may be among those left out
            left = _left_out(given, chosen, teacher) if teacher else []
            raise InputError("; ".join([str(error), *left])) from None

    def _subsets(self, chosen: Mapping[str, tuple[Value, ...]], teacher: TeacherFacts | None) -> tuple[Value, ...]:
        """The choices of which layers a student starts from, where some are named one by one: with a teacher, all."""
        if teacher is None:
            return chosen[GENE]
        if teacher.family != self.family:
            raise InputError(
                f"a {self.family} student starts from the words of a {teacher.family} teacher and from none of its "
                f"layers: leave {GENE} out, or make it {FRESH!r}"
            )
        check_within(chosen[GENE], teacher.layers)
        spelt_out = subsets(chosen[GENE], [int(one) for one in chosen["layers"]], teacher.layers)
        return tuple(spelt_out) or chosen[GENE]  # that none is left, the space says

    def _of(self, gene: str, given: Mapping[str, Sequence[Value]], teacher: TeacherFacts | None) -> Sequence[Value]:
        if teacher is None:
            return given.get(gene, self.choices[gene])
        kin = teacher.family == self.family
        if (gene in self.constants and (kin or teacher[gene])) or (gene == "activation" and kin and gene not in given):
            own = teacher[gene]
            if tuple(given.get(gene, (own,))) != (own,):
                raise InputError(f"{gene} is the teacher's own ({own!r}) and cannot be searched; got {given[gene]}")
            return (own,)
        if gene not in self.bounded or not kin:
            return given.get(gene, self.choices[gene])
        limit = teacher[gene]
        own = [c for c in given.get(gene, ()) if c <= limit]
        if given.get(gene) and not own:
            raise not_larger(gene, given[gene], limit)
        return own or sorted({c for c in self.choices[gene] if c <= limit} | {limit})

    def _smaller(self, teacher: TeacherFacts) -> Constraint:
        """The teacher itself is no student."""
        limits = [teacher[gene] for gene in self.bounded]
        return Constraint(
            self.bounded,
            lambda *values: any(value < limit for value, limit in zip(values, limits, strict=True)),
            f"a student has fewer {', '.join(self.bounded[:-1])} or {self.bounded[-1]} than its teacher",
        )

    def _mistakes(self, gene: str, values: Sequence[Value]) -> Iterator[str]:
        """All that is wrong with the choices of a gene."""
        if gene not in self.choices:
            yield str(unknown(f"gene of family {self.family}", gene, self.choices))
            return
        listed, none = self.words.get(gene), 0 in self.choices[gene]
        wanted = "a whole number, 0 for none" if none else "a positive whole number"
        for value in values:
            if gene == GENE and is_subset(value):
                layers_of(str(value))
                continue
            if listed and value not in listed:
                also = ", or layers of the teacher such as '0,3,5'" if gene == GENE else ""
                yield str(unknown(f"value of {gene}", str(value), map(str, listed))) + also
            if not listed and gene not in self.categorical and (type(value) is not int or value < 1 - none):
                yield f"{gene} must be {wanted}; got {value!r}"


def too_large(given: Mapping[str, Sequence[Value]], space: SearchSpace, teacher: TeacherFacts) -> list[str]:
    """Each of the given choices that a space has left out, since its teacher has less, in words."""
    return _left_out(given, {parameter.name: parameter.choices for parameter in space.parameters}, teacher)


def _left_out(
    given: Mapping[str, Sequence[Value]], choices: Mapping[str, Sequence[Value]], teacher: TeacherFacts
) -> list[str]:
    return [
        f"{gene} = {choice} is left out: the teacher has {teacher[gene]}, and no student is larger than its teacher"
        for gene, several in given.items()
        if gene != GENE and len(several) > 1
        for choice in several
        if isinstance(choice, int) and choice not in choices[gene] and choice > teacher[gene]
    ]


def not_larger(gene: str, choices: Sequence[Value], limit: Value) -> InputError:
    """The error where all choices of a gene are more than the teacher's."""
    return InputError(
        f"{gene}={[*choices]} is more than the teacher's {limit}; a student is not larger than its teacher"
    )


def _as_text(given: dict[str, Sequence[Value]]) -> dict[str, Sequence[Value]]:
    """One layer by its number is a subset too, though it reads like a whole number."""
    if GENE in given:
        given[GENE] = [str(one) if type(one) is int else one for one in given[GENE]]
    return given


def _as_many(choices: Sequence[Value], teacher: TeacherFacts | None) -> Constraint:
    """Layers that are named one by one are as many as the student's; one as deep as its teacher has no choice."""
    deepest, whole = (teacher.layers, subset_text(range(teacher.layers))) if teacher else (0, "")
    message = f"{GENE} names as many of the teacher's layers as the student has"
    return Constraint(
        ("layers", GENE),
        lambda layers, value: fits(layers, value) and (layers != deepest or value == whole or whole not in choices),
        message,
    )


def only_encodes(family: str, serving: Serving) -> None:
    """Refuse the phases of generation."""
    if serving.phase != "encode":
        raise no_generation(family, serving.phase)


def no_generation(family: str, phase: str) -> InputError:
    """The error for a phase of generation that encoders are asked for."""
    return InputError(f'{family} models encode; got the phase {phase!r}: use phase = "encode"')


def check_type(config: Any, name: str, teachers: tuple[str, ...]) -> None:
    """Refuse a teacher of another model type."""
    if config.model_type not in teachers:
        wanted = " or ".join(map(repr, teachers))
        raise InputError(f"expected a teacher of model type {wanted}; {name} is a {config.model_type!r} model")


def check_activation(config: Any, name: str) -> None:
    """Refuse a teacher whose activation has weights of its own, or is unknown: no operator stands for it."""
    if config.hidden_act not in TIMED:
        raise TeacherError(
            f"{name} has the activation {config.hidden_act!r}, which is not among those that students can have: "
            f"{', '.join(sorted(TIMED))}; take another teacher"
        )


def check_settings(config: Any, name: str, settings: Mapping[str, Any]) -> None:
    """Refuse a teacher that is set to compute something that its students do not: {setting: their value}."""
    for setting, value in settings.items():
        own = getattr(config, setting, value)
        if own != value:
            raise TeacherError(
                f"{name} is a {config.model_type!r} model with {setting} = {own!r} in config.json, and its students "
                f"can only have {value!r}: they would compute something else; take another teacher"
            )


def check_head(config: Any, name: str, head: str, heads: Sequence[Value]) -> None:
    """Refuse a teacher that is used for what no student of its family is made for."""
    if head not in heads:
        asked, *possible = (WORDS.get(str(one), str(one)) for one in (head, *heads))
        wanted = " or ".join(possible)
        raise TeacherError(
            f"{name} is a {config.model_type!r} model that serves as {asked}, and students of this type can only be "
            f"{wanted}: name {wanted} of it, saved with its head, or a teacher of another type"
        )


def pooled(hidden: Any, attention_mask: Any, pool: str) -> Any:
    """Unit embeddings (b, w) of hidden states (b, s, w), pooled in one of the ways of `POOLS`."""
    import torch

    return torch.nn.functional.normalize(pooled_tokens(hidden, attention_mask, pool), dim=-1)


def pooled_tokens(hidden: Any, attention_mask: Any, pool: str, skip: int = 0) -> Any:
    """One vector (b, w) a text of hidden states (b, s, w), as sentence-transformers pools; padding is on the right.

    Args:
        skip: how many first tokens are left out; what stands for a position still counts from the first one.
    """
    import torch

    hidden, attention_mask = hidden[:, skip:], attention_mask[:, skip:]
    if pool == "cls":
        return hidden[:, 0]
    if pool == "lasttoken":
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), attention_mask.sum(1) - 1]
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)  # (b, s, 1)
    if pool == "max":
        return hidden.masked_fill(mask == 0, float("-inf")).amax(1)
    if pool == "weightedmean":
        mask = mask * torch.arange(skip + 1, skip + 1 + mask.shape[1], device=mask.device)[:, None]
    count = mask.sum(1).clamp(min=1e-9)
    return (hidden * mask).sum(1) / (count.sqrt() if pool == "mean_sqrt_len_tokens" else count)


def pooling_cost(pool: str) -> str:
    """Which of the two ways that are timed, "mean" over all tokens or "cls" alone, a way of pooling costs as much as.

    >>> [pooling_cost(pool) for pool in POOLS]
    ['mean', 'cls', 'mean', 'mean', 'mean', 'cls']
    """
    return "cls" if pool in ("cls", "lasttoken") else "mean"


def kept_settings(teacher_config: Any, names: Sequence[str]) -> dict[str, Any]:
    """What is no gene and is taken from the teacher's configuration where it has it."""
    return {name: getattr(teacher_config, name) for name in names if hasattr(teacher_config, name)}


def best(importance: Any, count: int, ordered: bool = False) -> Any:
    """The places of the `count` most important entries, as they stand, or `ordered`: the most important one first."""
    chosen = importance.argsort(descending=True, stable=True)[:count]
    return chosen if ordered else chosen.sort().values


def head_rows(importance: Any, width: int, teacher_width: int, ordered: bool = False) -> Any:
    """The query, key and value rows kept: those of the most important heads, whole ones first.

    They stand as in the teacher, or `ordered`: the most important head first.
    """
    import torch

    size = teacher_width // len(importance)
    ranked = importance.argsort(descending=True, stable=True)[: -(-width // size)]
    whole, part = width // size, width % size
    heads = ranked if ordered else torch.cat([ranked[:whole].sort().values, ranked[whole:]])
    rows = (heads[:, None] * size + torch.arange(size)).flatten()
    return rows[: whole * size + part]


def copy_parts(
    student: Any,
    teacher: Any,
    architecture: Architecture,
    before: str,
    cut: Callable[[str, Any, Sequence[int], int], Any],
) -> None:
    """Fill every parameter of the student that has an origin in the teacher, in place.

    Args:
        before: what stands before the number of a layer in the names of parameters.
        cut: (teacher's name, its weight, the student's shape, teacher layer) -> the weight at that shape.
    """
    import torch

    source = dict(teacher.named_parameters())
    depth = teacher.config.num_hidden_layers
    chosen = inherited_layers(str(architecture["inherit"]), int(architecture["layers"]), depth)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            origin, layer = teacher_name(name, chosen, before)
            if origin in source:
                parameter.copy_(cut(origin, source[origin], parameter.shape, layer))


def layer_named(parameter: str, before: str) -> int | None:
    """The number of a layer that follows `before` in the name of a parameter.

    >>> layer_named("bert.encoder.layer.3.output.dense.weight", "encoder.layer.")
    3
    """
    _, marked, tail = parameter.partition(before)
    return int(tail.partition(".")[0]) if marked else None


def teacher_name(name: str, chosen: Sequence[int], before: str) -> tuple[str, int]:
    """The teacher's parameter that a student's one starts from, and its layer (0 outside the layers).

    `before` stands before the number of a layer in the names of parameters.
    """
    head, mark, tail = name.partition(before)
    if not mark:
        return name, 0
    index, _, rest = tail.partition(".")
    return f"{head}{mark}{chosen[int(index)]}.{rest}", chosen[int(index)]
