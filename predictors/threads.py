"""Small linear algebra on one thread: on a busy machine, waiting for a team of threads costs a hundredfold."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

LARGE = 50_000


@contextmanager
def threads_for(rows: int) -> Iterator[None]:
    """One torch thread inside, unless there are at least `LARGE` rows of work; as many as before afterwards."""
    before = torch.get_num_threads()
    if rows < LARGE:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
