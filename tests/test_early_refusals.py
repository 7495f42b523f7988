"""A mistake in a name, folder or device is told before anything heavy is loaded; what takes long says what it does."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from distilsearch.architectures import architecture_of, value_of
from distilsearch.cli import app
from distilsearch.distill.teachers.named import teacher_at_hand
from distilsearch.engine.job.plans.phases import Phases
from distilsearch.engine.job.preflight import check_run
from distilsearch.engine.job.runfile.config import Run
from distilsearch.errors import InputError, Interrupted
from distilsearch.families import family, family_of
from distilsearch.places import RUN_MARK
from distilsearch.testing.teachers import write_teacher

HEAVY = ("torch", "transformers", "optuna", "xgboost", "scipy", "datasets", "gpytorch", "botorch")
GENES = ("layers=1", "width=32", "heads=2", "ffn=64")
OF = ("--teacher", "quickstart", "--text", "python-docs", "--out", "out")
REFUSED = {
    ("search", "teacher.toml"): "is not a model folder, a hub name",
    ("search", "glob.toml"): "no file matches",
    ("search", "device.toml"): "expected a device",
    ("search", "gpu.toml"): "the device 'cuda' is not there",
    ("search", "table.toml"): "no table of the device",
    ("search", "sound.toml", "--folder", "notes"): "holds no run of distilsearch",
    ("search", "family.toml"): "students of family 'llama' are made of llama",
    ("search", "limit.toml"): "no student keeps parameters <= 10",
    ("search", "long.toml"): "these models have positions for 512",
    ("search", "wide.toml"): "is more than the teacher's 384",
    ("search", "ray.toml"): "needs [train] workers",
    ("import", "sound.toml", "none.csv"): "there is no file none.csv",
    ("import", "teacher.toml", "notes/thesis.tex"): "is not a model folder",
    ("distill", *GENES, "--teacher", "/no/such", "--text", "x.txt", "--out", "out"): "is not a model folder",
    ("distill", *GENES, "--teacher", "quickstart", "--text", "*.none", "--out", "out"): "no file matches",
    ("distill", *GENES, *OF, "--text", "*.none", "--text", "*.no"): "no file matches '*.none'",
    ("distill", *GENES, *OF, "--text", "*.none", "--text", "*.or"): "no file matches '*.or'",
    ("distill", *GENES, "--teacher", "quickstart", "--text", "python-docs", "--out", "notes"): "holds no student",
    ("distill", "layers=2", "ffn=768", *OF): "needs width, heads too",
    ("distill", "layers=2", "ffn=768", *OF, "--teacher", "owner/model"): "needs width, heads too",
    ("distill", *GENES, *OF, "--family", "llama"): "students of family 'llama' are made of llama",
    ("distill", "layers=1", "width=768", "heads=12", "ffn=64", *OF): "is more than the teacher's 384",
    ("distill", *GENES, *OF, "--precision", "fp8"): "unknown precision 'fp8'",
    ("distill", *GENES, *OF, "--quality", "best"): "unknown quality 'best'",
    ("distill", *GENES, *OF, "--device", "tpuu"): "unknown training device 'tpuu'",
    ("distill", *GENES, *OF, "--pairs", "none.csv"): "there is no file none.csv",
    ("distill", "/no/such/run", "--out", "out"): "name the folder of a run",
    ("evaluate", "/no/such"): "is not a model folder",
    ("evaluate", "notes"): "has no config.json; it holds thesis.tex",
    ("evaluate", "classifier"): "is a classifier, regressor or reranker",
    ("distill", *GENES, "--teacher", "classifier", "--text", "*.none", "--out", "out"): "is a classifier",
    ("evaluate", "notes/thesis.tex"): "a teacher is the folder of a transformers model",
    ("search", "folder.toml"): "has no config.json; it holds thesis.tex",
    ("evaluate", "quickstart", "--on", "none.csv"): "there is no file none.csv",
    ("evaluate", "quickstart", "--with", "heldout", "--teacher", "bert"): "is not a model folder",
    ("evaluate", "quickstart"): "no file was named; name a csv of sentence, sentence, score, such as --on pairs.csv",
    ("evaluate", "quickstart", "--on", "notes"): "which --with glue takes",
    ("evaluate", "quickstart", "--with", "glue"): "no folder was named; name that of a GLUE task",
    ("evaluate", "quickstart", "--with", "glue", "--on", "sound.toml"): "there is no folder sound.toml",
    ("evaluate", "quickstart", "--with", "heldout", "--teacher", "quickstart"): "give both --teacher and --text",
    ("evaluate", "quickstart", "--with", "words"): "give one (--text)",
    ("evaluate", "quickstart", "--with", "words", "--text", "python-docs", "--on", "sound.toml"): "leave --on out",
    ("evaluate", "quickstart", "--on", "sound.toml", "--text", "python-docs"): "needs no --text; leave it out",
    ("evaluate", "quickstart", "--on", "sound.toml", "--teacher", "quickstart"): "needs no --teacher; leave it out",
    ("fidelity", "/no/such"): "there is no run file",
    ("fidelity", "teacher.toml"): "is not a model folder",
    ("fidelity", "notes"): "name the folder of a run",
    ("predict", *GENES, "--device", "gpu"): "expected a device",
    ("predict", "layers=1"): "needs width, heads, ffn too",
    ("predict", "layers=1", "layers=2"): "layers is given twice, as '1' and '2'",
    ("predict", " layers = 1"): "needs width, heads, ffn too",
    ("measure", "none"): "name that of a run or of a model, a hub name, or 'quickstart'",
    ("home", "--yes", "--former"): "--former and --yes say what --clean removes",
    ("home", "--clean", "--older-than", "-1"): "is a number of days, 0 or more; got -1",
    ("distill", *GENES, *OF, "--tokens", "0"): "--tokens should be more than 0; got 0",
    ("predict", *GENES, "--runtime", "tensorrt", "--device", "cpu"): "tensorrt runs on cuda; got the device 'cpu'",
    ("predict", *GENES, "--dtype", "int8", "--device", "cpu"): "(runtime 'onnxruntime' or 'openvino' serves that)",
    (
        "predict",
        *GENES,
        "--dtype",
        "int8",
        "--device",
        "0123456789ab",
    ): "torch serves float32 or bfloat16",
    ("predict", *GENES, "--device", "cpu"): "make one with `distilsearch profile --device cpu`",
    ("predict", *GENES, "--space", "compiled.toml", "--runtime", "onnxruntime"): (
        "make one with `distilsearch profile --space compiled.toml --runtime onnxruntime`"
    ),
    ("predict", *GENES, "--device", "xla"): "to predict by the table of another machine, name its device with --device",
    ("predict", *GENES, "--space", "xla.toml"): "as `distilsearch tables list` prints it",
    ("predict", *GENES, "--lengths", "none.txt"): "there is no file none.txt",
    ("predict", *GENES, "--lengths", ""): "--lengths should be text, or a file of requests",
    ("profile", "--lengths", ""): "--lengths should be text, or a file of requests",
    ("profile", "--lengths", "none.txt"): "there is no file none.txt",
    ("profile", "--dtype", ""): "unknown serving dtype ''",
    ("profile", "--device", "gpu"): "unknown device 'gpu'",
    ("profile", "--space", "/no/such.toml"): "there is no run file",
    ("profile", "--store", "notes"): "holds no latency tables",
    ("status", "notes"): "there is no run in notes",
    ("report", "notes"): "holds no run",
    ("measure", "notes"): "holds no run",
    ("measure", "quickstart", "--dtype", "int7"): "unknown serving dtype 'int7'",
    ("measure", "run", "--lengths", "text"): "--lengths is for models; the run in run says itself",
    ("measure", "run", "--runtime", "onnxruntime", "--batch", "0"): "--batch is for models; the run in run says itself",
    ("measure", "quickstart", "--lengths", "text"): "a model has no text of its own here",
    ("measure", "quickstart", "--lengths", "none.txt", "--sequence", "8"): "give one of them",
    ("measure", "quickstart", "--lengths", "none.txt"): "there is no file none.txt",
    ("measure", "quickstart", "--lengths", ""): "--lengths should be text, or a file of requests",
    ("measure", "quickstart", "--runtime", "tensorrt"): "tensorrt runs on cuda; got the device 'cpu'",
}
SCRIPT = """
import json, sys
from typer.testing import CliRunner
from distilsearch.cli import app
answers = []
for words in json.load(sys.stdin):
    done = CliRunner().invoke(app, words)
    answers.append([str(done.exception), sorted(set(sys.modules) & set(sys.argv[1:]))])
print(json.dumps(answers))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    least = 'teacher = "quickstart"\ntext = ["python-docs"]\n'
    files = {
        "sound": least,
        "teacher": least.replace("quickstart", "/no/such"),
        "folder": least.replace("quickstart", "notes"),
        "glob": least.replace("python-docs", "texts/*.txt"),
        "device": least + '[[target]]\ndevice = "tpuu"\n',
        "gpu": least + '[train]\ndevice = "cuda"\n',
        "table": least + '[[target]]\ndevice = "0123456789ab"\n',
        "family": least + '[space]\nfamily = "llama"\n',
        "limit": least + "[[target]]\nparameters = 10\n",
        "long": least + "[[target]]\nserving = { sequence = 1000 }\n",
        "wide": least + "[space]\nwidth = [512, 768]\n",
        "xla": least + '[[target]]\ndevice = "xla"\n',
        "compiled": least + '[[target]]\nserving = { mode = "compile" }\n',
        "ray": least + 'executor = "ray"\n',
    }
    for name, content in files.items():
        (tmp_path / f"{name}.toml").write_text(content)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.tex").write_text("years of work")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.toml").write_text(f"{RUN_MARK}\n{least}")
    (tmp_path / "classifier").mkdir()
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    (tmp_path / "classifier" / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_mistakes_are_told_before_anything_heavy_is_loaded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(place / "home"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *HEAVY], cwd=place, input=json.dumps([*REFUSED]), text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    for (words, said), (error, loaded) in zip(REFUSED.items(), json.loads(done.stdout), strict=True):
        assert said in error, words
        assert not loaded, (words, loaded)


def test_an_evaluation_says_what_it_is_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    teacher, pairs = write_teacher(tmp_path / "teacher"), tmp_path / "pairs.csv"
    pairs.write_text("aaa bbb,aaa bbb,5\naaa ccc,aaa bbb,3\nfee fed,aaa bbb,0\n")
    done = CliRunner().invoke(app, ["evaluate", str(teacher), "--on", str(pairs)], catch_exceptions=False)
    for said in ("loading libraries", "reading the model and what it is held against", "scoring by similarity"):
        assert said in done.stderr
    assert done.stdout.startswith("pairs.csv: spearman ")


class Noted:
    """A ledger's notes."""

    def __init__(self) -> None:
        self.notes: dict[str, object] = {}

    def noted(self, name: str) -> object:
        return self.notes.get(name)

    def note(self, name: str, value: object) -> None:
        self.notes[name] = value


def test_each_phase_of_a_search_says_that_it_begins() -> None:
    told: list[tuple[str, float]] = []
    phases = Phases(Noted(), lambda what, done, _: told.append((what, done)))  # type: ignore[arg-type]
    for what in ("profile and predict", "finish"):
        with phases.phase(what):
            assert told[-1] == (what, 0)
    assert told == [("profile and predict", 0), ("profile and predict", 1), ("finish", 0), ("finish", 1)]


def test_no_phase_begins_once_a_run_was_asked_to_end() -> None:
    def between() -> None:
        raise Interrupted("stopped")

    noted = Noted()
    with pytest.raises(Interrupted), Phases(noted, between=between).phase("finish"):  # type: ignore[arg-type]
        noted.note("reached", True)
    assert noted.notes == {}


def test_the_example_of_genes_that_are_missing_is_one_that_can_be_made(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    order = ["distill", "layers=2", "ffn=768", *OF[:-1], str(tmp_path / "out")]
    refused = CliRunner().invoke(app, order).exception
    example = str(refused).partition("such as ")[2].split()
    kind, facts = family("bert"), teacher_at_hand("quickstart").facts
    assert example[:2] == ["layers=2", "ffn=768"]
    student = architecture_of(
        kind, {name: value_of(value) for name, value in (one.split("=") for one in example)}, facts
    )
    assert student["width"] <= facts.width


def test_a_teacher_whose_configuration_is_not_complete_is_looked_at_when_it_is_opened(tmp_path: Path) -> None:
    folder = write_teacher(tmp_path / "teacher")
    whole = teacher_at_hand(str(folder))
    config = json.loads((folder / "config.json").read_text())
    for size in ("many", 0, -1):
        (folder / "config.json").write_text(json.dumps(config | {"hidden_size": size}))
        assert teacher_at_hand(str(folder)) == whole._replace(facts=None)
    del config["hidden_size"]
    (folder / "config.json").write_text(json.dumps(config))
    assert teacher_at_hand(str(folder)) == whole._replace(facts=None)
    assert whole.facts is not None


@pytest.mark.parametrize("named", ["Qwen2", "Llama", "Mistral", "Bert", "Roberta", "MobileBert"])
def test_what_a_configuration_says_is_what_transformers_makes_of_it(named: str, tmp_path: Path) -> None:
    import transformers

    sizes = {"pad_token_id": 1, "max_position_embeddings": 512, "num_hidden_layers": 2}
    made = getattr(transformers, f"{named}Config")(**sizes)
    made.save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    if named == "Qwen2":  # as its authors' own files have it
        said |= {"sliding_window": 64, "use_sliding_window": False}
    own = family_of(made.model_type)
    head = "causal" if own.name == "llama" else "mlm"
    assert own.facts(SimpleNamespace(**said), "t", head) == own.facts(made, "t", head)


def test_limits_are_not_held_against_lengths_that_only_the_text_will_tell(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    known, unknown = (
        Run.parse({"teacher": "quickstart", "text": ["python-docs"], "target": [{"serving": serving, "gflops": 1e-9}]})
        for serving in ({"sequence": 128}, {"lengths": "text"})
    )
    check_run(unknown, tmp_path / "run")
    with pytest.raises(InputError, match="no student keeps gflops"):
        check_run(known, tmp_path / "run")


def test_names_of_recipes_are_refused_before_a_teacher_is_opened(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    for words in (
        ["distill", *GENES, *OF[:-1], str(tmp_path / "out"), "--recipe", "foo"],
        ["fidelity", "--also", "foo"],
    ):
        outcome = CliRunner().invoke(app, words)
        assert "unknown recipe 'foo'" in str(outcome.exception)
        assert "loading libraries" not in outcome.stderr
