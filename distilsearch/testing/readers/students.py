"""What students are kept as, and what they come from: trials, teachers, exports, recipes, lists of architectures."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

STUDENTS = "layers,width,heads,ffn\n2,64,2,128\n1,32,1,64\n"
STUDENT_FILES = {"*/student/model.safetensors": "safetensors", "*/student/config.json": "json"}
TEACHER_FILES = {
    "model.safetensors": "safetensors", "config.json": "json", "modules.json": "json", "tokenizer.json": "json",
    "tokenizer_config.json": "json", "1_Pooling/config.json": "json",
}  # fmt: skip


def made_trial(samples: Path, folder: Path, hashed: bool) -> None:
    """A trial by its key; `hashed`: with the hashes of its files, as trials have them today."""
    source = sorted((samples / "trials").iterdir())[0]
    shutil.copytree(source, folder / source.name)
    if hashed:
        from distilsearch.distill.store.trial import hashes

        files = hashes(folder / source.name / "student", folder / source.name / "none")
        content = json.loads((source / "trial.json").read_bytes())
        content |= {"schema": 2, "training": content.pop("context"), "files": files, "scores": []}
        (folder / source.name / "trial.json").write_text(json.dumps(content, indent=1))


def hashed_student(folder: Path) -> None:
    """The trial's hashes are those of the files as they are now: whoever made it, made it so."""
    from distilsearch.distill.store.trial import hashes

    (place,) = folder.iterdir()
    content = json.loads((place / "trial.json").read_bytes())
    content["files"] = hashes(place / "student", place / "none")
    (place / "trial.json").write_text(json.dumps(content))


def read_trial(folder: Path) -> None:
    """As archives list it."""
    from distilsearch.distill.store.archive import Archive

    archive = Archive(folder)
    archive.name_problems(lambda what, done, total: print(what, file=_Nowhere()))
    for trial in archive.trials():
        archive.intact(trial)
        json.dumps(trial.to_json(), allow_nan=False)


def read_student(folder: Path) -> None:
    """As it is handed out, and opened."""
    from distilsearch.distill.store.handing import copy_student
    from distilsearch.distill.store.trial import read_trial
    from distilsearch.distill.teachers.teacher import load_teacher

    (place,) = folder.iterdir()
    trial = read_trial(place)
    copy_student(trial, folder / "copy")
    load_teacher(str(folder / "copy")).model()


def read_teacher(folder: Path) -> None:
    """As `search` opens it."""
    from distilsearch.distill.teachers.teacher import load_teacher

    load_teacher(str(folder)).model()


def made_export(samples: Path, folder: Path) -> None:
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


def read_export(folder: Path) -> None:
    """As `export` and cards read it."""
    from distilsearch.distill.served.artefact import read_artefacts
    from distilsearch.distill.served.beside import section

    for artefact in read_artefacts(folder).values():
        artefact.check()
        section(artefact)


def made_recipe(samples: Path, folder: Path) -> None:
    """One of each form."""
    from ...distill.recipes import recipe

    folder.mkdir()
    plain = recipe("embedding").to_json()
    (folder / "file.json").write_text(json.dumps({"base": "embedding"} | plain))
    (folder / "file.toml").write_text('base = "embedding"\nbatch_tokens = 1024\nlearning_rate = 1e-3\n')


def read_recipe(folder: Path) -> None:
    """As run files name it."""
    from ...distill.recipes import read_recipe

    for path in sorted(folder.iterdir()):
        read_recipe(path)


def made_students(samples: Path, folder: Path) -> None:
    """A list of genes."""
    folder.mkdir()
    students = json.loads((samples / "expected.json").read_bytes())["architectures"]
    (folder / "file.json").write_text(json.dumps(students))


def read_architectures(folder: Path) -> None:
    """As `predict --from` reads them."""
    from ...architectures import architecture_of, read_architectures
    from ...families import family

    read_architectures(next(folder.iterdir()), partial(architecture_of, family("bert")))


class _Nowhere:
    """A terminal of UTF-8 that shows nothing."""

    def write(self, text: str) -> int:
        return len(text.encode())
