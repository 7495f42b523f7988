"""Every reader of files that anybody may have written, with a good file of each to be mutated.

Each reads as its command does, and as far as what is read would be used: whatever it raises that is no
`DistilSearchError` is a finding. Samples are the kept files of version 0.1.0, which lie in the tests.
"""

import ctypes
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DistilSearchError
from . import learnt
from .mutations import mutated

INSIDE, HOME = "named", "home"  # folders of a trial of a reader; whatever lies beside them is none of its business
OPENED, CREATED = 0x20, 0x100  # of inotify


@dataclass(frozen=True)
class Reader:
    """One reader.

    Args:
        files: what is mutated, by its path in the folder (a pattern), and its form, of `mutations.FORMS`.
        make: from the samples to a folder of good files.
        read: reads the folder.
        seal: hashes anew what is sealed by a hash, so that a change is not refused at the door.
    """

    name: str
    files: Mapping[str, str]
    make: Callable[[Path, Path], object]
    read: Callable[[Path], object]
    seal: Callable[[Path], object] = lambda folder: None


@dataclass(frozen=True)
class Finding:
    """A crash, or a file that was touched outside of the named folder."""

    reader: str
    what: str
    error: BaseException | None = None


def tried(reader: Reader, samples: Path, place: Path, draw: random.Random) -> Finding | None:
    """Mutate a file of a reader in a fresh folder of `place`, read it, and say what went wrong; the folder is removed.

    `DISTILSEARCH_HOME` must be `place / HOME`. Beside the named folder lie files that mutations name.
    """
    folder = place / INSIDE
    shutil.rmtree(folder, ignore_errors=True)
    reader.make(samples, folder)
    pattern = draw.choice(sorted(reader.files))
    file = draw.choice(sorted(folder.glob(pattern)))
    file.write_bytes(mutated(file.read_bytes(), reader.files[pattern], draw))
    reader.seal(folder)
    with watched(place) as touched:
        try:
            reader.read(folder)
        except DistilSearchError:
            pass
        except Exception as error:  # that is what is looked for
            return Finding(reader.name, f"{file.name}: {type(error).__name__}: {error}"[:300], error)
    return Finding(reader.name, f"{file.name}: touched {', '.join(touched)}") if touched else None


@contextmanager
def watched(place: Path) -> Iterator[list[str]]:
    """The names in a folder that were opened or made meanwhile, by native code too (inotify of Linux); not our own."""
    names: list[str] = []
    library = ctypes.CDLL(None, use_errno=True)
    handle = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        library.inotify_add_watch(handle, os.fsencode(place), OPENED | CREATED)
        yield names
        try:
            events = os.read(handle, 1 << 16)
        except BlockingIOError:
            return
        while events:  # (watch, mask, cookie, length) of four bytes each, and the name
            length = int.from_bytes(events[12:16], "little")
            name = events[16 : 16 + length].rstrip(b"\0").decode()
            names += [name] if name and name not in (INSIDE, HOME, *names) else []
            events = events[16 + length :]
    finally:
        os.close(handle)


def world(place: Path) -> Path:
    """A place to try readers in: beside the named folder lie files that must not be touched."""
    (place / HOME).mkdir(parents=True, exist_ok=True)
    for name in ("outside.txt", "outside.safetensors"):
        (place / name).write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return place


# Making


def _copied(*parts: str) -> Callable[[Path, Path], object]:
    """A folder of the samples."""
    return lambda samples, folder: shutil.copytree(samples.joinpath(*parts), folder)


def _made_trial(samples: Path, folder: Path, hashed: bool) -> None:
    """A trial by its key; `hashed`: with the hashes of its files, as trials have them today."""
    source = sorted((samples / "trials").iterdir())[0]
    shutil.copytree(source, folder / source.name)
    if hashed:
        from distilsearch.distill.store.trial import hashes

        files = hashes(folder / source.name / "student", folder / source.name / "none")
        content = json.loads((source / "trial.json").read_bytes())
        content |= {"schema": 2, "training": content.pop("context"), "files": files, "scores": []}
        (folder / source.name / "trial.json").write_text(json.dumps(content, indent=1))


def _made_table(samples: Path, folder: Path) -> None:
    """A store with one table of the kept rounds of fewest rows."""
    (source,) = (samples / "tables").glob("*/*")
    place = folder / source.parent.name / source.name / "rounds"
    place.mkdir(parents=True)
    for path in sorted((source / "rounds").iterdir(), key=lambda path: path.stat().st_size)[:2]:
        shutil.copy(path, place)


def _made_csv(text: str) -> Callable[[Path, Path], object]:
    def make(samples: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "file.csv").write_text(text)

    return make


def _made_json(*parts: str) -> Callable[[Path, Path], object]:
    def make(samples: Path, folder: Path) -> None:
        folder.mkdir()
        shutil.copy(samples.joinpath(*parts), folder / "file.json")

    return make


def _made_export(samples: Path, folder: Path) -> None:
    """A list of two graphs, which are no graphs: whoever reads the list does not open them."""
    from distilsearch.distill.served.artefact import FILES, INPUTS, Artefact, sha256_of, write_artefacts

    checks: list[dict[str, Any]] = [
        {"differences": {"sentence_embedding": 1e-6}},
        {"lost": 0.01, "tried": {"dynamic": {"lost": 0.01, "seconds": 0.1}}},
    ]
    listed = []
    for (runtime, dtype), check in zip([("onnxruntime", "float32"), ("onnxruntime", "int8")], checks, strict=True):
        file = folder / FILES[runtime, dtype]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"a graph")
        files, how = {FILES[runtime, dtype]: sha256_of(file)}, "dynamic" if dtype == "int8" else ""
        own = (files, "0" * 64, "embedding", INPUTS, ("last_hidden_state", "sentence_embedding"), 64, "query: ", how)
        listed.append(Artefact(folder, runtime, dtype, *own, check, {"torch": "2.13.0"}))
    write_artefacts(folder, listed)


# Sealing


def _named_rounds(folder: Path) -> None:
    for path in folder.glob("*/*/rounds/*"):
        path.rename(path.with_name(hashlib.sha256(path.read_bytes()).hexdigest() + ".parquet"))


def _hashed_trees(folder: Path) -> None:
    path = folder / "predictor.json"
    try:
        content = json.loads(path.read_bytes())
        content["trees_sha256"] = hashlib.sha256((folder / "operators.ubj").read_bytes()).hexdigest()
        path.write_text(json.dumps(content))
    except (ValueError, TypeError, RecursionError):
        return


def _hashed_student(folder: Path) -> None:
    """The trial's hashes are those of the files as they are now: whoever made it, made it so."""
    from distilsearch.distill.store.trial import hashes

    (place,) = folder.iterdir()
    content = json.loads((place / "trial.json").read_bytes())
    content["files"] = hashes(place / "student", place / "none")
    (place / "trial.json").write_text(json.dumps(content))


# Reading


def _read_run_file(folder: Path) -> None:
    from ..engine.job.runfile.config import Run
    from ..engine.job.runfile.continuing import kept_run

    try:
        Run.read(folder / "run.toml")
    finally:
        kept_run(folder)


def _read_export(folder: Path) -> None:
    from distilsearch.distill.served.artefact import read_artefacts
    from distilsearch.distill.served.beside import section

    for artefact in read_artefacts(folder).values():
        artefact.check()
        section(artefact)


def _read_journal(folder: Path) -> None:
    from datetime import datetime

    from ..engine.job.status import status

    stand = status(folder)
    stand.lines(datetime.now())
    json.dumps(stand.to_json())


def _read_trial(folder: Path) -> None:
    from distilsearch.distill.store.archive import Archive

    archive = Archive(folder)
    archive.name_problems(lambda what, done, total: print(what, file=_Nowhere()))
    for trial in archive.trials():
        archive.intact(trial)
        json.dumps(trial.to_json(), allow_nan=False)


def _read_student(folder: Path) -> None:
    from distilsearch.distill.store.handing import copy_student
    from distilsearch.distill.store.trial import read_trial
    from distilsearch.distill.teachers.teacher import load_teacher

    (place,) = folder.iterdir()
    trial = read_trial(place)
    copy_student(trial, folder / "copy")
    load_teacher(str(folder / "copy")).model()


def _read_teacher(folder: Path) -> None:
    from distilsearch.distill.teachers.teacher import load_teacher

    load_teacher(str(folder)).model()


def _read_table(folder: Path) -> None:
    """Pull it, and do with it what the commands do."""
    from ..home import home
    from ..profiling.remarks import remarks
    from ..profiling.sessions import sessions
    from ..profiling.store import all_tables
    from ..profiling.table import LatencyTable
    from ..profiling.told import table_facts
    from ..profiling.transfer import pull

    store = home() / "pulled"
    shutil.rmtree(store, ignore_errors=True)
    try:
        pull(str(folder), store)
    finally:  # whatever was stored is fit to be used
        for place in all_tables(store):
            table = LatencyTable.read(place)
            json.dumps([table_facts(table), remarks(table)])
            for session in sessions(place):
                assert 0 <= session.began_unix < 1e11


def _read_predictor(folder: Path) -> None:
    from ..operators import Serving
    from ..predictors.latency import LatencyPredictor

    predictor = LatencyPredictor.load(folder)
    said = json.loads((folder.parent / HOME / "expected.json").read_text())
    prediction = predictor.predict(
        [_architecture(a) for a in said["architectures"]], Serving.from_json(said["serving"])
    )
    assert all(0 < ms < float("inf") for ms in prediction.mean_ms)


def _read_pairs(folder: Path) -> None:
    from ..lowering import operators
    from ..operators import Serving
    from ..predictors.pairs import PairPredictor

    predictor = PairPredictor.load(folder)
    said = json.loads((folder.parent / HOME / "expected.json").read_text())
    serving = Serving.from_json(said["serving"])
    predictor.predict_operators([operators(_architecture(a), serving) for a in said["architectures"]])


def _architecture(data: Any) -> Any:
    from ..architecture import Architecture

    return Architecture.from_json(data)


def _with_expected(make: Callable[[Path, Path], object]) -> Callable[[Path, Path], object]:
    """With a predictor, what to ask of it."""

    def made(samples: Path, folder: Path) -> None:
        make(samples, folder)
        shutil.copy(samples / "expected.json", folder.parent / HOME)

    return made


def _read_state(folder: Path) -> None:
    from ..engine.engine import Engine
    from ..engine.objectives import Expensive, Known
    from ..space import Parameter, SearchSpace

    try:
        state = json.loads((folder / "file.json").read_bytes())
    except (ValueError, RecursionError):
        return  # whoever embeds the engine reads the JSON
    genes = [Parameter("depth", (1, 2, 3, 4)), Parameter("kind", ("a", "b", "c"), ordered=False)]
    latency = Known("latency_ms", lambda codes: 1.0 + codes[:, 0] + 0.1 * codes[:, 1], at_most=6.0)
    engine = Engine.restore(SearchSpace("generic", genes), [Expensive("loss"), latency], state)
    json.dumps(engine.state(), allow_nan=False)
    engine.front()


def _read_result(folder: Path) -> None:
    """As `report`, `measure` and `distill` read it."""
    from ..engine.report.files import read_result
    from ..engine.report.readings import Reading
    from ..engine.report.sections import SECTIONS
    from ..engine.report.students import remarks
    from ..engine.report.terminal import final_table

    result = read_result(folder)
    for section in SECTIONS:
        section(Reading(result))
    final_table(result)
    list(remarks(folder, result))
    json.dumps(result.to_json(), allow_nan=False)


def _read_results_csv(folder: Path) -> None:
    from ..engine.adapters.results_csv import read_results
    from ..space import Parameter, SearchSpace

    genes = [Parameter("layers", (1, 2, 3)), Parameter("inherit", ("even", "none"), ordered=False)]
    read_results(folder / "file.csv", SearchSpace("generic", genes), ["loss", "latency_ms"], strict=False)


def _read_pairs_csv(folder: Path) -> None:
    from ..distill.evaluate.embedding import read_pairs

    read_pairs(folder / "file.csv")


def _read_architectures(folder: Path) -> None:
    from ..architectures import read_architectures
    from ..families import family

    read_architectures(next(folder.iterdir()), family("bert"))


def _read_home_note(folder: Path) -> None:
    from ..home import home, known_runs

    target = home() / "runs" / f"{'0' * 32}.json"
    target.parent.mkdir(exist_ok=True)
    shutil.copy(folder / "file.json", target)
    try:
        known_runs()
    finally:
        target.unlink(missing_ok=True)


def _read_recipe(folder: Path) -> None:
    from ..distill.recipes import read_recipe

    for path in sorted(folder.iterdir()):
        read_recipe(path)


def _made_recipe(samples: Path, folder: Path) -> None:
    from ..distill.recipes import recipe

    folder.mkdir()
    plain = recipe("embedding").to_json()
    (folder / "file.json").write_text(json.dumps({"base": "embedding"} | plain))
    (folder / "file.toml").write_text('base = "embedding"\nbatch_tokens = 1024\nlearning_rate = 1e-3\n')


def _made_students(samples: Path, folder: Path) -> None:
    folder.mkdir()
    students = json.loads((samples / "expected.json").read_bytes())["architectures"]
    (folder / "file.json").write_text(json.dumps(students))


def _read_imports(folder: Path) -> None:
    from ..engine.job.recall import imported, imported_failures

    for tell in imported(folder):
        json.dumps(tell.to_json(), allow_nan=False)
    imported_failures(folder)


def _made_imports(samples: Path, folder: Path) -> None:
    folder.mkdir()
    student = json.loads((samples / "expected.json").read_bytes())["architectures"][0]
    told = {"architecture": student, "values": {"loss": 0.5}, "noise": None, "fidelity": 2048.0, "area": None}
    failed = {"architecture": student, "cause": "it diverged"}
    (folder / "imported.json").write_text(json.dumps([told, failed]))


def _made_note(samples: Path, folder: Path) -> None:
    folder.mkdir()
    note = {"schema": 1, "folder": str(folder), "trainings": [{"teacher": "t", "tokens": 3, "precision": "bf16"}]}
    (folder / "file.json").write_text(json.dumps(note))


class _Nowhere:
    """A terminal of UTF-8 that shows nothing."""

    def write(self, text: str) -> int:
        return len(text.encode())


RESULTS = "layers,inherit,loss,latency_ms,noise\n1,even,0.5,1.5,\n2,none,0.25,2.5,0.1\n3,even,nan,,\n"
PAIRS = "sentence1,sentence2,score\nabc abd,abe,0.5\nacc,acd ace,0.25\nadd,ade,0\n"
STUDENTS = "layers,width,heads,ffn\n2,64,2,128\n1,32,1,64\n"
STUDENT_FILES = {"*/student/model.safetensors": "safetensors", "*/student/config.json": "json"}
TEACHER_FILES = {
    "model.safetensors": "safetensors", "config.json": "json", "modules.json": "json", "tokenizer.json": "json",
    "tokenizer_config.json": "json", "1_Pooling/config.json": "json",
}  # fmt: skip

READERS: tuple[Reader, ...] = (
    Reader("run file", {"run.toml": "toml"}, _copied("run"), _read_run_file),
    Reader("journal", {"journal.log": "lines"}, _copied("run"), _read_journal),
    Reader("trial", {"*/trial.json": "json"}, lambda s, f: _made_trial(s, f, True), _read_trial),
    Reader("trial of 0.1.0", {"*/trial.json": "json"}, lambda s, f: _made_trial(s, f, False), _read_trial),
    Reader("student", STUDENT_FILES, lambda s, f: _made_trial(s, f, True), _read_student, _hashed_student),
    Reader("student of 0.1.0", STUDENT_FILES, lambda s, f: _made_trial(s, f, False), _read_student),
    Reader("teacher folder", TEACHER_FILES, _copied("teacher"), _read_teacher),
    Reader("export", {"served.json": "json"}, _made_export, _read_export),
    Reader("table", {"*/*/rounds/*": "parquet"}, _made_table, _read_table, _named_rounds),
    Reader("rounds", {"*/*/rounds/*": "bytes"}, _made_table, _read_table, _named_rounds),
    Reader("predictor", {"predictor.json": "json"}, _with_expected(_copied("predictor")), _read_predictor),
    Reader("trees", {"operators.ubj": "ubj"}, _with_expected(_copied("predictor")), _read_predictor, _hashed_trees),
    Reader("pair predictor", {"pairs.json": "json"}, _with_expected(_copied("pairs")), _read_pairs),
    Reader("state", {"file.json": "json"}, _made_json("engine", "state.json"), _read_state),
    Reader("result", {"result.json": "json"}, _copied("run"), _read_result),
    Reader("results CSV", {"file.csv": "csv"}, _made_csv(RESULTS), _read_results_csv),
    Reader("pairs CSV", {"file.csv": "csv"}, _made_csv(PAIRS), _read_pairs_csv),
    Reader("architectures CSV", {"file.csv": "csv"}, _made_csv(STUDENTS), _read_architectures),
    Reader("recipe", {"file.json": "json", "file.toml": "toml"}, _made_recipe, _read_recipe),
    Reader("architectures JSON", {"file.json": "json"}, _made_students, _read_architectures),
    Reader("imported results", {"imported.json": "json"}, _made_imports, _read_imports),
    Reader("note of a run", {"file.json": "json"}, _made_note, _read_home_note),
    Reader("super-network", {"superlm.safetensors": "safetensors"}, learnt.made_super, learnt.read_super),
    Reader("score", {"file.json": "json"}, learnt.written(learnt.SCORE, "file.json"), learnt.read_score),
    Reader("rewards", {"rewards.json": "json"}, learnt.made_rewards, learnt.read_rewards, learnt.sealed_rewards),
    Reader(
        "net of rewards",
        {"rewards.safetensors": "safetensors"},
        learnt.made_rewards,
        learnt.read_rewards,
        learnt.sealed_rewards,
    ),
    Reader("plan", {"file.json": "json"}, learnt.written(learnt.PLAN, "file.json"), learnt.read_plan),
    Reader(
        "rank fidelity",
        {"fidelity/fidelity.json": "json"},
        learnt.written(learnt.FIDELITY, "fidelity", "fidelity.json"),
        learnt.read_fidelity,
    ),
    Reader("mark of a driver", {"file.json": "json"}, learnt.written(learnt.HOLDER, "file.json"), learnt.read_mark),
    Reader("invitation", {"file.json": "json"}, learnt.written(learnt.INVITATION, "file.json"), learnt.read_invitation),
    Reader("mark of a home", {"home.json": "json"}, learnt.written(learnt.MARK, "home.json"), learnt.read_home),
    Reader("packed text", {"blocks.safetensors": "safetensors"}, learnt.made_blocks, learnt.read_packed),
    Reader("cached targets", {"batch.safetensors": "safetensors"}, learnt.made_targets, learnt.read_targets),
)
