"""Foreign tables: what has a place here is read with its unit, what has none is named, and twice is once."""

from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from distilsearch.errors import InputError, TableError
from distilsearch.operators import Operator
from distilsearch.profiling.device import Regime
from distilsearch.profiling.foreign import import_tables

VIDUR = Path(__file__).resolve().parents[4] / "shared" / "data" / "latency" / "vidur-a100"
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


WRITTEN = {  # as the collector of AIConfigurator writes them
    "gemm": """framework,version,device,op_name,kernel_source,gemm_dtype,m,n,k,latency,power,power_limit
TRTLLM,1.2.0,NVIDIA H200 SXM,gemm,torch_flow,bfloat16,8,64,32,0.004,523.4,700.0
TRTLLM,1.2.0,NVIDIA H200 SXM,gemm,torch_flow,fp8,8,64,32,0.003,500.1,700.0
""",
    "context_attention": """framework,version,device,op_name,kernel_source,batch_size,isl,num_heads,\
num_key_value_heads,head_dim,window_size,beam_width,attn_dtype,kv_cache_dtype,step,latency
TRTLLM,1.2.0,NVIDIA H200 SXM,context_attention,torch_flow,2,16,8,8,64,0,1,bfloat16,bfloat16,0,0.02
TRTLLM,1.2.0,NVIDIA H200 SXM,context_attention,torch_flow,2,16,8,8,64,128,1,bfloat16,bfloat16,0,0.02
""",
    "generation_attention": """framework,version,device,op_name,kernel_source,batch_size,isl,num_heads,\
num_key_value_heads,head_dim,window_size,beam_width,attn_dtype,kv_cache_dtype,step,latency
TRTLLM,1.2.0,NVIDIA H200 SXM,generation_attention,torch_flow,2,1,8,2,64,0,1,bfloat16,bfloat16,16,0.01
TRTLLM,1.2.0,NVIDIA H200 SXM,generation_attention,torch_flow,2,1,8,2,64,0,1,bfloat16,fp8,16,0.008
""",
    "encoder_attention": """framework,version,device,op_name,kernel_source,attn_dtype,batch_size,isl,num_heads,\
head_dim,latency
TRTLLM,1.2.0,NVIDIA H200 SXM,encoder_attention,torch_flow,bfloat16,2,16,8,64,0.03
""",
    "moe": """framework,version,device,op_name,kernel_source,moe_dtype,num_tokens,latency
TRTLLM,1.2.0,NVIDIA H200 SXM,moe,moe_torch_flow,bfloat16,8,1.0
""",
}
READ = {
    "linear(activation=none,batch=1,bias=0,inputs=32,outputs=64,sequence=8)": 4e-6,
    "attention(batch=2,cached=0,causal=1,head_size=64,heads=8,kv_heads=8,sequence=16)": 2e-5,
    "attention(batch=2,cached=16,causal=1,head_size=64,heads=8,kv_heads=2,sequence=1)": 1e-5,
    "attention(batch=2,cached=0,causal=0,head_size=64,heads=8,kv_heads=8,sequence=16)": 3e-5,
}


def written(folder: Path, suffix: str) -> Path:
    """Files of one stack, as CSV or as Parquet."""
    folder.mkdir(parents=True)
    for name, text in WRITTEN.items():
        path = folder / f"{name}_perf.txt"
        path.write_text(text)
        if suffix == ".parquet":
            pq.write_table(pyarrow.csv.read_csv(path), path.with_suffix(suffix))
            path.unlink()
    (folder / "SHARED_LAYER_REUSE.txt").write_text("")
    return folder


@pytest.mark.parametrize("suffix", [".txt", ".parquet"])
def test_aiconfigurator(tmp_path: Path, suffix: str) -> None:
    found = import_tables(written(tmp_path / "1.2.0", suffix), "aiconfigurator", "H200", tmp_path / "store")
    assert {row.operator.signature: row.measured.seconds_p10 for row in found.table.operators} == pytest.approx(READ)
    assert {row.regime for row in found.table.operators} == {Regime("bfloat16", "graph", 0)}
    assert found.table.meta.stack == {"source": "aiconfigurator", "software": "TRTLLM 1.2.0"}
    left = ("gemm in fp8", "context_attention with a window", "generation_attention over a fp8 cache", "moe")
    assert found.left_out == dict.fromkeys(left, 1)


def test_timings_of_several_stacks_are_not_mixed(tmp_path: Path) -> None:
    for version in ("1.2.0", "1.3.0"):
        (written(tmp_path / "data" / version, ".txt") / "gemm_perf.txt").write_text(
            WRITTEN["gemm"].replace("1.2.0", version)
        )
    with pytest.raises(TableError, match=r"several stacks \('TRTLLM 1.2.0', 'TRTLLM 1.3.0'\).*folder of one"):
        import_tables(tmp_path / "data", "aiconfigurator", "H200", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_families_of_one_stack_make_one_table(tmp_path: Path) -> None:
    folder = written(tmp_path / "1.2.0", ".parquet")
    tables = [
        import_tables(folder / f"{name}_perf.parquet", "aiconfigurator", "H200", tmp_path / "store").table
        for name in ("gemm", "context_attention")
    ]
    assert tables[0].folder == tables[1].folder
    assert [len(table.operators) for table in tables] == [1, 2]


def test_a_file_that_was_not_fetched_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    pointer = tmp_path / "gemm_perf.parquet"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:995443b4\nsize 1375555\n")
    with pytest.raises(TableError, match="git lfs pull"):
        import_tables(tmp_path, "aiconfigurator", "H200", tmp_path / "store")
    pointer.write_text("PAR1")
    with pytest.raises(TableError, match="cannot read"):
        import_tables(tmp_path, "aiconfigurator", "H200", tmp_path / "store")


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
        (f'signature,dtype,seconds,cache\n"{NORM}",float32,1,warm\n', "the cache 'warm'; expected hot or cold"),
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
