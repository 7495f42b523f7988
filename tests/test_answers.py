"""What commands answer to other programs, and the names that devices answer to."""

import csv
import io
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from distilsearch.architecture import Architecture
from distilsearch.architectures import architecture_of, read_architectures
from distilsearch.cli import app
from distilsearch.engine.job.runfile.config import Run
from distilsearch.errors import InputError, LackingError, TableError
from distilsearch.families import family
from distilsearch.operators import Serving
from distilsearch.predictors.answers import Answer, Answers
from distilsearch.profiling import find_table, fingerprint
from distilsearch.request_lengths import CONTRADICTING, RequestLengths, told

OLD = Path(__file__).parent / "old" / "0.1.0"
EXPECTED = json.loads((OLD / "expected.json").read_text())
GENES = {"layers": 2, "width": 128, "heads": 4, "ffn": 128, "vocabulary": 1000}
NAME = "Intel(R) Xeon(R) Processor"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    store = Path(shutil.copytree(OLD / "tables", tmp_path / "store"))
    timings = tmp_path / "theirs.csv"
    signature = "linear(activation=none,batch=1,bias=1,inputs=64,outputs=64,sequence=128)"
    timings.write_text(f'signature,dtype,milliseconds\n"{signature}",float32,0.5\n')
    words = ["import", str(timings), "--format", "csv", "--device", "myserver", "--store", str(store)]
    assert CliRunner().invoke(app, ["tables", *words]).exit_code == 0
    return store


def run(*words: object) -> str:
    """What a command prints."""
    return CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False).stdout


def answer(*words: object) -> Any:
    """What a command prints as JSON."""
    return json.loads(run(*words, "--json"))


@pytest.mark.parametrize(
    "name", ["a1d441e33bf8/98e3317668fd", "a1d441e33bf8", "a1d441", "a1d4/98e3", NAME, NAME.upper(), f" {NAME} "]
)
def test_devices_answer_to_all_their_names(store: Path, name: str) -> None:
    table = find_table(name, store)
    assert table is not None
    assert table.folder == store / "a1d441e33bf8" / "98e3317668fd"
    assert "9 operators" in run("tables", "check", name, "--store", store)


def test_a_device_answers_to_the_name_it_was_imported_by(store: Path) -> None:
    assert answer("tables", "show", "myserver", "--store", store, "--out", store.parent / "t.html")["operators"] == 1
    listed = answer("tables", "list", "--store", store)
    assert {table["name"] for table in listed} == {NAME, "myserver"}
    for table in listed:
        assert find_table(f"{table['device']}/{table['stack']}", store) is not None


def test_a_name_that_nobody_has_is_answered_with_those_that_there_are(store: Path) -> None:
    with pytest.raises(InputError, match=r"the name of a table's device \(Intel.R. Xeon.R. Processor, myserver\)"):
        find_table("mysrever", store)
    assert find_table("0123456789ab", store) is None
    assert find_table("0123456789ab/0123456789ab", store) is None
    twin = store / "a1d441000000" / "98e3317668fd"
    shutil.copytree(store / "a1d441e33bf8" / "98e3317668fd", twin)
    with pytest.raises(InputError, match="'a1d441' is the start or the name of several tables: a1d441000000, a1d441e3"):
        find_table("a1d441", store)


PREDICT = ("predict", "--device", NAME, "--threads", 1)


def test_a_prediction_says_what_it_is_of(store: Path) -> None:
    genes = [f"{gene}={value}" for gene, value in GENES.items()]
    one = answer(*PREDICT, "--store", store, *genes, "positions=512")
    assert (one["device"], one["table"], one["serving"]["threads"]) == (NAME, "a1d441e33bf8/98e3317668fd", 1)
    words = run(*PREDICT[:3], "--store", store, *genes, "positions=512")
    assert f"encode, batch 1, 128 tokens, float32, eager in torch, 1 thread; {NAME} (" in words
    assert f"{one['predictions'][0]['predicted_ms']:.3f} ms, 90 % interval" in words


@pytest.mark.parametrize(
    ("asked", "lacks", "command"),
    [
        (["--dtype", "bfloat16"], "no rows for bfloat16 eager 1 thread", "--dtype bfloat16 --threads 1`"),
        (["--mode", "compile"], "no rows for float32 compile", "--threads 1 --mode compile`"),
        (["head=mlm"], "no operators of kind head", "--threads 1`"),
    ],
)
def test_what_a_table_lacks_is_said_with_the_command_that_adds_it(
    store: Path, asked: list[str], lacks: str, command: str
) -> None:
    genes = [f"{gene}={value}" for gene, value in GENES.items()]
    with pytest.raises(LackingError, match=lacks) as caught:
        run(*PREDICT, "--store", store, *genes, *asked)
    assert f"`distilsearch profile {command}" in str(caught.value)
    assert "on that table's machine" in str(caught.value)


def test_a_guess_is_said_with_the_command_that_makes_it_surer(store: Path) -> None:
    genes = [f"{gene}={value}" for gene, value in GENES.items()]
    words = [*map(str, PREDICT), "--store", str(store), *genes, "--batch", "64"]
    said = CliRunner().invoke(app, words, catch_exceptions=False).stderr
    command = "distilsearch profile --batch 64 --threads 1"
    assert f"note: for narrower intervals profile what is lacking with `{command}` on that table's machine" in said


@pytest.mark.parametrize("form", ["csv", "json", "architectures"])
def test_many_architectures_go_in_and_come_out(store: Path, tmp_path: Path, form: str) -> None:
    students = [data["values"] for data in EXPECTED["architectures"]]
    path = tmp_path / ("many.csv" if form == "csv" else "many.json")
    if form == "csv":
        rows = [", ".join(students[0]), *(",".join(map(str, values.values())) for values in students)]
        path.write_text("\ufeff" + "\n".join(rows) + "\n\n", encoding="utf-8")
    else:
        path.write_text(json.dumps(students if form == "json" else EXPECTED["architectures"]))
    many = answer(*PREDICT, "--store", store, "--from", path)["predictions"]
    assert [one["key"] for one in many] == EXPECTED["keys"]
    assert [one["architecture"]["values"] for one in many] == students
    table = [*csv.DictReader(io.StringIO(run(*PREDICT, "--store", store, "--from", path, "--csv")))]
    assert [float(row["predicted_ms"]) for row in table] == [one["predicted_ms"] for one in many]
    assert {(row["device"], row["threads"], row["dtype"]) for row in table} == {(NAME, "1", "float32")}
    again = tmp_path / "again.csv"
    again.write_text("key,layers,width,heads,ffn,inherit\nx,2,64,2,64,even\n")
    assert read_architectures(again, partial(architecture_of, family("bert")))[0]["layers"] == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "layers,width\n2,64\n", "line 2: an architecture needs heads, ffn too"),
        ("a.csv", "layers,widht\n2,64\n", "line 2: unknown gene of family bert 'widht': did you mean 'width'"),
        ("a.csv", "layers,width,heads,ffn\n2,64,2,64\n\n2.5,64,2,64\n", "line 4: layers must be a positive whole"),
        ("a.csv", "layers,width,heads,ffn\n", "holds no architecture"),
        ("a.csv", "", "holds no architecture"),
        ("a.json", "{", "is no JSON"),
        ("a.json", "[3]", "must hold a list of objects"),
        ("a.json", '[{"layers": [1]}]', "entry 1: "),
        ("none.csv", None, "cannot read"),
    ],
)
def test_what_is_no_list_of_architectures_is_refused_by_its_row(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_architectures(tmp_path / name, partial(architecture_of, family("bert")))


def test_results_homes_and_checks_are_told_to_programs(store: Path, tmp_path: Path) -> None:
    shutil.copytree(OLD / "run", tmp_path / "run")
    assert answer("report", tmp_path / "run")["schema"] == 1
    stand = answer("status", tmp_path / "run")
    assert (stand["name"], stand["finished"], stand["running"]) == ("old", True, [])
    assert stand["states"]["complete"] > 0
    shutil.copytree(OLD / "trials", tmp_path / "home" / "trials", dirs_exist_ok=True)
    kinds = {entry["kind"] for entry in answer("home")["entries"]}
    assert "trial" in kinds
    assert answer("tables", "check", NAME, "--store", store)["sound"] is True


def test_requests_of_many_lengths_are_answered_with_mean_median_and_tail(store: Path, tmp_path: Path) -> None:
    words = ["predict", *(f"{gene}={value}" for gene, value in GENES.items()), "--store", store, "--threads", 1]
    lengths = "40 requests, p50 8, p99 16: 4 x 0.250000, 8 x 0.500000, 16 x 0.250000"
    mixed = answer(*words, "--device", NAME, "--lengths", lengths)
    (one,) = mixed["predictions"]
    alone = {n: answer(*words, "--device", NAME, "--sequence", n)["predictions"][0]["predicted_ms"] for n in (4, 8, 16)}
    assert one["predicted_ms"] == pytest.approx(0.25 * alone[4] + 0.5 * alone[8] + 0.25 * alone[16], rel=1e-3)
    assert (one["p50_ms"], one["p99_ms"]) == pytest.approx((alone[8], alone[16]))
    assert mixed["serving"]["lengths"] == lengths
    said = run(*words, "--device", NAME, "--lengths", lengths)
    assert "that is the mean over requests; p50" in said
    assert "requests of 4 to 16 tokens (mean 9, p50 8, p99 16)" in said
    queries, run_file = tmp_path / "queries.txt", tmp_path / "run.toml"
    queries.write_text("\n".join(["ba"] * 30))
    run_file.write_text(f'teacher = "{OLD / "teacher"}"\ntext = "{OLD / "text" / "words.txt"}"\n')
    told = answer(*words, "--device", NAME, "--lengths", queries, "--space", run_file)
    assert told["serving"]["lengths"].startswith("30 requests, p50 3, p99 3")
    for wrong, message in (
        (["--sequence", 8], "--sequence is one length for all requests, and --lengths are their own"),
        (["--lengths", tmp_path / "none.txt", "--space", run_file], "there is no file"),
    ):
        with pytest.raises(InputError, match=message):
            run(*words, "--device", NAME, "--lengths", lengths, *wrong)


def test_figures_of_requests_that_cannot_be_true_are_left_out_of_answers_and_it_is_said_why() -> None:
    about = (Architecture("bert", {"layers": 1}), 10, 1.0, 0.9, 1.1, "exact", 1.0)
    ms = told("predicted", 1.0, 1.5, 0.9)
    wrong, right = Answer(*about, ms.p50, ms.p99, ms.why), Answer(*about, 0.9, 1.5)
    assert wrong.to_json()["left_out"] == CONTRADICTING["predicted"]
    assert not {"p50_ms", "p99_ms"} & set(wrong.to_json())
    assert "left_out" not in right.to_json()
    rows = [*csv.DictReader(io.StringIO(Answers("d", "t", Serving(), (wrong, right)).to_csv()))]
    assert [(row["p50_ms"], row["left_out"]) for row in rows] == [("", CONTRADICTING["predicted"]), ("0.9", "")]


def test_a_run_says_how_it_serves_and_which_genes_have_one_choice(store: Path, tmp_path: Path) -> None:
    genes = "".join(f"{gene} = {value}\n" for gene, value in GENES.items() if gene != "layers")
    serving = 'serving = { sequence = 16, threads = 1, runtime = ["torch", "onnxruntime"] }'
    head = f'teacher = "{OLD / "teacher"}"\ntext = "{OLD / "text" / "words.txt"}"\n'
    file, folder = tmp_path / "run.toml", tmp_path / "runs" / "one"
    file.write_text(f'{head}[space]\nlayers = [1, 2]\n{genes}[[target]]\ndevice = "{NAME}"\n{serving}\n')
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text(Run.read(file).to_toml())
    named = [f"{gene}={value}" for gene, value in GENES.items()]
    told = answer("predict", *named, "--store", store, "--threads", 1, "--sequence", 16, "--device", NAME)
    for place in (file, folder):
        assert answer("predict", "layers=2", "--store", store, "--space", place) == told
    needs = r"an architecture needs layers too: name them, such as width=64 layers=[12]; this run searches width 128, l"
    with pytest.raises(InputError, match=needs):
        run("predict", "width=64", "--store", store, "--space", file)
    (tmp_path / "many.csv").write_text("layers,width\n2,128\n")
    assert answer("predict", "--from", tmp_path / "many.csv", "--store", store, "--space", file) == told
    words = ["predict", "layers=2", "--store", str(store), "--space", str(file)]
    said = CliRunner().invoke(app, words, catch_exceptions=False)
    assert "this run searches" not in said.stderr
    beyond = CliRunner().invoke(app, ["predict", "layers=3", *words[2:]], catch_exceptions=False)
    assert "note: this run searches layers 1, 2: it makes no student of layers=3" in beyond.stderr
    assert beyond.exit_code == 0
    assert "note: this is of torch float32; the run serves by onnxruntime float32 too" in said.stderr
    assert "targets" not in said.stderr
    file.write_text(f'{file.read_text()}[[target]]\ndevice = "cuda"\n'.replace(', "onnxruntime"', ""))
    said = CliRunner().invoke(app, words, catch_exceptions=False)
    assert "note: this is of the first of 2 targets; name another's device by --device" in said.stderr
    with pytest.raises(TableError, match="under onnxruntime here, but one under torch"):
        run(*words, "--runtime", "onnxruntime")


def test_the_name_of_a_table_means_the_target_that_its_device_is(store: Path, tmp_path: Path) -> None:
    table = find_table(NAME, store)
    assert table is not None
    genes = "".join(f"{gene} = {value}\n" for gene, value in GENES.items())
    named, plain = [f"{gene}={value}" for gene, value in GENES.items()], ["--threads", 1, "--sequence", 16]
    told = answer("predict", *named, "--store", store, *plain, "--device", NAME)
    file = tmp_path / "run.toml"
    for device in ("cpu", fingerprint(table.meta.device), f"{fingerprint(table.meta.device)[:6]}/{'0' * 12}"):
        serving = f'[[target]]\ndevice = "{device}"\nserving = {{ sequence = 16, threads = 1 }}\n'
        file.write_text(
            f'teacher = "some/model"\ntext = "python-docs"\n[space]\n{genes}[[target]]\ndevice = "cuda"\n'
            f"serving = {{ batch = 4 }}\n{serving}"
        )
        assert answer("predict", "layers=2", "--store", store, "--space", file, "--device", NAME) == told


def test_it_is_said_whose_text_lengths_are_of(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*PREDICT, *(f"{gene}={value}" for gene, value in GENES.items()), "--store", store, "--lengths", "text"]
    lengths = RequestLengths.parse("40 requests, p50 8, p99 16: 4 x 0.250000, 8 x 0.500000, 16 x 0.250000")
    monkeypatch.setattr("distilsearch.engine.job.serving.lengths.counted_for", lambda *given: lengths)
    said = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
    assert "note: the requests are the quickstart's own text" in said.stderr
    assert "name your own run with --space" in said.stderr
