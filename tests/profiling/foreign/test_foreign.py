"""Foreign tables: what has a place here is read with its unit, what has none is named, and twice is once."""

import gzip
import shutil
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilsearch.errors import InputError, TableError
from distilsearch.operators import Operator
from distilsearch.profiling.device import Regime
from distilsearch.profiling.foreign import import_tables
from distilsearch.profiling.tables import rounds
from distilsearch.profiling.tables.table import LatencyTable

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
        (f'signature,dtype,seconds\n"{NORM}",float32,-1\n', "line 2, column 'seconds': expected a positive time"),
        ("name,seconds\nx,1\n", "lacks the columns signature, dtype"),
        ("signature,dtype,seconds\nfft(n=8),float32,1\n", "holds no operator known here"),
        (
            f'signature,dtype,seconds,cache\n"{NORM}",float32,1,warm\n',
            "line 2, column 'cache': expected hot or cold; got 'warm'",
        ),
    ],
)
def test_what_cannot_be_trusted_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(TableError, match=reason):
        import_tables(path, "csv", "board", tmp_path / "store")
    assert not list((tmp_path / "store").rglob("*.parquet"))


LINEAR = "linear(activation=none,batch=1,bias=0,inputs=32,outputs=64,sequence=8)"
GOOD = f'"{LINEAR}",float32,1e-5,4,eager'


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (f'"{NORM.replace("width=64", "width=0")}",float32,1e-5,4,', "size width is 0 and must be a whole number of"),
        (f'"{NORM.replace("sequence=8", "sequence=-8")}",float32,1e-5,4,', "size sequence is -8"),
        (f'"{NORM.replace("sequence=8", "sequence=8.5")}",float32,1e-5,4,', "size sequence is '8.5'"),
        (f'"{NORM.replace("sequence=8", "sequence=long")}",float32,1e-5,4,', "size sequence is 'long'"),
        (f'"{NORM.replace("width=64", "width=" + "9" * 30)}",float32,1e-5,4,', "larger than anything"),
        (f'"{NORM.replace("norm=layer", "norm=odd")}",float32,1e-5,4,', "no signature of an operator"),
        (f'"{NORM.replace(",width=64", "")}",float32,1e-5,4,', "column 'signature': .* .norm needs the sizes"),
        (f'"{NORM}",float32,,4,', r"column 'seconds': .* got nothing \(the cell is blank\)"),
        (f'"{NORM}",float32,fast,4,', "column 'seconds': .* got 'fast'"),
        (f'"{NORM}",float32,nan,4,', "column 'seconds': .* got 'nan'"),
        (f'"{NORM}",float32,inf,4,', "column 'seconds': .* got 'inf'"),
        (f'"{NORM}",float32,1e30,4,', "column 'seconds': .* got '1e30'"),
        (f'"{NORM}",float32,"1,5",4,', "column 'seconds': .* got '1,5'"),
        (f'"{NORM}",float32,1e-5,1.5,', "column 'threads': expected a whole number of at least 0; got '1.5'"),
        (f'"{NORM}",float32,1e-5,-1,', "column 'threads': .* got '-1'"),
        (f'"{NORM}",float32,1e-5,many,', "column 'threads': .* got 'many'"),
        (f'"{NORM}",float32,1e-5,4,fast', "column 'mode': expected eager or compile or graph; got 'fast'"),
        (f'"{NORM}",,1e-5,4,', "column 'dtype': expected a value"),
        (",float32,1e-5,4,", "column 'signature': expected a value"),
        (f'"{NORM}",float32,1,5,4,eager', "has 6 cells, the header 5.*decimals with a point"),
        (f'"{NORM},float32,1e-5,4,', "cannot be read as CSV"),
    ],
)
def test_one_bad_row_is_named_and_nothing_is_written(tmp_path: Path, bad: str, reason: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(f"signature,dtype,seconds,threads,mode\n{GOOD}\n\n{bad}\n")
    with pytest.raises(TableError, match=f"bad.csv.*line 4.*{reason}" if "as CSV" not in reason else reason):
        import_tables(path, "csv", "board", tmp_path / "store")
    assert not (tmp_path / "store").exists()
    path.write_text(f"signature,dtype,seconds,threads,mode\n{GOOD}\n")
    assert len(import_tables(path, "csv", "board", tmp_path / "store").table.operators) == 1


@pytest.mark.parametrize(
    "content",
    [
        f'\ufeffsignature,dtype,seconds\n"{NORM}",float32,1e-5\n'.encode(),
        f'signature,dtype,seconds\r\n"{NORM}",float32,1e-5\r\n'.encode(),
        f'signature,dtype,seconds\n"{NORM}",float32,1e-5\n'.encode("utf-16"),
        f' signature , dtype, seconds \n"{NORM}", float32 , 1e-5 \n'.encode(),
        gzip.compress(f'signature,dtype,seconds,note,note\n"{NORM}",float32,1e-5,,\n\n'.encode()),
    ],
)
def test_csv_is_read_as_people_have_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    (row,) = import_tables(path, "csv", "board", tmp_path / "store").table.operators
    assert (row.operator.signature, row.measured.seconds_p10) == (NORM, pytest.approx(1e-5))


def test_tabs_are_read_from_a_tsv(tmp_path: Path) -> None:
    path = tmp_path / "mine.TSV"
    path.write_text(f"signature\tdtype\tseconds\n{NORM}\tfloat32\t1e-5\n")
    assert len(import_tables(path, "csv", "board", tmp_path / "store").table.operators) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"signature;dtype;seconds\n{NORM};float32;1e-5\n", "parted by semicolons: write it with commas"),
        ("signature\tdtype\tseconds\nx\tfloat32\t1e-5\n", "parted by tabs.*or call the file .tsv"),
        (f'signature,dtype,seconds,seconds\n"{NORM}",float32,1e-5,2\n', "more than one column 'seconds'"),
        ("", "holds no rows"),
        ("signature,dtype,seconds\n", "holds no rows"),
        ("%PDF-1.4", "is a PDF"),
    ],
)
def test_a_file_of_another_shape_is_told_by_what_it_is(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "other.csv"
    path.write_text(content)
    with pytest.raises(TableError, match=reason):
        import_tables(path, "csv", "board", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_the_readers_of_other_projects_name_the_cell_too(tmp_path: Path) -> None:
    folder = written(tmp_path / "1.2.0", ".txt")
    gemm = folder / "gemm_perf.txt"
    gemm.write_text(WRITTEN["gemm"].replace(",8,64,32,0.004", ",8.5,64,32,0.004"))
    with pytest.raises(TableError, match=r"gemm_perf.txt, line 2, column 'm': expected a whole number .* got '8.5'"):
        import_tables(folder, "aiconfigurator", "H200", tmp_path / "store")
    header = "num_tokens,n_embd,n_head,n_kv_head,num_tensor_parallel_workers,n_expanded_embd,use_gated_mlp,vocab_size"
    path = tmp_path / "mlp.csv"
    path.write_text(f"{header},time_stats.emb.median,time_stats.add.median\n8,64,0,4,1,256,True,100,0.1,0.1\n")
    with pytest.raises(TableError, match="line 2, column 'n_head': expected a whole number of at least 1; got '0'"):
        import_tables(path, "vidur", "A100", tmp_path / "store")
    path.write_text(f"{header},time_stats.emb.median,time_stats.add.median\n8,64,4,4,1,256,True,100,0.1,0.1\n")
    path.write_text(path.read_text() + "16,64,4,4,1,256,True,100,,0.1\n")
    assert import_tables(path, "vidur", "A100", tmp_path / "store").left_out == {"add": 2, "emb without a time": 1}


def test_a_file_of_a_folder_may_be_empty(tmp_path: Path) -> None:
    folder = written(tmp_path / "1.2.0", ".txt")
    (folder / "moe_perf.txt").write_text("framework,version,op_name,latency\n")
    (folder / "none_perf.txt").write_text("")
    found = import_tables(folder, "aiconfigurator", "H200", tmp_path / "store")
    assert len(found.table.operators) == len(READ)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_changed_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever one changed character makes of a file: a table that can be read again, or an error and no file."""
    rows = "layers,width,heads,ffn,ms\n1,64,4,128,1\n2,64,4,128,2\n3,64,4,128,3.5\n"
    plain = f'signature,dtype,seconds,threads,mode\n{GOOD}\n"{NORM}",float32,1e-6,4,\n'
    form, content = data.draw(st.sampled_from([("csv", plain), ("models", rows)]))
    place = data.draw(st.integers(0, len(content) - 1))
    sign = data.draw(st.sampled_from('"0-.,;9eE\n\t=()x\0\u00e9'))
    path, store = tmp_path / "mine.csv", tmp_path / f"store{len(list(tmp_path.iterdir()))}"
    path.write_text(content[:place] + sign + content[place + 1 :], encoding="utf-8")
    try:
        table = import_tables(path, form, "board", store).table
    except TableError:
        assert not store.exists()
    else:
        assert table.folder is not None
        assert LatencyTable.read(table.folder).meta == table.meta
        shutil.rmtree(store)


def test_a_table_that_holds_sizes_of_nothing_is_damaged(tmp_path: Path) -> None:
    """Imports of before wrote such rows; no later import may cover them up."""
    empty = NORM.replace("width=64", "width=0")
    row = rounds.Row("operator", empty, Regime("float32", "eager", 0), "s", 0, 1e-5, 1.0, None, None, None, 0.0)
    rounds.append(tmp_path, [row], {"kind": "foreign", "model": "board"}, {"source": "csv"})
    with pytest.raises(TableError, match=r"damaged.*size width is 0"):
        LatencyTable.read(tmp_path)


def test_unknown_formats_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown table format 'vidr': did you mean 'vidur'"):
        import_tables(tmp_path, "vidr", "A100", tmp_path)
    with pytest.raises(InputError, match="there is no file"):
        import_tables(tmp_path / "nothing", "csv", "A100", tmp_path)
