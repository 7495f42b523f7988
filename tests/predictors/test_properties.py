"""The properties that are shipped for users' own tables: they hold on toys, and they find what is wrong."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from distilsearch import cli_tables, testing
from distilsearch.errors import TableError
from distilsearch.operators import Serving
from distilsearch.predictors import properties
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.profiling.tables.table import LatencyTable
from distilsearch.space import SearchSpace

quick = settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", params=["whole table", "sparse table", "ceilings only"])
def known(request: Any, table: LatencyTable, sparse: LatencyTable) -> tuple[LatencyTable, LatencyPredictor]:
    bare = LatencyTable((), table.models[:3], table.meta, {})
    chosen = {"whole table": table, "sparse table": sparse, "ceilings only": bare}[request.param]
    return chosen, LatencyPredictor.fit(chosen)


@pytest.mark.parametrize("name", list(properties.PROPERTIES))
@quick
@given(seed=st.integers(0, 10**6))
def test_property(known: Any, space: SearchSpace, serving: Serving, name: str, seed: int) -> None:
    codes = space.sample(8, np.random.default_rng(seed))
    assert properties.PROPERTIES[name](properties.Subject(*known, space, serving, codes, seed % 7)) == ""


def test_a_sound_table_passes_under_every_serving_it_has(toy: Any, space: SearchSpace) -> None:
    tables = [toy.table(space, models=6, serving=Serving(sequence=n, threads=2)) for n in (64, 256)]
    both = LatencyTable(
        tables[0].operators + tables[1].operators, tables[0].models + tables[1].models, tables[0].meta, {}
    )
    found = properties.check_table(both, n=8)
    assert len(found) == 2 * len(properties.PROPERTIES)
    assert [f for f in found if f.problem] == []


def test_what_is_wrong_is_named(table: LatencyTable, space: SearchSpace, serving: Serving) -> None:
    predictor = LatencyPredictor.fit(table)
    seconds_for_ms = [
        replace(row, measured=replace(row.measured, seconds_p10=1e3 * row.measured.seconds_p10)) for row in table.models
    ]
    codes = space.sample(4, np.random.default_rng(0))
    wrong = properties.Subject(replace(table, models=tuple(seconds_for_ms)), predictor, space, serving, codes)
    assert "times the measured models" in properties.milliseconds(wrong)


def test_a_table_without_models_is_refused(table: LatencyTable) -> None:
    with pytest.raises(TableError, match="profile a space first"):
        properties.check_table(LatencyTable(table.operators, (), table.meta, {}))


def test_the_same_properties_are_there_for_embedders() -> None:
    assert testing.latency_properties() == properties.PROPERTIES


def test_command_prints_every_property(table: LatencyTable, monkeypatch: Any) -> None:
    monkeypatch.setattr(cli_tables, "found_table", lambda name, store: table)
    outcome = CliRunner().invoke(cli_tables.tables, ["test"])
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output.count("holds") == len(properties.PROPERTIES)
