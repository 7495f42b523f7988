"""A run goes on with an equal file, whatever version wrote its folder; what changes no student may change."""

import tomllib

import pytest

from distilsearch.engine.job.runfile import continuing
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.continuing import ADDED, continued, kept_run, kept_text
from distilsearch.engine.job.runfile.evaluated import EvaluateSection, ProxySection
from distilsearch.engine.job.runfile.sections import SECTIONS, SpaceSection
from distilsearch.errors import InputError, RunError
from distilsearch.operators import Serving

LEAST = {"teacher": "quickstart", "text": ["python-docs"]}
OLD = """\
name = "quickstart"
teacher = "quickstart"
text = ["python-docs"]
text_temperature = 1.0
preset = "default"
trials = 18
seed = 0
stop_below = 0.0

[space]
family = "bert"
layers = [1, 2, 3, 4, 6]

[train]
device = "cpu"
precision = "auto"
recipe = "default"
flash_tokens = 160000
longer_tokens = []
final_tokens = 800000
finish = "knee"

[[target]]
device = "cpu"
serving = { batch = 1, sequence = 128, dtype = "float32", phase = "encode", mode = "eager" }

[storage]
url = ""
cache_limit_gb = 20.0
"""


def _folder(tmp_path, text: str):
    (tmp_path / "run.toml").write_text(text)
    return tmp_path


def test_a_folder_of_an_older_version_is_the_same_run(tmp_path) -> None:
    there = kept_run(_folder(tmp_path, OLD))
    assert there is not None
    continued(Run.parse(tomllib.loads(OLD)), there)
    least = {"name": "quickstart", **LEAST, "space": {"layers": [1, 2, 3, 4, 6]}}
    again = continued(Run.parse(least | {"train": {"final_tokens": 800_000}, "target": [{"device": "cpu"}]}), there)
    assert again.train.recipe == "default"  # what it was started with, whatever new runs have
    assert Run.parse(least).train.recipe == "auto"
    with pytest.raises(RunError, match=r"strategy.name: 'ehvi' there, 'enumerate' now"):
        continued(Run.parse(tomllib.loads(OLD) | {"strategy": "enumerate"}), there)


def test_a_folder_that_left_its_recipe_to_the_teacher_goes_on_with_what_that_was(tmp_path) -> None:
    there = kept_run(_folder(tmp_path, kept_text(Run.parse(LEAST | {"train": {"recipe": "auto"}}))))
    assert there is not None
    assert there.train.recipe == "default-2"
    for now in (LEAST, LEAST | {"train": {"recipe": "auto"}}):
        assert continued(Run.parse(now), there).train.recipe == "default-2"
    settled = Run.parse(LEAST | {"train": {"recipe": "moored"}})
    assert continued(Run.parse(LEAST | {"train": {"recipe": "auto"}}), settled).train.recipe == "moored"
    with pytest.raises(RunError, match=r"train.recipe: 'moored' there, 'anchored' now"):
        continued(Run.parse(LEAST | {"train": {"recipe": "anchored"}}), settled)


def test_what_a_file_leaves_out_is_as_the_folder_has_it(tmp_path) -> None:
    there = kept_run(_folder(tmp_path, OLD.replace('"auto"', '"float32"')))
    assert there is not None
    assert (there.train.finish, there.choose) == ("chosen", "knee")  # what they meant then
    now = Run.parse(LEAST | {"train": {"workers": 2}, "target": [{"parameters": None}]})
    assert (now.train.finish, now.choose) == ("budgets", "auto")  # what they are today
    run = continued(now, there)
    assert (run.name, run.trials, run.train.finish, run.choose) == ("quickstart", 18, "chosen", "knee")
    assert (run.train.precision, run.train.final_tokens, run.train.workers) == ("float32", 800_000, 2)
    assert run.space.genes == {"layers": (1, 2, 3, 4, 6)}
    assert run.target[0].device == "cpu"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"train": {"finish": "budgets"}}, "train.finish: 'chosen' there, 'budgets' now"),
        ({"choose": "auto"}, "choose: 'knee' there, 'auto' now"),
        ({"space": {"family": "mobilebert"}}, "space.family: 'bert' there"),
        ({"space": {"layers": [1]}}, r"space.layers: \[1, 2, 3, 4, 6\] there, \[1\] now"),
        ({"target": [{"latency_ms": 3.0}]}, r"target\[0\].latency_ms: None there, 3.0 now"),
        ({"target": [{}, {}]}, r"target\[1\].device: None there"),
        ({"target": [{"latency": "0.5x"}]}, r"target\[0\].latency: None there, '0.5x teacher' now"),
        ({"strategy": "enumerate"}, "strategy.name: 'ehvi' there, 'enumerate' now"),
    ],
)
def test_what_a_file_says_stands_and_is_refused_where_it_differs(tmp_path, given, named) -> None:
    there = kept_run(_folder(tmp_path, OLD))
    assert there is not None
    with pytest.raises(RunError, match=named):
        continued(Run.parse(LEAST | given), there)


@pytest.mark.parametrize("now", [{"latency": "0.5x"}, {"latency_ms": 9.0}])
def test_one_way_to_say_a_limit_takes_the_place_of_the_other(tmp_path, now) -> None:
    there = Run.parse(LEAST | {"target": [{"latency_ms": 3.0} if "latency" in now else {"latency": "0.2x"}]})
    with pytest.raises(RunError, match=r"target\[0\].latency: .* there, .*; target\[0\].latency_ms: .* now\)"):
        continued(Run.parse(LEAST | {"target": [now]}), there)
    assert continued(Run.parse(LEAST), there).target == there.target


def test_the_presets_values_are_left_out_of_a_file_as_well(tmp_path) -> None:
    aged = kept_run(_folder(tmp_path, OLD + '[strategy]\nname = "ehvi"\ndraws = 8\n'))
    assert aged is not None
    assert continued(Run.parse(LEAST), aged).strategy.options == {"draws": 8}
    with pytest.raises(RunError, match=r"strategy.draws: 8 there, 32 now"):
        continued(Run.parse(LEAST | {"strategy": {"draws": 32}}), aged)


def test_a_run_file_that_is_read_leaves_out_what_it_leaves_out(tmp_path) -> None:
    (tmp_path / "run.toml").write_text('teacher = "t"\ntext = ["x"]\n[train]\nthreads = 1\n')
    run = Run.read(tmp_path / "run.toml")
    assert run.model_fields_set == {"name", "teacher", "text", "train"}
    assert run.train.model_fields_set == {"threads"}


def test_absent_keys_mean_what_they_meant_then_whatever_the_default_is_now(tmp_path, monkeypatch) -> None:
    there = kept_run(_folder(tmp_path, OLD))
    monkeypatch.setitem(continuing.ADDED, "", ADDED[""] | {"strategy": {"name": "enumerate"}})
    monkeypatch.setitem(continuing.ADDED, "target", ADDED["target"] | {"memory_mb": 3.0})
    aged = kept_run(tmp_path)
    assert there is not None
    assert aged is not None
    assert (there.strategy.name, there.target[0].memory_mb) == ("ehvi", None)
    assert (aged.strategy.name, aged.target[0].memory_mb) == ("enumerate", 3.0)


def test_every_key_has_the_value_of_its_first_day() -> None:
    """A key that is added must be added there too, or an old folder would get today's default."""
    required = {"name", "teacher", "text"}
    assert set(ADDED[""]) | required == set(Run.model_fields)
    for name, section in SECTIONS.items():
        assert set(ADDED[name]) == set(section.model_fields), name
    assert set(ADDED["evaluate"]) == set(EvaluateSection.model_fields)
    assert set(ADDED["proxy"]) == {"with", *ProxySection.model_fields}
    assert set(ADDED["space"]) == set(SpaceSection.model_fields)
    assert set(ADDED["target.serving"]) == set(Serving.__dataclass_fields__)
    assert kept_values(ADDED) == FIRST_DAYS


def kept_values(table) -> dict[str, object]:
    return {f"{section}.{key}".strip("."): value for section, keys in table.items() for key, value in keys.items()}


FIRST_DAYS = {  # never edited: a folder that lacks a key was written before that day
    "text_temperature": 1.0, "text_tokens": None, "preset": "default", "trials": 24, "seed": 0, "loss_at_most": None,
    "text_column": "text", "text_heldout": 2_000, "probe_text": ["auto"], "quality": "loss",
    "stop_below": 0.0, "plugins": [], "source": {"name": "distilled"}, "strategy": {"name": "ehvi", "draws": 32},
    "space": {}, "train": {}, "target": [{}], "executor": {}, "storage": {}, "space.family": "bert", "space.cuts": None,
    "train.device": "auto", "train.precision": "auto", "train.recipe": "default", "train.flash_tokens": 160_000,
    "train.longer_tokens": [], "train.final_tokens": 2_000_000, "train.finish": "knee", "train.workers": "auto",
    "train.threads": None, "target.device": "auto", "target.serving": {}, "target.latency_ms": None,
    "target.memory_mb": None, "target.memory_counts": "weights", "target.loss": "trained",
    "export": {}, "export.runtime": [], "export.dtype": ["float32"], "target.parameters": None,
    "target.serving.batch": 1, "target.serving.sequence": 128,
    "target.serving.dtype": "float32", "target.serving.phase": "encode", "target.serving.threads": None,
    "target.serving.mode": "eager", "target.serving.runtime": "torch", "target.serving.lengths": None,
    "target.serving.padded": False, "target.request_lengths": None,
    "executor.name": "local", "executor.address": "", "executor.depot": "", "executor.patience_minutes": 15.0,
    "storage.url": "", "storage.cache_limit_gb": 20.0, "choose": "knee", "minutes": 0.0, "target.latency": None,
    "text_block": None, "prompt": "", "target.profile_minutes": None, "train.share": 1.0,
    "evaluate": [], "evaluate.on": "", "evaluate.of": "front", "target.gflops": None,
    "proxy": None, "proxy.on": "", "proxy.students": 8, "proxy.with": "glue",
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('fairness = "strict"\n' + OLD, "unknown key 'fairness'"),
        (OLD.replace('"eager" }', '"eager", engine = "fast" }'), "unknown serving key 'engine'"),
        (OLD + '[strategy]\nname = "foresight"\n', "unknown strategy 'foresight'"),
        (OLD.replace('finish = "knee"', 'finish = "knee"\nwarm = 2'), "train.warm: unknown key 'warm'"),
    ],
)
def test_a_folder_of_a_newer_version_is_refused_by_name(tmp_path, line, message) -> None:
    with pytest.raises(RunError, match=rf"run.toml is not of this version .*{message}.* the version that wrote it"):
        kept_run(_folder(tmp_path, line))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"teacher = ", "is not valid TOML"),
        (b'teacher = "quickst', "is not valid TOML"),
        (b"\xff\xfet", "is UTF-16"),
        (b"seed = 3\n", "lacks teacher and text"),
        (kept_text(Run.parse({"teacher": "x", "text": "y", "seed": 3})).encode()[:-9], "has been cut off"),
    ],
)
def test_a_damaged_run_file_of_a_folder_is_to_blame_itself(tmp_path, content, message) -> None:
    (tmp_path / "run.toml").write_bytes(content)
    with pytest.raises(RunError, match=rf"run.toml {message}.* is damaged; put it back .* or remove it and call again"):
        kept_run(tmp_path)


def test_what_a_folder_keeps_reads_back(tmp_path) -> None:
    run = Run.parse({"teacher": "x", "text": "y", "seed": 3, "train": {"recipe": "moored"}})
    (tmp_path / "run.toml").write_text(kept_text(run))
    assert kept_run(tmp_path) == run


def test_a_folder_without_a_run_holds_none(tmp_path) -> None:
    assert kept_run(tmp_path) is None


def test_more_trials_and_other_hands_are_the_same_run() -> None:
    first = Run.parse(LEAST)
    changes = {
        "trials": 99, "minutes": 0.0, "stop_below": 0.1, "executor": {"name": "local", "depot": "memory://x"},
        "train": {"device": "cpu", "workers": 4, "threads": 1}, "storage": {"cache_limit_gb": 3},
    }  # fmt: skip
    continued(Run.parse(LEAST | changes), first)


def test_a_run_of_some_minutes_goes_on_with_the_length_that_was_planned_and_may_get_more() -> None:
    begun = Run.parse(LEAST | {"minutes": 5.0})
    assert (begun.trials, begun.train.flash_tokens, begun.train.final_tokens) == (0, 0, 0)
    there = begun.model_copy(update={"train": begun.train.model_copy(update={"flash_tokens": 47_407})})
    for now in (Run.parse(LEAST | {"minutes": 20.0}), Run.parse(LEAST | {"trials": 30})):
        then = continued(now, there)
        assert (then.trials, then.minutes) == (now.trials, now.minutes)
        assert then.train.flash_tokens == 47_407
    assert continued(Run.parse(LEAST | {"minutes": 20.0}), Run.parse(LEAST)).trials == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"strategy": {"draws": 8}}, "strategy.draws: 32 there, 8 now"),
        ({"train": {"recipe": "relation"}}, "train.recipe: 'auto' there"),
        ({"target": [{"memory_mb": 40}]}, r"target\[0\].memory_mb: None there, 40.0 now"),
        ({"target": [{"serving": {"dtype": ["float32", "bfloat16"]}}]}, r"target\[0\].serving.dtype: 'float32' there"),
        ({"target": [{}, {}]}, r"target\[1\].device: None there"),
        ({"storage": {"url": "sqlite:///a.db"}}, "storage.url"),
    ],
)
def test_what_changes_results_is_another_run(change, named) -> None:
    with pytest.raises(RunError, match=named):
        continued(Run.parse(LEAST | change), Run.parse(LEAST))


def test_a_plugin_that_is_no_longer_needed_may_be_left_out(tmp_path) -> None:
    folder = _folder(tmp_path, 'plugins = ["uninstalled_plugin"]\n' + OLD)
    there = kept_run(folder, load=False)
    assert there is not None
    continued(Run.parse(tomllib.loads(OLD)), there)
    with pytest.raises(InputError, match="the plugin 'uninstalled_plugin' cannot be imported"):
        kept_run(folder)
