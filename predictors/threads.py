"""Linear algebra on one thread: on a busy machine, waiting for a team of threads costs a hundredfold.

One thread scores about a million candidates a second, so a team could gain little.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass
class _Inside:
    """Callers inside in any thread, and torch's threads before the first: a new thread inherits what was set last."""

    callers: int = 0
    before: int = 1


_inside, _lock, _own = _Inside(), threading.Lock(), threading.local()


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside, as many as before afterwards, however callers in several threads overlap."""
    depth = getattr(_own, "depth", 0)
    with _lock:
        if not _inside.callers:
            _inside.before = torch.get_num_threads()
        _inside.callers += 1
    _own.depth = depth + 1
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _own.depth = depth
        with _lock:
            _inside.callers -= 1
        if not depth:
            torch.set_num_threads(_inside.before)
