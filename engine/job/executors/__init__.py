"""Executors by name: each one opens with `Options` and runs jobs behind the same Protocol."""

from collections.abc import Callable

from distilsearch.errors import unknown

from .executor import Executor, Options


def _local(options: Options) -> Executor:
    from .local import Local

    return Local(options)


def _ray(options: Options) -> Executor:
    from .ray import RayExecutor

    return RayExecutor(options)


def _futures(options: Options) -> Executor:
    from .futures import open_futures

    return open_futures(options)


EXECUTORS: dict[str, Callable[[Options], Executor]] = {"local": _local, "ray": _ray, "futures": _futures}


def open_executor(name: str, options: Options) -> Executor:
    """The executor of a name; an `InputError` lists the known ones."""
    if name not in EXECUTORS:
        raise unknown("executor", name, EXECUTORS)
    return EXECUTORS[name](options)


__all__ = ["EXECUTORS", "Executor", "Options", "open_executor"]
