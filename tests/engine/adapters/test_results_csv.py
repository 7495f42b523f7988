"""Results of other tools read from CSV."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilsearch.engine.adapters.results_csv import import_results
from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Expensive, Known
from distilsearch.errors import InputError
from distilsearch.space import Constraint, Parameter, SearchSpace


def engine() -> Engine:
    space = SearchSpace(
        "generic",
        [Parameter("depth", (1, 2)), Parameter("ratio", (0.5, 2.0)), Parameter("bias", (False, True))],
        [Constraint(("depth", "ratio"), lambda depth, ratio: depth * ratio < 4, "too large")],
    )
    return Engine(space, [Expensive("loss"), Known("ms", lambda codes: 1.0 + codes[:, 0])])


def written(folder: Path, text: str) -> Path:
    path = folder / "results.csv"
    path.write_text(text)
    return path


def test_rows_become_tells(tmp_path: Path) -> None:
    text = (
        "run,layers,ratio,bias,loss,ms,fidelity,noise\nx,1,.5,False,0.5,3.5,100,0.1\ny,2,0.50,1,0.25,,,\nz,1,2,0,,,,\n"
    )
    made = engine()
    assert import_results(made, written(tmp_path, text), {"layers": "depth"}) == (2, 1)
    first, second = made.outcomes()
    assert first.values == {"loss": 0.5, "ms": 3.5}
    assert first.fidelity == 100.0
    assert second.architecture["bias"] is True
    assert second.values == {"loss": 0.25, "ms": 2.0}


def test_a_gene_without_a_choice_needs_no_column(tmp_path: Path) -> None:
    space = SearchSpace("generic", [Parameter("depth", (1, 2)), Parameter("head", ("mlm",))])
    made = Engine(space, [Expensive("loss")])
    assert import_results(made, written(tmp_path, "depth,loss\n2,0.5\n")) == (1, 0)
    assert made.outcomes()[0].architecture["head"] == "mlm"


def test_strangers_are_refused_or_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, "depth,ratio,bias,loss\n2,2.0,True,0.1\n1,2.0,True,0.2\n")
    with pytest.raises(InputError, match=r"line 2: .* no member of the space"):
        import_results(engine(), path)
    assert import_results(engine(), path, strict=False) == (1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth,bias,loss\n1,True,0.1\n", "no column ratio"),
        ("depth,ratio,bias\n1,0.5,True\n", "none of the objectives"),
        ("depth,ratio,bias,loss\n3,0.5,True,0.1\n", r"line 2: depth='3' is none of \[1, 2\]"),
        ("depth,ratio,bias,loss\n1,0.5,True,low\n", "line 2: loss must be a number; got 'low'"),
        ("depth,ratio,bias,loss\n\n1,0.5,True,0.1 s\n", "line 3: loss must be a number; got '0.1 s'"),
        ("depth;ratio;bias;loss\n1;0,5;True;0,1\n", "line 2 has 3 cells.*parted by semicolons: write it with commas"),
        ("depth\tratio\tbias\tloss\n1\t0.5\tTrue\t1\n", "parted by tabs.*or call the file .tsv"),
        ("depth|ratio|bias|loss\n1|0.5|True|1\n", "parted by bars"),
        ("depth,ratio,bias,loss\n1,0,5,True,0,1\n", "line 2 has 6 cells, the header 4.*decimals with a point"),
        ('depth,ratio,bias,loss,note\n1,0.5,True,1,"open\n', "cannot be read as CSV.*line 2"),
        ("depth,ratio,bias,loss,noise\n1,0.5,True,1,-1\n", "line 2: noise must not be negative"),
        ("depth,ratio,bias,loss,fidelity\n1,0.5,True,1,0\n", "line 2: .*fidelity positive"),
        ("depth,ratio,bias,depth,loss\n1,0.5,True,2,1\n", "more than one column depth"),
        ("depth,ratio,loss,bias\n1,0.5,1\n", "line 2: bias='' is none of"),
    ],
)
def test_damaged_files_are_explained(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        import_results(engine(), written(tmp_path, text))


def test_columns_that_are_ignored_may_share_a_name(tmp_path: Path) -> None:
    made = engine()
    assert import_results(made, written(tmp_path, "note,note,depth,ratio,bias,loss\n2,4,1,0.5,True,0.5\n")) == (1, 0)
    assert made.outcomes()[0].architecture["depth"] == 1


def test_a_file_that_is_no_text_is_explained(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"\x81\x00\xfe\xff")
    with pytest.raises(InputError, match="is binary"):
        import_results(engine(), tmp_path / "binary.csv")


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        import_results(engine(), tmp_path / "none.csv")


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfdepth,ratio,bias,loss\r\n1,0.5,True,0.5\r\n",
        b" depth , ratio ,\tbias, loss \n1 , 0.5, True, 0.5 \n\n , , ,\n",
        "depth,ratio,bias,loss\n1,0.5,True,0.5\n".encode("utf-16"),
        b"depth,ratio,bias,loss,,\n1,0.5,True,0.5,,\n",
        b'"depth","ratio","bias","loss"\n"1","0.5","True","0.5"\n',
    ],
)
def test_csv_is_read_as_people_have_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "results.csv").write_bytes(content)
    made = engine()
    assert import_results(made, tmp_path / "results.csv") == (1, 0)
    assert made.outcomes()[0].values["loss"] == 0.5


@pytest.mark.parametrize("word", ["nan", "NaN", "inf", "-inf"])
def test_a_loss_that_is_no_number_is_a_failed_trial(tmp_path: Path, word: str) -> None:
    made = engine()
    text = f"depth,ratio,bias,loss,ms\n1,0.5,True,{word},3\n2,0.5,True,0.5,nan\n1,0.5,False,NA,3\n1,2.0,True,,3\n"
    assert import_results(made, written(tmp_path, text)) == (2, 2)
    (outcome,) = made.outcomes()
    assert outcome.values == {"loss": 0.5, "ms": 2.0}
    (failed,) = made.state()["failed"]
    assert failed["reason"] == f"{tmp_path / 'results.csv'}, line 2: loss is {word}"


def test_what_failed_once_and_went_well_once_has_gone_well(tmp_path: Path) -> None:
    made = engine()
    text = "depth,ratio,bias,loss\n1,0.5,True,nan\n1,0.5,True,0.5\n"
    assert import_results(made, written(tmp_path, text)) == (1, 1)
    assert not made.state()["failed"]


RESULTS = "run,depth,ratio,bias,loss,ms,fidelity,noise\nx,1,.5,False,0.5,3.5,100,0.1\ny,2,0.50,1,nan,,,\n"


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, len(RESULTS) - 1), st.sampled_from('"0-.,;9e\n\tx\0'), st.booleans())
def test_a_changed_file_is_read_or_refused(tmp_path: Path, place: int, sign: str, strict: bool) -> None:
    path = written(tmp_path, RESULTS[:place] + sign + RESULTS[place + 1 :])
    try:
        told, left = import_results(engine(), path, strict=strict)
    except InputError as error:
        said = str(error)
    else:
        said = f"{path} {told + left}"
    assert str(path) in said
