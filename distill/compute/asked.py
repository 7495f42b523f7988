"""What is asked of a training by name, as far as a name alone can be wrong; nothing here loads torch."""

from distilsearch.errors import DeviceError, unknown

from .. import PRECISION_NAMES

PRECISIONS = ("float32", "bf16")
TRAIN_DEVICES = ("auto", "cpu", "cuda")  # and "cuda:N", one GPU of several


def precision_named(precision: str) -> str:
    """A precision by its usual name, or "auto"; an `InputError` where it is none."""
    precision = PRECISION_NAMES.get(precision, precision)
    if precision not in (*PRECISIONS, "auto"):
        raise unknown("precision", precision, (*PRECISIONS, "auto"))
    return precision


def check_device_name(device: str) -> None:
    """A `DeviceError` where a training device is none, whether or not it is there."""
    kind, colon, index = device.partition(":")
    if kind not in TRAIN_DEVICES or (colon and (kind != "cuda" or not index.isdecimal())):
        raise DeviceError(str(unknown("training device", device, (*TRAIN_DEVICES, "cuda:N"))))
