"""What crosses between a driver and its workers: strict JSON, one line a text, errors as the classes they were."""

import json
from collections.abc import Mapping
from typing import Any

from distilsearch import errors
from distilsearch.errors import DistilSearchError, InputError, TrialError


def strict(data: Any) -> str:
    """One line of JSON that every reader understands; a `ValueError` where a number is none."""
    return json.dumps(data, allow_nan=False, separators=(",", ":"))


def parsed(text: str) -> dict[str, Any]:
    """The inverse of `strict`."""

    def refused(constant: str) -> None:
        raise InputError(f"{constant} is no JSON; send null where a number is not there")

    data: dict[str, Any] = json.loads(text, parse_constant=refused)
    return data


def plain_error(error: Exception) -> dict[str, Any]:
    """An error as plain JSON: the nearest class of `distilsearch.errors`, so that a plugin's own arrives as one."""
    ours = (kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    name = next(ours, type(error).__name__)
    return {"type": name, "message": str(error), "transient": bool(getattr(error, "transient", False))}


def rebuilt(error: Mapping[str, Any]) -> DistilSearchError:
    """The error that it was; anything that is not ours is the transient failure of a trial."""
    kind = getattr(errors, error["type"], None)
    if not (isinstance(kind, type) and issubclass(kind, DistilSearchError)):
        return TrialError(f"{error['type']}: {error['message']}", transient=True)
    if issubclass(kind, TrialError):
        return kind(error["message"], transient=error["transient"])
    return kind(error["message"])


def plain_failure(error: TrialError) -> dict[str, Any]:
    """The failure of one of several trials."""
    return {"cause": str(error), "transient": error.transient}


def failure(data: Mapping[str, Any]) -> TrialError:
    """The inverse of `plain_failure`."""
    return TrialError(data["cause"], transient=data["transient"])
