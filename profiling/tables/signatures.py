"""What stands in the rounds of a table: which signatures this version can read, and what is wrong with others.

Whatever passes here can be derived: an operator's work, a probe's figures, a model lowered to its operators.
"""

from distilsearch import strict
from distilsearch.errors import InputError
from distilsearch.families import FAMILIES
from distilsearch.lowering import operators
from distilsearch.operators import PHASES, Operator, newer_part

from ..device import PROBES, Probe, Regime
from ..model_case import FED, parse_model

COUNTS = ("batch", "sequence", "width", "vocabulary", "inputs", "outputs", "heads", "kv_heads", "head_size")
"""Sizes of which there is at least one; the others may be 0."""
MOST_WORK = 2**62  # FLOPs or bytes: what a column of a table holds


class Newer(Exception):  # noqa: N818  (what was found; the reader makes an error of it that names the file)
    """Something that this version does not know, and only a newer one, or a plugin, can have written."""


def check_signature(kind: str, signature: str, regime: Regime) -> None:
    """`Newer` names what is not known of a signature, `ValueError` says why it can be none."""
    try:
        CHECKS[kind](signature, regime)
    except (InputError, KeyError, TypeError, AttributeError, ArithmeticError, ValueError) as error:
        raise ValueError(f"{signature!r} is no signature of {_article(kind)} ({error})") from error


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _operator(signature: str, regime: Regime) -> None:
    if what := newer_part(signature):
        raise Newer(what)
    operator = Operator.parse(signature)
    for name, size in operator.sizes.items():
        least = int(name in COUNTS)
        if size < least if isinstance(size, int) else least:
            raise ValueError(f"its size {name} is {size!r} and must be a whole number of at least {least}")
    if operator.signature != signature or operator.flops < 0 or operator.bytes(regime.dtype) < 0:
        raise ValueError("it is not what this version would write")
    if max(operator.flops, operator.bytes(regime.dtype)) > MOST_WORK:
        raise ValueError("it is larger than anything that was ever run")


def _probe(signature: str, regime: Regime) -> None:
    probe = Probe.parse(signature)
    if probe.name not in PROBES:
        raise Newer(f"the probe {probe.name!r}")
    if probe.signature != signature or probe.flops < 0 or probe.bytes < 0:
        raise ValueError("it is not what this version would write")


def _model(signature: str, regime: Regime) -> None:
    data = strict.parsed(signature)
    if unknown := sorted(set(data) - {"architecture", "serving"} | set(data["serving"]) - set(FED)):
        raise Newer(f"the condition {unknown[0]!r} of a model")
    if data["serving"]["phase"] not in PHASES:
        raise Newer(f"the phase {data['serving']['phase']!r}")
    if data["architecture"]["family"] not in FAMILIES:
        raise Newer(f"the family {data['architecture']['family']!r}")
    parts = operators(*parse_model(signature, regime))
    work = sum(max(operator.flops, operator.bytes(regime.dtype)) * count for operator, count in parts)
    if not 0 < work <= MOST_WORK:
        raise ValueError("it is no model that was ever run")


CHECKS = {"operator": _operator, "probe": _probe, "model": _model}
KINDS = tuple(CHECKS)
