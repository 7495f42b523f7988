"""A second process at work on one run: nothing is made twice, who is at work is said, and the driver has the last word.

What happens when either is killed is tried in `tests/faults`.
"""

import multiprocessing
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from distilsearch import cli
from distilsearch.engine.job.joining import inviting, join
from distilsearch.engine.job.joining.inviting import NOTE, Followed, Following, Invitation
from distilsearch.engine.job.joining.tables_left import left_tables
from distilsearch.engine.job.ledger import JOURNAL, Ledger, open_storage
from distilsearch.engine.job.ledger.journal import JournalFile, open_journal
from distilsearch.engine.job.machines.machines import Declared, declared_by
from distilsearch.engine.job.plans.budget import Plan, Speed
from distilsearch.engine.job.plans.phases import PLAN, SPENT
from distilsearch.engine.job.presence.holding import HANDS, Holder, Presence, driver_of, driving
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.work import tables
from distilsearch.errors import InputError, RunError
from distilsearch.home import home, identity
from distilsearch.profiling import LatencyTable, open_device
from distilsearch.profiling.runtimes import stack_of
from distilsearch.profiling.tables import rounds
from distilsearch.profiling.tables.store import folder_of

from ..ledger.test_databases import SPACE, STUDENTS, Source, check_study, drive
from ..work.test_tables import NORM, REGIME

FORKING = multiprocessing.get_context("fork")
DRIVER = Holder("elsewhere", 7, "then")
INVITATION = Invitation(
    driver=DRIVER, open=True, home="mine", flash_tokens=100, trials=5, until=None, spent=10.0, at=0.0,
    tables={"latency_ms": ("aaaaaaaaaaaa", "bbbbbbbbbbbb")}, machines={},
)  # fmt: skip


def ledger_in(folder: Path, presence: bool = False) -> Ledger:
    return Ledger(open_storage("", folder), "run", ["loss"], SPACE, presence=Presence(folder) if presence else None)


# Two at work on one journal


def _in_a_process(folder: Path, trials: int, ready: Any, out: Any) -> None:
    source = Source()
    out.put((drive("", folder, trials, source, ready), source.trained))


def test_two_processes_share_the_journal_of_a_folder(tmp_path: Path) -> None:
    out, ready, trials = FORKING.SimpleQueue(), FORKING.Barrier(2), 24
    ledger_in(tmp_path)
    processes = [FORKING.Process(target=_in_a_process, args=(tmp_path, trials, ready, out)) for _ in range(2)]
    for process in processes:
        process.start()
    outcomes = [out.get() for _ in processes]
    for process in processes:
        process.join()
    check_study("", tmp_path, trials)
    assert sum(len(trained) for _, trained in outcomes) == trials
    assert [sorted(told) for told, _ in outcomes] == [list(range(trials))] * 2


def test_of_two_who_want_the_same_student_one_begins_it(tmp_path: Path) -> None:
    first, second = ledger_in(tmp_path), ledger_in(tmp_path)

    def free(entries: Any) -> bool:
        return all(entry.architecture != STUDENTS[0] for entry in entries)

    assert first.open(STUDENTS[0], allowed=free) is not None
    assert second.open(STUDENTS[0], allowed=free) is None
    assert len(second.entries()) == 1


def test_what_is_decided_and_written_is_one_step_that_nobody_comes_between(tmp_path: Path) -> None:
    first, second = JournalFile(tmp_path / JOURNAL), JournalFile(tmp_path / JOURNAL)
    begun, done = threading.Event(), threading.Event()

    def append() -> None:
        begun.set()
        second.append_logs([{"op_code": 0, "worker_id": "second"}])
        done.set()

    thread = threading.Thread(target=append)
    with first.held():
        thread.start()
        assert begun.wait(600)
        first.append_logs([{"op_code": 0, "worker_id": "first"}])
        assert not done.is_set()
    thread.join(600)
    assert [log["worker_id"] for log in first.read_logs(0)] == ["first", "second"]


def test_the_trial_of_one_who_joined_and_was_killed_goes_on_at_once(tmp_path: Path) -> None:
    driver = ledger_in(tmp_path, presence=True)
    driver.open(STUDENTS[0])

    def work() -> None:
        ledger = ledger_in(tmp_path, presence=True)
        ledger.enter()
        ledger.open(STUDENTS[1])

    process = FORKING.Process(target=work)
    process.start()
    process.join()
    assert [entry.architecture for entry in driver.abandoned()] == [STUDENTS[1]]


# Damage


def test_a_damaged_line_is_not_set_aside_beneath_others(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path, presence=True)
    ledger.enter()
    (path,) = (tmp_path / HANDS).iterdir()
    assert path.name == ledger.holder
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole.replace(b"loss", b"lost"))
    with pytest.raises(RunError, match=r"is not set aside while process \d+ on .* is at work on the run"):
        open_journal(journal, others=Presence(tmp_path).living)
    assert not list(tmp_path.glob("*.damaged-*"))
    assert Presence(tmp_path).living()
    ledger._presence.leave()
    assert Presence(tmp_path).living() == ""
    open_journal(journal, others=Presence(tmp_path).living)
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1


def test_nobody_is_in_his_own_way(tmp_path: Path) -> None:
    presence = Presence(tmp_path)
    presence.enter("me")
    assert presence.living() == ""
    assert Presence(tmp_path).living() != ""


# Who drives


def test_who_drives_a_run_is_known_while_he_does(tmp_path: Path) -> None:
    assert driver_of(tmp_path) is None
    with driving(tmp_path):
        assert driver_of(tmp_path).host == socket.gethostname()
        assert driver_of(tmp_path) is not None  # looking changes nothing
    assert driver_of(tmp_path) is None


def test_a_run_that_nobody_drives_is_not_joined_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("# Written by distilsearch: what this run was asked, with all its defaults.\n")
    answer = CliRunner().invoke(cli.app, ["search", str(tmp_path), "--join"])
    assert isinstance(answer.exception, RunError)
    assert "nobody is at work on the run in" in str(answer.exception)
    assert "`distilsearch search` begins it, or goes on with it" in str(answer.exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "2"], "--workers and --device are of --join"),
        ([], "is a folder: a search takes its run file"),
        (["--join", "--folder", "other"], "--folder is for a run file"),
    ],
)
def test_options_of_joining_are_refused_elsewhere(words: list[str], said: str, tmp_path: Path) -> None:
    answer = CliRunner().invoke(cli.app, ["search", str(tmp_path), *words])
    assert isinstance(answer.exception, InputError)
    assert said in str(answer.exception)


def test_a_driver_who_goes_before_his_trials_begin_is_not_waited_for_any_longer(tmp_path: Path) -> None:
    said, held = list[str](), driving(tmp_path)
    held.__enter__()
    with pytest.raises(RunError, match="has gone before its trials began"):
        join._invited(None, tmp_path, lambda what, *_: said.append(what), lambda _: held.__exit__(None, None, None))
    assert "is ready for trials" in said[0]


# What a driver lets know


def test_an_invitation_is_what_was_noted_and_a_damaged_one_is_refused() -> None:
    noted = INVITATION.to_json()
    assert Invitation.from_json(noted) == INVITATION
    for name, value in [("driver", 3), ("tables", {"latency_ms": ["../x", "y"]}), ("trials", -1), ("at", "now")]:
        with pytest.raises(RunError, match="is damaged"):
            Invitation.from_json(noted | {name: value})
    with pytest.raises(RunError, match="is damaged"):
        Invitation.from_json({})


def test_whoever_joins_makes_as_many_trials_as_the_driver_allows_at_that_moment(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    ledger.note(NOTE, INVITATION.to_json())
    following = Following(ledger_in(tmp_path))
    assert following.total(3, 1) == 5
    ledger.note(NOTE, INVITATION.to_json() | {"trials": 9})
    assert following.total(3, 1) == 9
    inviting.disinvite(ledger, INVITATION)
    assert following.total(3, 1) == 0


def test_where_time_is_what_is_left_the_clock_of_the_driver_counts(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    speed = Speed(start=1.0, step=0.0, per_flop=0.0, targets=0.0, step_tokens=100, workers=1)
    ledger.note(PLAN, Plan(100, 3, 0.0, 1.0, speed).to_json())
    ledger.note(NOTE, INVITATION.to_json() | {"until": 1e6})
    following = Following(ledger)
    assert following.total(3, 1) > 4
    following.landed(1.0, 1.0)
    ledger.note(SPENT, 999_999.9)
    assert following.total(3, 1) == 4
    assert Followed(ledger).seconds >= 999_999.9


def test_the_clock_of_another_host_is_not_looked_at_and_that_of_this_one_is(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    ledger.note(NOTE, INVITATION.to_json() | {"at": time.time() - 1e6})
    assert Followed(ledger).seconds < 1e5
    here = Holder(socket.gethostname(), 7, "then").to_json()
    ledger.note(NOTE, INVITATION.to_json() | {"at": time.time() - 1e6, "driver": here})
    assert Followed(ledger).seconds >= 1e6


# Homes and machines


def test_every_home_has_an_identity_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for name in ("one", "other"):
        monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / name))
        seen.append(identity())
        assert identity() == seen[-1] != ""
    assert seen[0] != seen[1]
    (home() / ".identity").unlink()
    (home() / ".identity").mkdir()
    assert identity() == ""


def test_a_home_in_which_the_driver_would_not_find_the_students_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    run = Run.parse({"teacher": "quickstart", "text": ["python-docs"]})
    with pytest.raises(RunError, match="another DISTILSEARCH_HOME"):
        join._check_home(run, INVITATION)
    join._check_home(
        run.model_copy(update={"executor": run.executor.model_copy(update={"depot": "file:///x"})}), INVITATION
    )


def test_another_machine_than_the_one_that_serves_goes_by_its_table_and_measures_nothing(monkeypatch) -> None:
    run = Run.parse({"teacher": "quickstart", "text": ["python-docs"], "target": [{"device": "cpu"}]})
    monkeypatch.setattr(join, "fingerprints", lambda machine: ("cccccccccccc", "dddddddddddd"))
    same = {"machines": {"latency_ms": ("cccccccccccc", "dddddddddddd")}}
    ours = Invitation.from_json(INVITATION.to_json() | same)
    assert join._own(run, ours, join.Hands(3, "cuda:1")).target[0].device == "cpu"
    theirs = join._own(run, INVITATION, join.Hands(3, "cuda:1"))
    assert theirs.target[0].device == "aaaaaaaaaaaa/bbbbbbbbbbbb"
    assert (theirs.train.workers, theirs.train.device, theirs.train.flash_tokens) == (3, "cuda:1", 100)


def table_in(store: Path, runtime: str = "torch", stack: dict[str, str] | None = None) -> Path:
    """The folder of a table of this machine with one row in it, as a runtime ran it."""
    cpu = open_device("cpu")
    versions = dict(stack_of(cpu, runtime)) | (stack or {})
    folder = folder_of(cpu.facts(), versions, store)
    row = rounds.Row("operator", NORM, replace(REGIME, runtime=runtime), "s", 0, 1e-3, 1e-3, None, None, None, 0.0)
    rounds.append(folder, [row], cpu.facts(), versions)
    return folder


def invited(**folders: Path) -> Invitation:
    """What a driver notes who predicts each runtime by a table."""
    places = {runtime: (folder.parent.name, folder.name) for runtime, folder in folders.items()}
    noted = {"tables": {"latency_ms": next(iter(places.values()))}, "runtimes": {"latency_ms": places}}
    return Invitation.from_json(INVITATION.to_json() | noted)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Declared:
    """This machine, served by torch, in a home of its own."""
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    run = Run.parse({"teacher": "quickstart", "text": ["python-docs"], "target": [{"device": "cpu"}]})
    return declared_by(run)[0]


def by_two_runtimes(machine: Declared) -> Declared:
    section = machine.section.model_copy(update={"serving": {"runtime": ["torch", "onnxruntime"]}})
    return replace(machine, section=section)


def test_whoever_joins_goes_by_the_tables_that_the_driver_has_left_and_times_nothing(machine, tmp_path) -> None:
    store = tmp_path / "home" / "tables"
    torch = table_in(store)
    assert [table.folder for table in left_tables(machine, invited(torch=torch)).values()] == [torch]
    two = by_two_runtimes(machine)
    cpu = open_device("cpu")
    noted = invited(torch=torch, onnxruntime=(onnx := folder_of(cpu.facts(), stack_of(cpu, "onnxruntime"), store)))
    for invitation in (noted, replace(noted, runtimes={})):  # and as earlier drivers noted it
        assert list(left_tables(two, invitation)) == ["torch"]  # the other is of this machine: the joiner's to time
    table_in(store, "onnxruntime")
    for invitation in (noted, replace(noted, runtimes={})):
        left = left_tables(two, invitation)
        assert {runtime: table.folder for runtime, table in left.items()} == {"torch": torch, "onnxruntime": onnx}


def test_what_is_timed_here_stands_beside_what_the_driver_has_left_and_never_instead(machine, tmp_path, monkeypatch):
    store, cpu = tmp_path / "home" / "tables", open_device("cpu")
    theirs = table_in(store, stack={"torch": "0.0"})  # in other versions than ours
    onnx = folder_of(cpu.facts(), stack_of(cpu, "onnxruntime"), store)
    timed = {"torch": table_in(store), "onnxruntime": table_in(tmp_path / "timed", "onnxruntime")}
    own = SimpleNamespace(tables={runtime: LatencyTable.read(folder) for runtime, folder in timed.items()})
    monkeypatch.setattr(join, "profiled", lambda *_: own)
    monkeypatch.setattr(join, "Profiled", lambda declared, tables, served: tables)
    helper = SimpleNamespace(
        invitation=invited(torch=theirs, onnxruntime=onnx), prepared=SimpleNamespace(served=None), executor=None,
        progress=None,
    )  # fmt: skip
    tables = join.Helper._tabled(helper, by_two_runtimes(machine))
    assert {name: table.folder for name, table in tables.items()} == timed | {"torch": theirs}


def test_the_table_of_every_runtime_comes_through_the_depot(machine, tmp_path) -> None:
    depot, driver = f"file://{tmp_path / 'depot'}", tmp_path / "driver"
    folders = {runtime: table_in(driver, runtime) for runtime in ("torch", "onnxruntime")}
    for folder in folders.values():
        tables.send(depot, folder)
    machine = replace(by_two_runtimes(machine), depot=depot)
    left = left_tables(machine, invited(**folders))
    assert {runtime: table.runtime for runtime, table in left.items()} == {name: name for name in folders}
    assert {table.folder.parents[1] for table in left.values() if table.folder} == {tmp_path / "home" / "tables"}


def test_a_machine_that_serves_elsewhere_is_found_by_the_tables_in_the_depot(machine, tmp_path, monkeypatch) -> None:
    depot, folder = f"file://{tmp_path / 'depot'}", table_in(tmp_path / "driver")
    tables.send(depot, folder)
    run = Run.parse(
        {"teacher": "quickstart", "text": ["python-docs"], "target": [{"device": "cpu"}], "executor": {"depot": depot}}
    )
    monkeypatch.setattr(join, "fingerprints", lambda machine: ("cccccccccccc", "dddddddddddd"))
    ours = join._own(run, invited(torch=folder), join.Hands())
    (there,) = declared_by(ours)
    assert not there.local
    there.check()
    assert list(left_tables(there, invited(torch=folder))) == ["torch"]


def test_tables_that_are_not_those_of_the_driver_are_refused(machine, tmp_path) -> None:
    store = tmp_path / "home" / "tables"
    own, other = table_in(store), table_in(tmp_path / "driver", stack={"torch": "0.0"})
    with pytest.raises(RunError, match=rf"{other.name}, which is not among the tables here .*{own.name}"):
        left_tables(machine, invited(torch=other))
    two, onnx = by_two_runtimes(machine), table_in(tmp_path / "driver", "onnxruntime", stack={"torch": "0.0"})
    absent = folder_of(open_device("cpu").facts(), stack_of(open_device("cpu"), "torch"), tmp_path / "driver")
    own.rename(tmp_path / "away")
    with pytest.raises(RunError, match=rf"under onnxruntime by the table .*{onnx.name}, which is not among"):
        left_tables(two, invited(torch=absent, onnxruntime=onnx))  # though what is lacking of torch can be timed here
    (tmp_path / "away").rename(own)
    renamed = store / other.parent.name / other.name
    own.rename(renamed)
    with pytest.raises(RunError, match=f"in that folder of the tables here lies .*{own.name}"):
        left_tables(machine, invited(torch=other))
    elsewhere = replace(machine, section=machine.section.model_copy(update={"device": "aaaaaaaaaaaa"}))
    with pytest.raises(RunError, match=r"it is of another machine.*copy its folder"):
        left_tables(elsewhere, INVITATION)


def test_a_driver_notes_the_table_of_every_runtime(machine, tmp_path) -> None:
    folders = {runtime: table_in(tmp_path, runtime) for runtime in ("torch", "onnxruntime")}
    noted = invited(**folders)
    assert Invitation.from_json(noted.to_json()) == noted
    assert noted.table_of(machine, "onnxruntime") == (folders["onnxruntime"].parent.name, folders["onnxruntime"].name)
    assert noted.table_of(machine, "openvino") is None
    assert INVITATION.table_of(machine, "torch") == ("aaaaaaaaaaaa", "bbbbbbbbbbbb")


def test_what_came_of_joining_says_what_to_do_next() -> None:
    assert "trials made here: 2; the run in x has ended: distilsearch report x" in join.Joined(Path("x"), 2, True).words
    assert "and has no result yet: `distilsearch search`, called again" in join.Joined(Path("x"), 0, False).words
