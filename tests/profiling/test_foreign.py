"""Foreign tables: what has a place here is read with its unit, what has none is named, and twice is once."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distilsearch.errors import InputError, TableError
from distilsearch.operators import Operator
from distilsearch.profiling.device import Regime
from distilsearch.profiling.foreign import import_tables

VIDUR = Path(__file__).resolve().parents[3] / "shared" / "data" / "latency" / "vidur-a100"
HALF = Regime("float16", "eager", 0)
NORM = "norm(batch=1,norm=layer,residual=0,sequence=8,width=64)"


@pytest.mark.skipif(not VIDUR.is_dir(), reason=f"needs the published tables in {VIDUR}")
def test_vidur(tmp_path: Path) -> None:
    found = import_tables(VIDUR / "Llama-2-7b-hf-mlp.csv", "vidur", "A100", tmp_path)
    down = Operator.parse("linear(activation=none,batch=1,bias=0,inputs=11008,outputs=4096,sequence=4096)")
    times = found.table.latency(down, HALF)
    assert times is not None
    assert times.seconds_p50 == pytest.approx(1.6e-3, rel=0.05)
    assert set(found.left_out) == {"add"}
    assert 100e12 < found.table.meta.peak_flops["float16"] < 330e12
    assert {row.operator.kind for row in found.table.operators} == {"embedding", "norm", "linear", "rotary", "gate"}
    ungated = import_tables(VIDUR / "phi-2-mlp.csv", "vidur", "A100", tmp_path)
    assert set(ungated.left_out) == {"add", "mlp_act"}
    assert ungated.table.folder == found.table.folder


@pytest.mark.skipif(not VIDUR.is_dir(), reason=f"needs the published tables in {VIDUR}")
def test_twice_is_once(tmp_path: Path) -> None:
    first = import_tables(VIDUR / "phi-2-mlp.csv", "vidur", "A100", tmp_path).table
    again = import_tables(VIDUR / "phi-2-mlp.csv", "vidur", "A100", tmp_path).table
    assert first.meta == again.meta


def test_aiconfigurator(tmp_path: Path) -> None:
    gemm = {"framework": ["TRTLLM"] * 2, "op_name": ["gemm"] * 2, "gemm_dtype": ["float16", "fp8"]}
    gemm |= {"m": [8, 8], "n": [64, 64], "k": [32, 32], "latency": [0.004, 0.003]}
    attention = {"attn_dtype": ["float16"] * 3, "kv_cache_dtype": ["float16", "fp8", "float16"]}
    attention |= {"batch_size": [2] * 3, "isl": [1] * 3, "num_heads": [8] * 3, "num_key_value_heads": [2] * 3}
    attention |= {"head_dim": [64] * 3, "step": [16] * 3, "window_size": [0, 0, 128], "latency": [0.01] * 3}
    other = {"op_name": ["moe"], "latency": [1.0]}
    files = {"gemm_perf": gemm, "generation_attention_perf": attention, "moe_perf": other}
    for name, columns in files.items():
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    found = import_tables(tmp_path, "aiconfigurator", "H100", tmp_path / "store")
    linear = Operator.parse("linear(activation=none,batch=1,bias=0,inputs=32,outputs=64,sequence=8)")
    decode = "attention(batch=2,cached=16,causal=1,head_size=64,heads=8,kv_heads=2,sequence=1)"
    times = {row.operator.signature: row.measured.seconds_p10 for row in found.table.operators}
    assert times == {linear.signature: pytest.approx(4e-6), decode: pytest.approx(1e-5)}
    assert found.left_out == {"gemm in fp8": 1, "attention over a fp8 cache": 1, "attention with a window": 1, "moe": 1}


def test_a_plain_csv_names_its_unit(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f'signature,dtype,microseconds,threads\n"{NORM}",float32,12.5,4\nfft(n=8),float32,1,4\n')
    found = import_tables(path, "csv", "board", tmp_path / "store")
    times = found.table.latency(Operator.parse(NORM), Regime("float32", "eager", 4))
    assert times is not None
    assert times.seconds_p10 == pytest.approx(12.5e-6)
    assert found.left_out == {"fft": 1}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f'signature,dtype,time\n"{NORM}",float32,1\n', "exactly one column of times"),
        (f'signature,dtype,seconds,milliseconds\n"{NORM}",float32,1,1\n', "exactly one column of times"),
        (f'signature,dtype,seconds\n"{NORM}",float32,-1\n', "positive time"),
        ("name,seconds\nx,1\n", "lacks the columns signature, dtype"),
        ("signature,dtype,seconds\nfft(n=8),float32,1\n", "holds no operator known here"),
    ],
)
def test_what_cannot_be_trusted_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(TableError, match=reason):
        import_tables(path, "csv", "board", tmp_path / "store")
    assert not list((tmp_path / "store").rglob("*.parquet"))


def test_unknown_formats_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown table format 'vidr': did you mean 'vidur'"):
        import_tables(tmp_path, "vidr", "A100", tmp_path)
    with pytest.raises(InputError, match="there is no file"):
        import_tables(tmp_path / "nothing", "csv", "A100", tmp_path)
