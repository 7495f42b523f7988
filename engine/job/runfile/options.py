"""Options of what a run file chooses by name: the arguments of a class or function, checked by their annotations."""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from distilsearch.errors import InputError, unknown

from .mistakes import explained

_STRICT = ConfigDict(extra="forbid", strict=True, protected_namespaces=(), allow_inf_nan=False)


def checked_options(
    what: str, make: Callable[..., Any], options: Mapping[str, Any], given: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The options that `make` takes, its defaults filled in, as plain JSON.

    Args:
        what: how to call it in messages, such as "strategy 'reward'".
        make: what the options are arguments of.
        options: plain JSON.
        given: arguments that are no options: the caller gives them.

    Raises:
        InputError: `make` has no such option (it names those there are), needs one, or takes another type.
    """
    taken = {name: p for name, p in inspect.signature(make, eval_str=True).parameters.items() if name not in given}
    if strange := [str(unknown(f"option of {what}", name, taken)) for name in options if name not in taken]:
        raise InputError("; ".join(strange))
    fields: dict[str, Any] = {name: (_type(p), ... if p.default is p.empty else p.default) for name, p in taken.items()}
    model: type[BaseModel] = create_model("Options", __config__=_STRICT, **fields)
    try:  # as JSON, where a list is a tuple, but true is no number
        return model.model_validate_json(json.dumps(options)).model_dump(mode="json")
    except ValidationError as error:
        raise InputError(f"options of {what}: {'; '.join(explained(error, model, {}))}") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"options of {what} must be plain values; got {dict(options)}: {error}") from None


def _type(parameter: inspect.Parameter) -> Any:
    return Any if parameter.annotation is parameter.empty else parameter.annotation
