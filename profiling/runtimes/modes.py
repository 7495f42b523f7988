"""What torch's modes have in common as runtimes: every stack names its torch, and the device sets its threads."""

import contextlib

from ..device import Facts


class TorchMode:
    """Base of the runtimes that are modes of torch's."""

    devices: tuple[str, ...]
    dtypes: tuple[str, ...] = ()
    prepare_seconds = 0.05

    def facts(self) -> Facts:
        """Nothing: every stack names its torch."""
        return {}

    def threads(self, count: int) -> contextlib.AbstractContextManager[None]:
        """Torch's own, which the device sets."""
        return contextlib.nullcontext()
