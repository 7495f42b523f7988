"""AIConfigurator's performance files (`src/aiconfigurator/systems/data/` of ai-dynamo/aiconfigurator).

They lie at `SYSTEM/BACKEND/VERSION/`, in newer versions at `SYSTEM/FAMILY/BACKEND/VERSION/`: CSV in `*_perf.txt`
once, Parquet in `*_perf.parquet` now, with the columns that `log_perf` of its `collector/helper.py` writes and the
loaders of its `sdk/operations/gemm.py` and `attention.py` read:

| file | columns beside framework, version, device, op_name, kernel_source, latency |
| --- | --- |
| `gemm_perf` | gemm_dtype, m, n, k |
| `encoder_attention_perf` | attn_dtype, batch_size, isl, num_heads, head_dim |
| `context_attention_perf` | the same, num_key_value_heads, kv_cache_dtype, window_size |
| `generation_attention_perf` | the same and step: isl is 1, step what is cached already |

`latency` is in milliseconds of a CUDA graph's replay, hence our mode `graph`; power columns are not read. Small
products there rotate copies of their weights past the L2, TensorRT-LLM's attention includes rotary embedding and the
writing of its cache, and its older files call bfloat16 work float16. Of several kernels of one shape the fastest
counts, as rounds of it. Quantised work and attention windows have no place here.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from distilsearch.operators import Operator

from ..device import Regime
from .rows import Found, Record, Timing

DTYPES = ("float16", "bfloat16", "float32")
CAUSAL = {"context_attention": 1, "generation_attention": 1, "encoder_attention": 0}
GEMM_COLUMNS = ("gemm_dtype", "m", "n", "k", "latency")
ATTENTION_COLUMNS = ("batch_size", "isl", "num_heads", "head_dim", "latency")


def read(path: Path, records: Sequence[Record]) -> Iterator[Found]:
    """One kernel a row; which columns it has is told by the file's name."""
    name = path.stem.removesuffix("_perf")
    for record in records:
        if name == "gemm":
            record.needs(GEMM_COLUMNS)
            yield _placed(record, name, record.text("gemm_dtype"), _linear(record))
        elif name in CAUSAL:
            more = ("kv_cache_dtype", "step") if name == "generation_attention" else ("attn_dtype",)
            record.needs(ATTENTION_COLUMNS + more)
            yield _windowless(record, name)
        else:
            yield record.text("op_name", name)


def _windowless(record: Record, name: str) -> Found:
    dtype = record.text("attn_dtype", record.text("kv_cache_dtype", ""))
    cache = record.text("kv_cache_dtype", dtype)
    if record.whole("window_size", 0, 0) > 0:
        return f"{name} with a window"
    return f"{name} over a {cache} cache" if cache != dtype else _placed(record, name, dtype, _attention(record, name))


def _placed(record: Record, name: str, dtype: str, operator: Operator) -> Found:
    if dtype not in DTYPES:
        return f"{name} in {dtype or 'no dtype'}"
    software = " ".join(filter(None, (record.text(column, "") for column in ("framework", "version"))))
    return Timing(record, operator, Regime(dtype, "graph", 0), record.seconds("latency", 1e-3), software)


def _linear(r: Record) -> Operator:
    sizes = {"batch": 1, "sequence": r.whole("m"), "inputs": r.whole("k"), "outputs": r.whole("n")}
    return Operator("linear", {**sizes, "bias": 0, "activation": "none"})


def _attention(r: Record, name: str) -> Operator:
    """While decoding, isl + step keys are attended to, the new one among them."""
    decodes, heads = name == "generation_attention", r.whole("num_heads")
    sizes = {"batch": r.whole("batch_size"), "sequence": 1 if decodes else r.whole("isl"), "heads": heads}
    sizes |= {"kv_heads": r.whole("num_key_value_heads", 0, 0) or heads, "head_size": r.whole("head_dim")}
    cached = r.whole("isl") + r.whole("step", 0) - 1 if decodes else 0
    return Operator("attention", {**sizes, "causal": CAUSAL[name], "cached": cached})
