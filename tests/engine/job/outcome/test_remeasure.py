"""A measured rank fidelity finds its way into the result of a finished run, and into that of one that will finish."""

import json
import shutil
from pathlib import Path

import pytest

from distilsearch.engine.job.outcome.remeasure import measured_fidelity, note_fidelity, remeasure
from distilsearch.engine.report.files import read_result, write_result
from distilsearch.errors import DeviceError, RunError
from distilsearch.profiling.foreign import import_tables

OLD = Path(__file__).parents[3] / "old" / "0.1.0" / "run"
RANKS = {"spearman": 0.5, "kendall": None, "pairs": 7, "note": "measured: 5 against 9 tokens", "rows": [{"tokens": 5}]}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    shutil.copy(OLD / "result.json", tmp_path / "result.json")
    return tmp_path


def test_a_finished_run_carries_it_in_result_and_report(run: Path) -> None:
    before = read_result(run)
    note_fidelity(run, RANKS)
    after = read_result(run)
    assert after.rank_fidelity.model_dump() == RANKS
    assert after.model_copy(update={"rank_fidelity": before.rank_fidelity}) == before
    assert "5 against 9 tokens" in (run / "report.html").read_text()
    with pytest.raises(RunError, match=r"rank fidelity is damaged \(pairs: .*measure it again"):
        note_fidelity(run, RANKS | {"pairs": "seven"})


def test_an_unfinished_run_finds_it(tmp_path: Path) -> None:
    assert measured_fidelity(tmp_path) is None
    note_fidelity(tmp_path, RANKS)
    assert not (tmp_path / "result.json").exists()
    (tmp_path / "fidelity").mkdir()
    path = tmp_path / "fidelity" / "fidelity.json"
    path.write_text(json.dumps(RANKS))
    ranks = measured_fidelity(tmp_path)
    assert ranks is not None
    assert (ranks.spearman, ranks.pairs) == (0.5, 7)
    for damaged in ("[]", "{", '{"pairs": 1.5}'):
        path.write_text(damaged)
        with pytest.raises(RunError, match=r"fidelity\.json.*or remove the file"):
            measured_fidelity(tmp_path)


def test_a_machine_that_is_not_here_is_not_measured(run: Path) -> None:
    text = (run / "result.json").read_text()
    (run / "result.json").write_text(text.replace('"device": "cpu"', '"device": "0123456789ab"'))
    with pytest.raises(DeviceError, match="0123456789ab"):
        remeasure(run)
    with pytest.raises(RunError, match="no run folder"):
        remeasure(run / "nowhere")


def test_what_an_imported_table_holds_of_the_front_is_taken_over(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A phone cannot run this tool: its owner times the front there, and imports the rows."""
    monkeypatch.setenv("DISTILSEARCH_HOME", str(run / "home"))
    result = read_result(run)
    (target,), member = result.targets, result.front[0]
    genes = {name: value for name, value in member.architecture.values.items() if name != "inherit"}
    serving = {name: target.serving[name] for name in ("batch", "sequence")}

    def imported(*rows: tuple[int, float]) -> str:
        header = ",".join([*genes, *serving, "latency_ms"])
        lines = [",".join(map(str, [*(genes | {"layers": n}).values(), *serving.values(), ms])) for n, ms in rows]
        (run / "phone.csv").write_text("\n".join([header, *lines]))
        table = import_tables(run / "phone.csv", "models", "phone").table
        assert table.folder is not None
        return table.folder.parent.name

    own = int(member.architecture["layers"])
    device = imported((own + 1, 5.0), (own + 2, 6.0), (own + 3, 7.0))
    elsewhere = result.model_copy(update={"targets": (target.model_copy(update={"device": device}),)})
    write_result(elsewhere, run)
    with pytest.raises(DeviceError, match="nor imported tables that hold the latency of one of its students"):
        remeasure(run)
    assert imported((own, 4.25)) == device
    after = remeasure(run)
    assert after.front[0].latencies[target.objective].measured == pytest.approx(4.25)
    assert [m.latencies for m in after.front[1:]] == [m.latencies for m in result.front[1:]]
    assert read_result(run) == after
