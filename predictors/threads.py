"""Linear algebra on one thread: on a busy machine, waiting for a team of threads costs a hundredfold.

One thread scores about a million candidates a second, so a team could gain little.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside, as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
