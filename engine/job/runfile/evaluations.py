"""Options of an evaluation, as a run file or the command line gives them: checked by what the evaluation takes."""

import inspect
from collections.abc import Mapping
from typing import Any

from distilsearch.distill.evaluate import EVALUATIONS
from distilsearch.errors import unknown

from .options import checked_options


def options_of(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of the evaluation of that name, its defaults filled in, as plain JSON.

    Raises:
        InputError: there is no such evaluation, or it takes no such option or value.
    """
    if name not in EVALUATIONS:
        raise unknown("evaluation", name, EVALUATIONS)
    given = next(iter(inspect.signature(EVALUATIONS[name]).parameters))  # what it is made of, and no option
    return checked_options(f"evaluation {name!r}", EVALUATIONS[name], options, (given,))
