"""One latency as a result keeps it, and what the parts of a result are made of.

Notable: figures of requests that cannot be true beside each other are in no result, written or read.
"""

import math
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    Strict,
    model_serializer,
    model_validator,
)

from distilsearch.growth import grown
from distilsearch.request_lengths import told

Word = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict(), Field(ge=-(2**63), lt=2**63)]
Real = Annotated[float, Strict(), Field(allow_inf_nan=False)]


PART = ConfigDict(extra="allow", frozen=True, validate_default=True)  # of any object of the file
OF_REQUESTS = ("predicted_p50", "predicted_p99", "measured_p50", "measured_p99")


class LeftOut(BaseModel):
    """Why figures are left out: they contradict each other by the factor `off`, 1 or more."""

    model_config = PART

    why: Word
    off: Real


class Latency(BaseModel):
    """One latency in ms. `predicted` with its 90 % interval is from before the student was measured; `measured` is of
    the last session, beside front and teacher, `measured_first` of the trial itself; None where nobody measured.

    Of `measured`: `slowness` is how many times slower than when quiet the machine ran meanwhile, by its sentinel;
    `repeated` the factor, 1 or more, between the two closest sessions side by side. None where that is not known.

    Where requests are of many lengths all of that is of their mean, and `..._p50` and `..._p99` are what requests of
    the median length and of the 99th percentile take. Where these cannot be true they are left out, of what is written
    and of what is read: `left_out` says why, by "measured" and "predicted".
    """

    model_config = PART

    predicted: Real | None = None
    lower: Real | None = None
    upper: Real | None = None
    measured: Real | None = None
    measured_first: Real | None = None
    slowness: Real | None = None
    repeated: Real | None = None
    predicted_p50: Real | None = None
    predicted_p99: Real | None = None
    measured_p50: Real | None = None
    measured_p99: Real | None = None
    left_out: dict[Word, LeftOut] = {}

    @model_validator(mode="before")
    @classmethod
    def _told(cls, data: Any) -> Any:
        """Without figures of requests that cannot be true."""
        if not isinstance(data, dict):
            return data
        for kind in ("predicted", "measured"):
            names = (f"{kind}_p50", f"{kind}_p99")
            p50, p99, mean = (_positive(data.get(name)) for name in (*names, kind))
            if p50 is None or p99 is None:
                continue
            ms = told(kind, mean, p50, p99)
            data = data | dict(zip(names, ms[:2], strict=True))
            before = data.get("left_out", {})
            if ms.why and isinstance(before, dict):  # of anything else validation says that it is none
                data["left_out"] = {**before, kind: {"why": ms.why, "off": ms.off}}
        return data

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Of requests of one length without what is of many."""
        return grown(handler(self), {**dict.fromkeys(OF_REQUESTS), "left_out": {}})


def _positive(value: Any) -> float | None:
    """A number of ms; None of anything else, which validation judges."""
    number = type(value) in (int, float) and math.isfinite(value) and value > 0
    return float(value) if number else None
