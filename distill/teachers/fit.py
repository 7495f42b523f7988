"""Whether the weights of a checkpoint are those that its configuration asks for, told from their names and shapes.

transformers fills what it does not find with random numbers and goes on. Here its own loader matches the names, with
all its renamings, ties and prefixes, on tensors that have a shape and no memory; what it would fill is refused.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers.utils import logging as transformers_logging

from distilsearch.errors import TeacherError
from distilsearch.families import Family

from .checkpoint import CONFIG, Header

MOST_NAMED = 3


class Matching(NamedTuple):
    """What a loader found: names that the model needs or the files have alone, and (name, there, asked for) shapes."""

    model: str
    needed: int
    missing: list[str]
    unexpected: list[str]
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]]


def check_fit(folder: Path, auto: Any, config: Any, tensors: Mapping[str, Header], family: Family) -> None:
    """A `TeacherError` that names what is missing of a model, of another shape, or within its layers and unread.

    Args:
        auto: the transformers auto class that will load it.
    """
    matching = _matching(auto, config, tensors)
    missing = [name for name in matching.missing if not family.idle(name)]
    begins = f"{folder}: the weights do not fit {CONFIG}"
    if missing:
        raise TeacherError(f"{begins}: {_missing(matching, missing)}")
    if matching.mismatched:
        name, there, asked = matching.mismatched[0]
        more = f", and {len(matching.mismatched) - 1} more differ" if len(matching.mismatched) > 1 else ""
        raise TeacherError(
            f"{begins}: {name} has the shape {there} and {asked} is asked for{more}; save weights and {CONFIG} together"
        )
    unread = [name for name in matching.unexpected if family.layer_of(name) is not None]
    if unread:
        raise TeacherError(
            f"{begins}: a {matching.model} of this configuration has no place for {_named(unread)}, so it would not "
            f"compute what the teacher does; correct {CONFIG}, or name a model of a supported family"
        )


def _matching(auto: Any, config: Any, tensors: Mapping[str, Header]) -> Matching:
    """What transformers' loader says of weights by these names and shapes."""
    weightless = {name: torch.empty(header.shape, device="meta") for name, header in tensors.items()}
    try:
        with _silent():
            model, report = _loaded(auto, config, weightless)
    except Exception as error:  # each model checks its sizes in its own way
        raise TeacherError(
            f"transformers makes no model of the teacher's {CONFIG}: {type(error).__name__}: {error}; download it anew"
        ) from error
    mismatched = [(name, tuple(there), tuple(asked)) for name, there, asked in report["mismatched_keys"]]
    wrong = {name for name, *_ in mismatched}
    return Matching(
        type(model).__name__,
        len(model.state_dict()),
        sorted(set(report["missing_keys"]) - wrong),
        sorted(report["unexpected_keys"]),
        sorted(mismatched),
    )


def _loaded(auto: Any, config: Any, weights: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """The model of a configuration, without memory for its weights, and transformers' report of loading some."""
    with torch.device("meta"):
        model = auto.from_config(config)
    report = type(model).from_pretrained(
        None,
        config=config,
        state_dict=weights,
        device_map={"": "meta"},
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )[1]
    return model, report


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Nothing is printed of what the loader meets: the error says it."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _missing(matching: Matching, missing: Sequence[str]) -> str:
    """What is missing, what is there in its place, and what may have happened."""
    says = f"of the {matching.needed} that a {matching.model} has, {len(missing)} are missing: {_named(missing)}"
    prefix = _prefix(missing, matching.unexpected)
    if prefix:
        return f"{says}; they are there behind {prefix!r}, which a wrapper has left: save the model inside of it"
    if matching.unexpected:
        says += f"; there are instead {_named(matching.unexpected)}"
    return f"{says}; save the whole model with save_pretrained, or name a {CONFIG} of what was saved"


def _prefix(missing: Sequence[str], unexpected: Sequence[str]) -> str:
    """What stands before the names of nearly all that is missing (ties may have no name of their own), or nothing."""
    there = set(unexpected)
    for name in unexpected:
        prefix = name.removesuffix(missing[0])
        if prefix not in ("", name) and sum(prefix + other in there for other in missing) >= 0.9 * len(missing):
            return prefix
    return ""


def _named(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
