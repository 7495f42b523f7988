"""Whether a run file continues the run of a folder: formats grow, and what changes no result may change.

What a folder's own run.toml leaves out was not there when it was written, so it has the value of the day the key was
added (`ADDED`), whatever today's default is. A key that this version does not know comes from a newer one. What a file
that is to continue it leaves out is as it is there (`continued`): a default may change, and every run goes on.

What may change from call to call: how much is asked (`trials`, `minutes`, `stop_below`, `[[evaluate]]`, `[export]`, and
`probe_text`, which chooses nothing), and where and by how many hands it is done (`plugins`, `[executor]`, `workers`,
`threads`, `device`, the cache's limit). Threads and device do change bits of a student, so every trial records its own;
neither is part of what names it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from distilsearch.errors import InputError, RunError
from distilsearch.hiding import hidden
from distilsearch.places import RUN_MARK

from .config import WHOLE_FILE, Run, load_plugins
from .evaluated import WITH
from .presets import CHOOSES
from .reading import UnreadableError, parsed
from .toml import flat

END = "# The end of it."

GROWING = (
    "trials", "minutes", "stop_below", "plugins", "executor", "evaluate", "export", "probe_text", "train.device",
    "train.workers", "train.threads", "storage.cache_limit_gb",
)  # fmt: skip

INSTEAD = (  # keys of which one is given: the others are then none of the folder's
    {"latency_ms", "latency"},
    {"trials", "minutes"},
)

SETTLED = {"text_heldout": "auto", "recipe": "auto"}  # what leaves a key open that the folder's own file says

# By section: what a word meant that folders kept before they said what it stands for. Never edited.
MEANT: dict[str, dict[str, dict[str, str]]] = {"train": {"recipe": {"auto": "default-2"}}}

EITHER = {"sequence": "lengths"}  # keys that have no default where the other one is given

# By section ("" is the top level): what a key that is absent from a folder's run.toml means. Values are never edited: a
# new key is added with the default it has on that day.
ADDED: dict[str, dict[str, Any]] = {
    "": {
        "text_temperature": 1.0,
        "text_tokens": None,
        "text_block": None,
        "text_heldout": 2_000,
        "text_column": "text",
        "prompt": "",
        "probe_text": ["auto"],
        "preset": "default",
        "trials": 24,
        "minutes": 0.0,
        "seed": 0,
        "loss_at_most": None,
        "stop_below": 0.0,
        "plugins": [],
        "source": {"name": "distilled"},
        "strategy": {"name": "ehvi", "draws": 32},
        "space": {},
        "train": {},
        "target": [{}],
        "executor": {},
        "storage": {},
        "choose": "knee",
        "evaluate": [],
        "quality": "loss",
        "proxy": None,
        "export": {},
    },
    "space": {"family": "bert", "cuts": None},
    "train": {
        "device": "auto",
        "precision": "auto",
        "recipe": "default",
        "flash_tokens": 160_000,
        "longer_tokens": [],
        "final_tokens": 2_000_000,
        "share": 1.0,
        "finish": "knee",
        "workers": "auto",
        "threads": None,
    },
    "target": {
        "device": "auto", "serving": {}, "latency_ms": None, "memory_mb": None, "parameters": None, "latency": None,
        "profile_minutes": None, "gflops": None, "loss": "trained",
        "memory_counts": "weights", "request_lengths": None,
    },
    "target.serving": {
        "batch": 1, "sequence": 128, "dtype": "float32", "phase": "encode", "threads": None, "mode": "eager",
        "runtime": "torch", "lengths": None, "padded": False,
    },
    "evaluate": {"on": "", "of": "front"},
    "proxy": {"on": "", "students": 8, "with": "glue"},
    "executor": {"name": "local", "address": "", "depot": "", "patience_minutes": 15.0},
    "storage": {"url": "", "cache_limit_gb": 20.0},
    "export": {"runtime": [], "dtype": ["float32"]},
}  # fmt: skip


def kept_run(folder: Path, load: bool = True) -> Run | None:
    """The run that a folder was started with, as its run.toml says; None where there is none.

    Args:
        load: load the plugins it names first. The run that is to continue it has loaded its own, which may be others.

    Raises:
        RunError: it is damaged, or of a newer version.
        InputError: a plugin cannot be loaded.
    """
    path = folder / "run.toml"
    if not path.exists():
        return None
    data = _aged(_whole(path))
    if load:
        load_plugins(data)
    try:
        return Run.parse(data, WHOLE_FILE)
    except InputError as error:
        raise _foreign(path, error) from None


def kept_text(run: Run) -> str:
    """What a run's folder keeps of its run file: with all defaults, and a last line by which a part of it is told.

    Secrets are masked: the folder is passed on, and the file that the user has written is not.
    """
    storage = run.storage.model_copy(update={"url": hidden(run.storage.url)})
    executor = run.executor.model_copy(
        update={name: hidden(getattr(run.executor, name)) for name in ("address", "depot")}
    )
    return f"{RUN_MARK}\n{run.model_copy(update={'storage': storage, 'executor': executor}).to_toml()}\n{END}\n"


def _whole(path: Path) -> dict[str, Any]:
    """The content of a folder's run.toml; a `RunError` where it is empty, cut off or otherwise damaged."""
    try:
        data, text = parsed(path.read_bytes())
        lacking = [name for name in ("teacher", "text") if name not in data]
        if lacking or (text.startswith(RUN_MARK) and END not in text):
            raise UnreadableError(f"lacks {' and '.join(lacking)}" if lacking else "has been cut off")
    except (OSError, UnreadableError) as error:
        why = str(error) if isinstance(error, UnreadableError) else f"cannot be read ({error.strerror})"
        raise RunError(
            f"{path} {why}: it says what the run of this folder was started with, and is damaged; put it back from a"
            " copy, or remove it and call again with the run file that the run was started with"
        ) from None
    return data


def _foreign(path: Path, error: InputError) -> RunError:
    return RunError(
        f"{path} is not of this version of distilsearch ({error}); continue the run with the version that wrote it"
    )


def _aged(data: Any, section: str = "") -> Any:
    """A section of a folder's run.toml with everything that was added since."""
    if isinstance(data, list):
        return [_aged(one, section) for one in data]
    if not isinstance(data, Mapping):
        return data  # validation says what is wrong with it
    within = {name.rpartition(".")[2]: name for name in ADDED if name and name.rpartition(".")[0] == section}
    absent = {key: value for key, value in ADDED[section].items() if data.get(EITHER.get(key, "")) is None}
    values = {**absent, **data}
    for key, words in MEANT.get(section, {}).items():
        values[key] = words.get(values[key], values[key]) if isinstance(values[key], str) else values[key]
    return {key: _aged(value, within[key]) if key in within else value for key, value in values.items()}


def continued(now: Run, there: Run) -> Run:
    """The run that a file asks for where it continues another: what the file leaves out is as it is there.

    But for plugins: one that is no longer needed may be gone. A table that chooses something else than the one there,
    or `[[target]]` in another number, is taken as it stands.

    Raises:
        RunError: it asks for something else than the run that it is to continue; what differs is named.
    """
    run = Run.parse(_filled(now, there) | {"plugins": list(now.plugins)}, WHOLE_FILE)
    mine, theirs = _shown(run), _shown(there)
    differing = (name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    names = sorted(name for name in differing if not _may_change(name))
    if names:
        listed = "; ".join(f"{n}: {theirs.get(n)!r} there, {mine.get(n)!r} now" for n in names)
        raise RunError(
            f"the run {run.name!r} was started with another run file ({listed}). What is there stands in the run.toml"
            " of its folder: ask for the same to go on with it; for another search change `name` in your run file, or"
            " give --folder another folder"
        )
    return run


def _shown(run: Run) -> dict[str, Any]:
    """What a run asks for by dotted names, secrets masked: a password may be another, and is never quoted."""
    values = flat(run.model_dump(mode="json"))
    return {name: hidden(value) if isinstance(value, str) else value for name, value in values}


def _filled(now: BaseModel, there: BaseModel, chooser: str = "") -> dict[str, Any]:
    mine, theirs = now.model_dump(mode="json"), there.model_dump(mode="json")
    given = {name for name in now.model_fields_set if name not in SETTLED or mine[name] != SETTLED[name]}
    if chooser in given and mine[chooser] != theirs[chooser]:
        return mine
    instead = {name for group in INSTEAD if group & given for name in group - given}
    return {
        name: _value(getattr(now, name, None), getattr(there, name, None), name, name in given)
        if name not in instead
        else mine.get(name)
        for name in mine | theirs
    }


def _value(own: Any, other: Any, name: str, given: bool) -> Any:
    """A key's value as plain JSON: of the file where it gives one, and of the folder else, table by table."""
    if isinstance(own, BaseModel) and isinstance(other, BaseModel):
        return _filled(own, other, {**CHOOSES, "proxy": WITH}.get(name, ""))
    if given and name != "evaluate" and _tables(own) and _tables(other) and len(own) == len(other):
        return [_filled(one, another) for one, another in zip(own, other, strict=True)]
    value = own if given else other
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [one.model_dump(mode="json") for one in value] if _tables(value) else value


def _tables(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, BaseModel) for one in value)


def _may_change(name: str) -> bool:
    if name.startswith("target[") and name.endswith("].profile_minutes"):  # of each target on its own
        return True
    return any(name == growing or name.startswith((growing + ".", growing + "[")) for growing in GROWING)
