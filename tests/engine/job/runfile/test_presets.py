"""Presets lie under the run file; strategies and sources are reached with their options, and checked early."""

import subprocess
import sys
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.distill import losses
from distilsearch.distill.teachers.named import teacher_at_hand
from distilsearch.engine.job.preflight import check_run
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.options import checked_options
from distilsearch.engine.job.runfile.presets import KINDS, PRESETS, Preset, check_serves, merged, preset
from distilsearch.engine.strategies import STRATEGIES, find_strategy
from distilsearch.errors import InputError
from distilsearch.testing.presets import PresetContract

LEAST = {"teacher": "quickstart", "text": ["python-docs"]}
SMALL = Preset(
    strategy={"name": "reward", "target": 5.0, "alpha": -0.06, "beyond": -0.06},
    recipe="relation",
    space={"family": "bert", "layers": [1, 2], "width": [128]},
    train={"flash_tokens": 40_000, "finish": "front"},
    kinds=("embedding",),
)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(PRESETS, "small", SMALL)
    return LEAST | {"preset": "small"}


def test_a_preset_fills_in_what_the_file_leaves_open(small) -> None:
    run = Run.parse(small | {"train": {"finish": "none"}, "space": {"layers": [3]}, "strategy": {"target": 2}})
    assert (run.train.recipe, run.train.flash_tokens, run.train.finish) == ("relation", 40_000, "none")
    assert run.space.genes == {"layers": (3,), "width": (128,)}
    assert run.strategy.options == {"target": 2.0, "alpha": -0.06, "beyond": -0.06}
    assert run.train.final_tokens == 2_000_000  # neither says anything


def test_what_is_chosen_otherwise_leaves_the_presets_options_behind(small) -> None:
    run = Run.parse(small | {"space": {"family": "llama"}, "strategy": "enumerate"})
    assert run.space.genes == {}
    assert (run.strategy.name, run.strategy.options) == ("enumerate", {})
    assert run.train.recipe == "relation"


def test_the_preset_is_written_out(small) -> None:
    run = Run.parse(small)
    data = tomllib.loads(run.to_toml())
    assert data["strategy"] == {"name": "reward", "target": 5.0, "alpha": -0.06, "beyond": -0.06}
    assert data["space"] == {"family": "bert", "cuts": 2, "layers": [1, 2], "width": [128]}
    assert data["source"] == {"name": "distilled"}
    assert Run.parse(data) == run


class TestPresets(PresetContract):
    """Ours, and one that chooses everything."""

    @pytest.fixture(params=[*PRESETS, "small"])
    def name(self, request, small) -> str:
        return request.param


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_what_there_is(name: str) -> None:
    run = Run.parse(LEAST | {"preset": name})
    options = dict(preset(name).strategy)
    strategy = find_strategy(options.pop("name"), options)
    assert strategy.options() == run.strategy.options  # nothing is left to a default that may change


KEYS = st.dictionaries(st.sampled_from(["name", "family", "a", "b"]), st.integers(0, 2), max_size=4)


@given(st.dictionaries(st.sampled_from(["strategy", "space", "train"]), KEYS), st.dictionaries(
    st.sampled_from(["strategy", "space", "train", "trials"]), KEYS))  # fmt: skip
def test_the_file_wins_key_by_key(under, over) -> None:
    result = merged(under, over)
    assert set(result) == set(under) | set(over)
    for section, values in result.items():
        given, kept = over.get(section, {}), under.get(section, {})
        chooses = {"strategy": "name", "space": "family"}.get(section, "")
        another = chooses in given and chooses in kept and given[chooses] != kept[chooses]
        assert values == given | ({} if another else {k: v for k, v in kept.items() if k not in given})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"strategy": {"name": "rewrad"}}, "unknown strategy 'rewrad': did you mean 'reward'"),
        ({"strategy": {"name": "reward", "targt": 2}},
         "unknown option of strategy 'reward' 'targt': did you mean 'target'[?] known: alpha, beyond, target"),
        ({"strategy": {"name": "reward", "target": True}}, "strategy 'reward': target: expected a number; got True"),
        ({"strategy": {"name": "reward", "target": -1}}, "target of strategy 'reward' must be positive"),
        ({"strategy": {"name": "enumerate", "draws": 3}}, "known: [(]none[)]"),
        ({"strategy": {"draws": "many"}}, "options of strategy 'ehvi': draws"),
        ({"strategy": {"draws": -1}}, "draws of strategy 'ehvi' must be 0 or more"),
        ({"strategy": 3}, "strategy"),
        ({"strategy": {"name": 3}}, "strategy.name: expected a word in quotes; got 3"),
        ({"source": "distiled"}, "unknown source 'distiled': did you mean 'distilled'"),
        ({"source": {"name": "distilled", "teachers": 2}}, "unknown option of source 'distilled' 'teachers'"),
        ({"preset": "defualt"}, "unknown preset 'defualt': did you mean 'default'"),
        ({"preset": 3}, "^preset: expected a word in quotes; got 3$"),
    ],
)  # fmt: skip
def test_wrong_choices_are_refused_by_name(wrong, message) -> None:
    with pytest.raises(InputError, match=message):
        Run.parse(LEAST | wrong)


def test_a_teacher_that_a_preset_does_not_serve_is_refused_with_those_that_do(small, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(PRESETS, "words", Preset(recipe="mlm", kinds=("mlm",)))
    said = (
        "^the preset 'words' serves masked-LM teachers, and quickstart is an embedding model; "
        "presets that serve it: 'default', .*'small'"
    )
    with pytest.raises(InputError, match=said):
        check_run(Run.parse(small | {"preset": "words"}), tmp_path / "run")
    with pytest.raises(InputError, match="and a folder is a causal model; presets that serve it: 'default'"):
        check_serves("words", "a folder", "causal")
    check_serves("words", "a folder", "mlm")
    assert teacher_at_hand("owner/model") is None  # nobody asks the hub for it yet
    assert tuple(KINDS) == losses.KINDS


def test_a_strategy_can_be_named_alone_and_gets_its_defaults_written_out() -> None:
    run = Run.parse(LEAST | {"strategy": "reward"})
    assert run.strategy.options == {"target": None, "alpha": -0.06, "beyond": -1.0}
    assert Run.parse(tomllib.loads(run.to_toml())) == run


@given(st.sampled_from(sorted(STRATEGIES)))
def test_options_of_every_strategy_make_it_again(name: str) -> None:
    options = checked_options(name, STRATEGIES[name], {})
    assert find_strategy(name, options).options() == options


def test_a_mistake_in_a_file_of_the_usual_strategy_is_told_without_loading_torch() -> None:
    code = (
        "import sys\nfrom distilsearch.engine.job.runfile.config import Run\n"
        f"Run.parse({LEAST!r})\nprint('torch' in sys.modules or 'botorch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


PLUGIN = """
from distilsearch.engine.job.runfile.presets import Preset
from distilsearch.engine.strategies.enumerate import Enumerate
from distilsearch.plugins import Plugin

class Backwards(Enumerate):
    def __init__(self, step: int = 2): self.step = step
    name = "backwards"
    def options(self): return {"step": self.step}

MINE = Preset(strategy={"name": "backwards", "step": 3})
PLUGIN = Plugin(strategies={"backwards": Backwards}, presets={"mine": MINE})
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A module of strangers; what it adds is gone after the test."""
    (tmp_path / "backwards_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = [(known, dict(known)) for known in (STRATEGIES, PRESETS)]
    yield "backwards_plugin"
    for known, entries in before:
        known.clear()
        known.update(entries)
    del sys.modules["backwards_plugin"]


def test_what_plugins_add_is_known_before_the_rest_is_looked_at(plugin) -> None:
    run = Run.parse(LEAST | {"plugins": plugin, "preset": "mine"})
    assert run.plugins == (plugin,)
    assert run.strategy.options == {"step": 3}
    named = Run.parse(LEAST | {"plugins": [plugin], "strategy": "backwards"})
    assert named.strategy.options == {"step": 2}
    assert Run.parse(tomllib.loads(named.to_toml())) == named


def test_plugins_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match="the plugin 'no_such_plugin' cannot be imported"):
        Run.parse(LEAST | {"plugins": ["no_such_plugin"]})
    with pytest.raises(InputError, match="plugins"):
        Run.parse(LEAST | {"plugins": 3})
