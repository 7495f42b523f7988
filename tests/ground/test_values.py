import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch import Architecture, Operator, Serving
from distilsearch.errors import InputError, RunError, unknown
from distilsearch.home import file_lock, home, write_atomically

values = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.one_of(st.integers(), st.booleans(), st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False)),
    min_size=1,
    max_size=5,
)


@given(values)
def test_an_architecture_is_its_content(genes) -> None:
    architecture = Architecture("generic", genes)
    shuffled = Architecture("generic", dict(reversed(list(genes.items()))))
    assert architecture == shuffled
    assert hash(architecture) == hash(shuffled)
    assert architecture.key == shuffled.key
    assert Architecture.from_json(json.loads(json.dumps(architecture.to_json()))) == architecture


def test_keys_are_the_same_in_every_process() -> None:
    code = "from distilsearch import Architecture; print(Architecture('bert', {'layers': 2, 'width': 384}).key)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == Architecture("bert", {"width": np.int16(384), "layers": 2}).key


def test_an_architecture_cannot_be_changed() -> None:
    architecture = Architecture("bert", {"layers": 2})
    with pytest.raises(TypeError):
        architecture.values["layers"] = 3  # type: ignore[index]
    with pytest.raises(InputError, match="no gene 'depth'; it has layers"):
        architecture["depth"]


def test_operators_are_parsed_from_their_signature() -> None:
    sizes = {"batch": 2, "sequence": 16, "inputs": 8, "outputs": 4, "bias": 1, "activation": "gelu"}
    operator = Operator("linear", sizes)
    assert Operator.parse(operator.signature) == operator
    assert operator.flops == 2 * 2 * 16 * 8 * 4
    assert operator.parameters == 8 * 4 + 4
    assert operator.bytes("float32") == 2 * operator.bytes("bfloat16") == 4 * (2 * 16 * (8 + 4) + 36)


def test_unknown_names_are_met_with_the_nearest_known() -> None:
    assert str(unknown("key", "latensy", ["latency", "loss"])) == (
        "unknown key 'latensy': did you mean 'latency'? known: latency, loss"
    )
    with pytest.raises(InputError, match="did you mean 'linear'"):
        Operator("linaer", {})
    with pytest.raises(InputError, match="embedding needs the sizes"):
        Operator("embedding", {})


@pytest.mark.parametrize(
    "wrong",
    [{"batch": 0}, {"sequence": 1.5}, {"dtype": "float31"}, {"phase": "encoding"}, {"threads": -1}, {"mode": "x"}],
)
def test_senseless_serving_is_refused(wrong) -> None:
    with pytest.raises(InputError):
        Serving(**wrong)


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    path = tmp_path / "folder" / "file"
    write_atomically(path, "first")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match=r"No space left.*free space"):
        write_atomically(path, "second")
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_the_home_is_where_the_environment_says(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "here"))
    assert home() == tmp_path / "here"
    (tmp_path / "file").touch()
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "file" / "under"))
    with pytest.raises(RunError, match="which is a file; name a folder"):
        home()


def test_a_lock_is_freed(tmp_path) -> None:
    for _ in range(2):
        with file_lock(tmp_path / "lock"):
            pass
