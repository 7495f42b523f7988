"""vidur's profiles of linear layers (`data/profiling/compute/DEVICE/MODEL/mlp.csv` of microsoft/vidur).

One row is one token count of one model split over so many GPUs; `time_stats.NAME.median` is the median of one
profiling run in milliseconds, in float16. Gated models are taken to be Llamas with RMS norms, others to have layer
norms.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from distilsearch.operators import Operator

from ..device import Regime
from .rows import Found, Record, Timing, needs

REGIME = Regime("float16", "eager", 0)
COLUMNS = ("num_tokens", "n_embd", "n_head", "n_kv_head", "num_tensor_parallel_workers")


def read(path: Path, records: Sequence[Record]) -> Iterator[Found]:
    """Every timed layer of every row."""
    for record in records:
        needs(record, COLUMNS, path)
        timed = [name.split(".")[1] for name in record if name.startswith("time_stats.") and name.endswith(".median")]
        placed = _operators(record)
        for name in timed:
            milliseconds = record[f"time_stats.{name}.median"]
            if name not in placed:
                yield name
            elif milliseconds is not None:
                yield Timing(placed[name], REGIME, float(milliseconds) * 1e-3)


def _operators(r: Record) -> dict[str, Operator]:
    tokens, width, split = int(r["num_tokens"]), int(r["n_embd"]), int(r["num_tensor_parallel_workers"])
    size, gated, wide = width // r["n_head"], bool(r["use_gated_mlp"]), int(r["n_expanded_embd"]) // split
    heads, kv_heads = r["n_head"] // split, max(1, r["n_kv_head"] // split)
    at = {"batch": 1, "sequence": tokens}

    def linear(inputs: int, outputs: int) -> Operator:
        return Operator("linear", {**at, "inputs": inputs, "outputs": outputs, "bias": 0, "activation": "none"})

    norm = Operator("norm", {**at, "width": width, "norm": "rms" if gated else "layer", "residual": 0})
    lookup = {"width": width, "vocabulary": r["vocab_size"] // split, "positions": 0, "types": 0, "norm": "none"}
    parts = {
        "emb": Operator("embedding", {**at, **lookup}),
        "input_layernorm": norm,
        "post_attention_layernorm": norm,
        "attn_pre_proj": linear(width, (heads + 2 * kv_heads) * size),
        "attn_rope": Operator("rotary", {**at, "heads": heads, "kv_heads": kv_heads, "head_size": size}),
        "attn_post_proj": linear(heads * size, width),
        "mlp_up_proj": linear(width, wide * (2 if gated else 1)),
        "mlp_down_proj": linear(wide, width),
    }
    return parts | ({"mlp_act": Operator("gate", {**at, "width": wide, "activation": "silu"})} if gated else {})
