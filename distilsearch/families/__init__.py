"""The model families: all that is known of one family is in its one file.

A new family is a new file of the same shape, which fulfils `family.Family`, and one line in `FAMILIES`.
"""

from ..errors import unknown
from .bert import BERT
from .family import Family, Layer, Projection, TeacherFacts
from .llama import LLAMA
from .mobilebert import MOBILEBERT
from .roberta import ROBERTA

__all__ = ["FAMILIES", "Family", "Layer", "Projection", "TeacherFacts", "family", "family_of"]

FAMILIES: dict[str, Family] = {f.name: f for f in (BERT, LLAMA, MOBILEBERT, ROBERTA)}
"""The known families by name; a plugin may add its own."""


def family(name: str) -> Family:
    """The family of that name; an `InputError` names the nearest known one."""
    if name not in FAMILIES:
        raise unknown("family", name, FAMILIES)
    return FAMILIES[name]


def family_of(model_type: str) -> Family:
    """The family whose teachers are of a transformers model type."""
    for kind in FAMILIES.values():
        if kind.teachers[0] == model_type:
            return kind
    for kind in FAMILIES.values():
        if model_type in kind.teachers:
            return kind
    raise unknown("model type of a teacher", model_type, {t for f in FAMILIES.values() for t in f.teachers})
