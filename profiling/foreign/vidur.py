"""vidur's profiles of linear layers (`data/profiling/compute/DEVICE/MODEL/mlp.csv` of microsoft/vidur).

One row is one token count of one model split over so many GPUs; `time_stats.NAME.median` is the median of one
profiling run in milliseconds, in float16. Gated models are taken to be Llamas with RMS norms, others to have layer
norms.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from distilsearch.operators import Operator

from ..device import Regime
from .rows import Found, Record, Timing

REGIME = Regime("float16", "eager", 0)
COLUMNS = (
    "num_tokens", "n_embd", "n_head", "n_kv_head", "num_tensor_parallel_workers", "n_expanded_embd", "use_gated_mlp",
    "vocab_size",
)  # fmt: skip


def read(path: Path, records: Sequence[Record]) -> Iterator[Found]:
    """Every timed layer of every row; a blank time is of a layer that was not profiled there."""
    for record in records:
        record.needs(COLUMNS)
        names = [name.split(".") for name in record.columns.names]
        placed = _operators(record)
        for name in (name[1] for name in names if len(name) == 3 and (name[0], name[2]) == ("time_stats", "median")):
            column = f"time_stats.{name}.median"
            if name not in placed:
                yield name
            elif record.cell(column) is None:
                yield f"{name} without a time"
            else:
                yield Timing(record, placed[name], REGIME, record.seconds(column, 1e-3))


def _operators(r: Record) -> dict[str, Operator]:
    tokens, width, split = (r.whole(name) for name in ("num_tokens", "n_embd", "num_tensor_parallel_workers"))
    n_head, n_kv_head = r.whole("n_head"), r.whole("n_kv_head")
    size, gated, wide = width // n_head, r.flag("use_gated_mlp"), r.whole("n_expanded_embd") // split
    heads, kv_heads = n_head // split, max(1, n_kv_head // split)
    at = {"batch": 1, "sequence": tokens}

    def linear(inputs: int, outputs: int) -> Operator:
        return Operator("linear", {**at, "inputs": inputs, "outputs": outputs, "bias": 0, "activation": "none"})

    norm = Operator("norm", {**at, "width": width, "norm": "rms" if gated else "layer", "residual": 0})
    vocabulary = r.whole("vocab_size") // split
    lookup = {"width": width, "vocabulary": vocabulary, "positions": 0, "types": 0}
    parts = {
        "emb": Operator("embedding", {**at, **lookup, "norm": "none"}),
        "input_layernorm": norm,
        "post_attention_layernorm": norm,
        "attn_pre_proj": linear(width, (heads + 2 * kv_heads) * size),
        "attn_rope": Operator("rotary", {**at, "heads": heads, "kv_heads": kv_heads, "head_size": size}),
        "attn_post_proj": linear(heads * size, width),
        "mlp_up_proj": linear(width, wide * (2 if gated else 1)),
        "mlp_down_proj": linear(wide, width),
    }
    return parts | ({"mlp_act": Operator("gate", {**at, "width": wide, "activation": "silu"})} if gated else {})
