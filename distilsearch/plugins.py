"""Variants of strangers: a package of its own lists them, and every room finds them as it finds ours.

A plugin is a module with one attribute, `PLUGIN = Plugin(losses={"mine": MINE})`. It is named in `plugins = [...]` of a
run file, or by an installed package as an entry point of the group "distilsearch". Notable: rooms are named here by
strings and imported only where a plugin has something for them, so that loading a strategy never loads torch.
"""

import importlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import InputError

GROUP = "distilsearch"
PLACES: dict[str, str] = {  # the dict that lists the known ones; in an order in which later ones may name earlier ones
    "devices": "distilsearch.profiling.devices:DEVICES",
    "runtimes": "distilsearch.profiling.runtimes:RUNTIMES",
    "families": "distilsearch.families:FAMILIES",
    "losses": "distilsearch.distill.losses:LOSSES",
    "recipes": "distilsearch.distill.recipes:RECIPES",
    "strategies": "distilsearch.engine.strategies:STRATEGIES",
    "sources": "distilsearch.engine.job.source:SOURCES",
    "jobs": "distilsearch.engine.job.jobs:JOBS",
    "executors": "distilsearch.engine.job.executors:EXECUTORS",
    "evaluations": "distilsearch.distill.evaluate:EVALUATIONS",
    "presets": "distilsearch.engine.job.runfile.presets:PRESETS",
}


def _none() -> Any:
    return field(default_factory=dict)


@dataclass(frozen=True)
class Plugin:
    """What a package adds to each dict of known variants, by name; a kind that nobody knows is a `TypeError`.

    Values are what those dicts hold. A recipe may also be a mapping as in a recipe's file, and must be one where it
    weighs a loss of a plugin, its own or another's, which nobody knows yet when the recipe is written down.
    """

    devices: Mapping[str, Any] = _none()
    runtimes: Mapping[str, Any] = _none()
    families: Mapping[str, Any] = _none()
    losses: Mapping[str, Any] = _none()
    recipes: Mapping[str, Any] = _none()
    strategies: Mapping[str, Any] = _none()
    sources: Mapping[str, Any] = _none()
    jobs: Mapping[str, Any] = _none()
    executors: Mapping[str, Any] = _none()
    evaluations: Mapping[str, Any] = _none()
    presets: Mapping[str, Any] = _none()


def load(modules: Sequence[str] = ()) -> None:
    """Make the variants known of installed plugins and of the modules that are named; a second time changes nothing.

    Raises:
        InputError: a module cannot be imported or has no `PLUGIN`, or a name is taken already.
    """
    installed = [point.module for point in importlib.metadata.entry_points(group=GROUP)]
    plugins = {module: _plugin(module) for module in dict.fromkeys([*installed, *modules])}
    for kind in PLACES:  # of all plugins at once, so that none needs to come before another
        for module, plugin in plugins.items():
            _add(module, kind, getattr(plugin, kind))


def _plugin(module: str) -> Plugin:
    """The plugin of a module."""
    try:
        plugin = getattr(importlib.import_module(module), "PLUGIN", None)
    except ImportError as error:
        raise InputError(f"the plugin {module!r} cannot be imported ({error}); install it, or leave it out") from error
    if not isinstance(plugin, Plugin):
        raise InputError(
            f"the plugin {module!r} must have an attribute PLUGIN that is a distilsearch.plugins.Plugin; it has "
            f"{'none' if plugin is None else f'a {type(plugin).__name__}'}"
        )
    return plugin


def _add(module: str, kind: str, variants: Mapping[str, Any]) -> None:
    """Put a plugin's variants of a kind into the dict of known ones."""
    if not variants:
        return
    registry: dict[str, Any] = _at(PLACES[kind])
    for name, value in variants.items():
        variant = _recipe(name, value) if kind == "recipes" else value
        if name in registry and registry[name] is not variant and registry[name] != variant:
            raise InputError(
                f"the plugin {module!r} adds {name!r} to the {kind}, and that name is taken; give it another one"
            )
        registry[name] = variant


def _recipe(name: str, value: Any) -> Any:
    """A recipe, also one that is written as in a file."""
    return _at("distilsearch.distill.recipes:recipe_of")(name, value) if isinstance(value, Mapping) else value


def _at(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
