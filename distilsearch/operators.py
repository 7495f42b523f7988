"""What students are made of: operators with exact sizes, and the conditions they are served under.

An `Operator` is the unit of every latency table. Its sizes include batch and sequence, so that a signature
alone says what was timed. Work and traffic are counted the usual way: a multiply-add is two FLOPs; bytes are
weights and activations, each moved once (the roofline's lower bound).
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from .errors import InputError, unknown
from .growth import filled, grown
from .request_lengths import RequestLengths

Size = int | str
Sizes = Mapping[str, Any]

DTYPE_NAMES = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}
"""What else precisions are called, and their names here."""

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}
"""Bytes of a weight. In int8 what flows between products stays in float32, which bounds from below do not count."""
ENCODE = "encode"
PHASES = (ENCODE, "prefill", "decode")
MODES = ("eager", "compile", "graph")
TORCH = "torch"
FLOAT32 = "float32"  # what students are trained to: in it a runtime changes their outputs by rounding alone
ACTIVATIONS = (
    "none", "gelu", "relu", "silu", "tanh", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python",
    "gelu_pytorch_tanh", "hardswish", "laplace", "leaky_relu", "mish", "quick_gelu", "relu2", "relu6", "sigmoid",
    "sqrtsoftplus",
)  # fmt: skip
"""What an operator may end in, by transformers' names. New ones go to the end: predictors keep their places."""
SAME_ACTIVATION = {"swish": "silu", "linear": "none", "gelu_python_tanh": "gelu_new"}
"""Other names of the same computation, which have no operators of their own."""
USUAL_SEQUENCE = 128
SERVING_ADDED: Mapping[str, Any] = {"runtime": TORCH, "lengths": None, "padded": False}
"""Fields of `Serving` that came later; see `growth`."""


@dataclass(frozen=True)
class Kind:
    """One kind of operator: the names of its sizes, and how much it computes, moves and holds.

    `flops` and `parameters` count FLOPs and weights; `moved` counts the activation elements read and written
    plus the weight elements read. `added` holds those of the sizes that came later, with the value that every
    signature written before them means; see `growth`.
    """

    sizes: tuple[str, ...]
    flops: Callable[[Sizes], int]
    moved: Callable[[Sizes], int]
    parameters: Callable[[Sizes], int]
    added: Mapping[str, Size] = field(default_factory=dict)


def _tokens(s: Sizes) -> int:
    return int(s["batch"] * s["sequence"])


def _norm_weights(s: Sizes) -> int:
    vectors: dict[str, int] = {"layer": 2, "rms": 1, "none": 2}  # "none" is MobileBERT's NoNorm: scale and shift
    return int(s["width"]) * vectors[str(s["norm"])]


def _embedding_weights(s: Sizes) -> int:
    norm = 0 if s["norm"] == "none" else _norm_weights(s)
    return int((s["vocabulary"] + s["positions"] + s["types"]) * s["width"]) + norm


def _embedding_lookups(s: Sizes) -> int:
    return 1 + int(s["positions"] > 0) + int(s["types"] > 0)


def _linear_weights(s: Sizes) -> int:
    return int(s["outputs"] * (s["inputs"] + s["bias"]))


def _attention_flops(s: Sizes) -> int:
    keys = s["sequence"] + s["cached"]
    return int(s["batch"] * s["heads"] * s["sequence"] * keys * (4 * s["head_size"] + 5))


def _attention_moved(s: Sizes) -> int:
    keys = s["sequence"] + s["cached"]
    queries = 2 * s["batch"] * s["sequence"] * s["heads"] * s["head_size"]
    return int(queries + 2 * s["batch"] * keys * s["kv_heads"] * s["head_size"])


def _head_weights(s: Sizes) -> int:
    """Weights of the output head; `tied` is 0, 1, or how many of its columns are the embedding table's."""
    transform = s["transform"] * (s["width"] * (s["width"] + 1) + 2 * s["width"] + s["vocabulary"])
    own = 0 if s["tied"] == 1 else s["width"] - s["tied"]
    return int(transform + own * s["vocabulary"])


def _head_flops(s: Sizes) -> int:
    return 2 * _tokens(s) * int(s["width"] * s["vocabulary"] + s["transform"] * s["width"] * s["width"])


KINDS: dict[str, Kind] = {
    "embedding": Kind(
        ("batch", "sequence", "width", "vocabulary", "positions", "types", "norm"),
        flops=lambda s: _tokens(s) * int(s["width"]) * 10,
        moved=lambda s: (
            _tokens(s) * int(s["width"]) * (_embedding_lookups(s) + 1)
            + (0 if s["norm"] == "none" else _norm_weights(s))
        ),
        parameters=_embedding_weights,
    ),
    "linear": Kind(
        ("batch", "sequence", "inputs", "outputs", "bias", "activation"),
        flops=lambda s: 2 * _tokens(s) * int(s["inputs"] * s["outputs"]),
        moved=lambda s: _tokens(s) * int(s["inputs"] + s["outputs"]) + _linear_weights(s),
        parameters=_linear_weights,
    ),
    "attention": Kind(
        ("batch", "sequence", "heads", "kv_heads", "head_size", "causal", "cached"),
        flops=_attention_flops,
        moved=_attention_moved,
        parameters=lambda s: 0,
    ),
    "norm": Kind(
        ("batch", "sequence", "width", "norm", "residual"),
        flops=lambda s: _tokens(s) * int(s["width"] * (8 + s["residual"])),
        moved=lambda s: _tokens(s) * int(s["width"] * (2 + s["residual"])) + _norm_weights(s),
        parameters=_norm_weights,
    ),
    "gate": Kind(
        ("batch", "sequence", "width", "activation"),
        flops=lambda s: 6 * _tokens(s) * int(s["width"]),
        moved=lambda s: 3 * _tokens(s) * int(s["width"]),
        parameters=lambda s: 0,
    ),
    "rotary": Kind(
        ("batch", "sequence", "heads", "kv_heads", "head_size"),
        flops=lambda s: 3 * _tokens(s) * int((s["heads"] + s["kv_heads"]) * s["head_size"]),
        moved=lambda s: 2 * _tokens(s) * int((s["heads"] + s["kv_heads"]) * s["head_size"]),
        parameters=lambda s: 0,
    ),
    "pooling": Kind(
        ("batch", "sequence", "width", "pool", "normalize"),
        flops=lambda s: 2 * _tokens(s) * int(s["width"]),
        moved=lambda s: int((_tokens(s) if s["pool"] == "mean" else s["batch"]) * s["width"]),
        parameters=lambda s: 0,
    ),
    "head": Kind(
        ("batch", "sequence", "width", "vocabulary", "transform", "tied"),
        flops=_head_flops,
        moved=lambda s: int((_tokens(s) + s["width"]) * s["vocabulary"] + _tokens(s) * s["width"]),
        parameters=_head_weights,
    ),
}


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator at one size; hashable.

    >>> Operator("pooling", dict(batch=1, sequence=8, width=4, pool="mean", normalize=1)).signature
    'pooling(batch=1,normalize=1,pool=mean,sequence=8,width=4)'
    """

    kind: str
    sizes: Mapping[str, Size]
    signature: str = field(init=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("operator kind", self.kind, KINDS)
        kind = KINDS[self.kind]
        given = filled(self.sizes, kind.added)
        if set(given) != set(kind.sizes):
            expected = ", ".join(kind.sizes)
            raise InputError(f"{self.kind} needs the sizes {expected}; got {', '.join(self.sizes) or 'none'}")
        sizes = {n: v if isinstance(v, str) else int(v) for n, v in sorted(given.items())}
        object.__setattr__(self, "sizes", MappingProxyType(sizes))
        listed = ",".join(f"{name}={value}" for name, value in grown(sizes, kind.added).items())
        object.__setattr__(self, "signature", f"{self.kind}({listed})")

    @classmethod
    def parse(cls, signature: str) -> "Operator":
        """The operator of a signature; sizes that came later than it have the value that it means."""
        return cls(*_parts(signature))

    @property
    def flops(self) -> int:
        """Floating-point operations."""
        return KINDS[self.kind].flops(self.sizes)

    @property
    def parameters(self) -> int:
        """Weights that the operator holds."""
        return KINDS[self.kind].parameters(self.sizes)

    @property
    def activations(self) -> int:
        """Elements of activations read and written: what grows with the batch, as weights do not."""
        moved, twice = KINDS[self.kind].moved, {**self.sizes, "batch": 2 * int(self.sizes["batch"])}
        return moved(twice) - moved(self.sizes)

    @property
    def cached(self) -> int:
        """Elements of keys and values that are kept for the tokens to come, of one that attends to those before it."""
        if self.kind != "attention" or not self.sizes["causal"]:
            return 0
        s: Sizes = self.sizes
        return int(2 * s["batch"] * (s["sequence"] + s["cached"]) * s["kv_heads"] * s["head_size"])

    def bytes(self, dtype: str) -> int:
        """Bytes of activations and used weights, each moved once."""
        return KINDS[self.kind].moved(self.sizes) * DTYPE_BYTES[dtype]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Operator) and self.signature == other.signature

    def __hash__(self) -> int:
        return hash(self.signature)

    def __reduce__(self) -> tuple[Any, ...]:
        return Operator, (self.kind, dict(self.sizes))


def canonical_activation(name: str) -> str:
    """The name by which an activation is timed.

    >>> canonical_activation("swish"), canonical_activation("gelu_new")
    ('silu', 'gelu_new')
    """
    return SAME_ACTIVATION.get(name, name)


def newer_part(signature: str) -> str:
    """What of an operator's signature this version does not know, and only a newer one can have written, or nothing.

    >>> newer_part("norm(batch=1,norm=layer,residual=1,sequence=8,window=4,width=4)")
    "the size 'window' of the operator kind 'norm'"
    """
    kind, sizes = _parts(signature)
    if kind not in KINDS:
        return f"the operator kind {kind!r}"
    names = [name for name in sizes if name not in KINDS[kind].sizes]
    return f"the size {names[0]!r} of the operator kind {kind!r}" if names else ""


def _parts(signature: str) -> tuple[str, dict[str, Size]]:
    """Kind and sizes as a signature states them."""
    kind, _, listed = signature.rstrip(")").partition("(")
    pairs = [pair.partition("=") for pair in listed.split(",") if pair]
    return kind, {name: int(v) if v.removeprefix("-").isdecimal() else v for name, _, v in pairs}


def named_dtype(name: Any) -> Any:
    """The name that a precision has here; what is none of its other names as it is.

    >>> named_dtype("bf16"), named_dtype("torch.bfloat16"), named_dtype("int8")
    ('bfloat16', 'bfloat16', 'int8')
    """
    plain = name.removeprefix("torch.") if isinstance(name, str) else name
    return DTYPE_NAMES.get(plain, plain) if isinstance(plain, str) else plain


@dataclass(frozen=True)
class Serving:
    """The conditions a student is served under.

    `sequence` is the number of tokens that go in; while decoding one token goes in and `sequence` is the
    length already cached. `threads=None` means as many as the machine has. `runtime` names who runs the model, one of
    `profiling.runtimes.RUNTIMES`; `mode` is torch's own, and other runtimes have none.

    With `lengths`, requests are of many lengths, and `sequence` is the longest of them: sums over operators (latency,
    FLOPs) are then means over the requests, and memory is that of the longest. `padded`: some of a batch are shorter
    than the longest, so that a mask is read.
    """

    batch: int = 1
    sequence: int = USUAL_SEQUENCE
    dtype: str = "float32"
    phase: str = ENCODE
    threads: int | None = None
    mode: str = "eager"
    runtime: str = TORCH
    lengths: RequestLengths | None = None
    padded: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", named_dtype(self.dtype))
        if self.lengths is not None:
            self._spread(self.lengths)
        if type(self.padded) is not bool or (self.padded and (self.phase != ENCODE or self.batch == 1)):
            raise InputError(
                f"padded is true or false, and true in the phase {ENCODE!r} alone and of batches of 2 or more; got"
                f" {self.padded!r}, phase {self.phase!r}, batch {self.batch!r}"
            )
        for name, choices in (("dtype", tuple(DTYPE_BYTES)), ("phase", PHASES), ("mode", MODES)):
            if getattr(self, name) not in choices:
                raise unknown(f"serving {name}", getattr(self, name), choices)
        for name in ("batch", "sequence", "threads"):
            value = getattr(self, name)
            if not (name == "threads" and value is None) and (type(value) is not int or value < 1):
                raise InputError(f"serving {name} must be a positive whole number; got {value!r}")
        if not isinstance(self.runtime, str) or not self.runtime:
            raise InputError(f"serving runtime must be the name of a runtime; got {self.runtime!r}")
        if self.runtime != TORCH and self.mode != "eager":
            raise InputError(f"mode is torch's own: leave mode {self.mode!r} out, or serve with runtime {TORCH!r}")

    def _spread(self, lengths: RequestLengths) -> None:
        """Take the longest request as the sequence; refused where it or `padded` was given, or a phase without mask."""
        if self.phase != ENCODE:
            raise InputError(f"lengths of requests are for the phase {ENCODE!r}; got {self.phase!r}: give a sequence")
        if self.padded:
            raise InputError("padded is for one sequence; of lengths, batches are padded anyway: leave padded out")
        if self.sequence not in (USUAL_SEQUENCE, lengths.longest):
            raise InputError(f"sequence {self.sequence} and lengths both say how long requests are; give one of them")
        object.__setattr__(self, "sequence", lengths.longest)

    @property
    def parts(self) -> "tuple[tuple[Serving, float], ...]":
        """The servings of one length each, with their shares of the requests: this one alone where all are alike."""
        if self.lengths is None:
            return ((self, 1),)
        return tuple((self.at(n), w) for n, w in zip(self.lengths.nodes, self.lengths.weights, strict=True))

    def at(self, sequence: int) -> "Serving":
        """Those of the requests that have one length, or whose batch is padded to it."""
        return replace(self, lengths=None, sequence=sequence, padded=self.batch > 1)

    @property
    def tokens(self) -> str:
        """How long requests are, in words."""
        if self.lengths is None:
            return f"{'padded to ' if self.padded else ''}{self.sequence} tokens"
        return f"{'padded to' if self.batch > 1 else 'requests of'} {self.lengths.words}"

    @property
    def of_one_length(self) -> "Serving":
        """The same with all requests as long as the longest."""
        return self if self.lengths is None else replace(self, lengths=None)

    @property
    def artefact(self) -> str:
        """The name of what is served, where that is no student as it was trained: "" in float32, whoever runs it.

        >>> Serving(dtype="bfloat16").artefact, Serving(runtime="onnxruntime").artefact
        ('torch bfloat16', '')
        """
        return "" if self.dtype == FLOAT32 else f"{self.runtime} {self.dtype}"

    @property
    def resolved_threads(self) -> int:
        """The number of threads, with None resolved on this machine."""
        return self.threads or len(os.sched_getaffinity(0))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON with every field; one that came later is left out while it has its first value.

        Requests of many lengths have no one `sequence`.
        """
        if self.lengths is None:
            return grown(vars(self), SERVING_ADDED)
        own = {name: value for name, value in vars(self).items() if name != "sequence"}
        return grown(own | {"lengths": str(self.lengths)}, SERVING_ADDED)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Serving":
        """The inverse of `to_json`; an unknown key is an `InputError`."""
        for name in data:
            if name not in cls.__dataclass_fields__:
                raise unknown("serving key", name, cls.__dataclass_fields__)
        values = filled(data, SERVING_ADDED)
        return cls(**{**values, "lengths": RequestLengths.parse(values["lengths"]) if values["lengths"] else None})
