"""A search that was killed, or is asked by several workers, is the same search."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilsearch.distill.recipes import EMBEDDING
from distilsearch.engine.job.ledger.journal import sealed
from distilsearch.engine.job.loop.proposing import propose
from distilsearch.engine.job.loop.search import Search
from distilsearch.engine.job.preparing.recall import replay
from distilsearch.engine.job.runfile.sections import TargetSection
from distilsearch.engine.job.serving.served import ServedSpace

from .searching import SERVED, SPACE, AtOnce, Machine, Several, Source, die, new_engine, new_search


def mortal(search: Search, writes: float, torn: bool) -> None:
    """Let the process of a search die at its so-manieth write into the journal: before it, or in the midst of it."""
    backend = search.ledger._storage._backend
    write, left = backend.append_logs, writes

    def append(logs) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            return write(logs)
        if torn:
            with backend.path.open("ab") as file:
                file.write(sealed(logs[0])[:40])
        raise KeyboardInterrupt

    backend.append_logs = append


def outcome(search: Search) -> list[tuple]:
    """What a search has come to, trial by trial."""
    latencies = [e.facts["latencies"]["latency_ms"] for e in search.ledger.entries()]
    asks = [e.facts.get("plan", {}).get("counter") for e in search.ledger.entries()]
    trials = [(e.architecture, e.facts["asked"], e.state, e.values) for e in search.ledger.entries()]
    return list(zip(trials, latencies, asks, strict=True))


KILLS = st.one_of(
    st.builds(lambda after: (after, math.inf, False), st.integers(0, 4)),  # as the so-manieth training is submitted
    st.builds(lambda writes, torn: (math.inf, writes, torn), st.integers(0, 14), st.booleans()),
)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(KILLS, min_size=1, max_size=3), longer=st.sampled_from([(), (200, 400)]))
def test_a_run_that_was_killed_proposes_what_it_would_have_proposed(tmp_path_factory, kills, longer) -> None:
    whole = new_search(tmp_path_factory.mktemp("whole"), Source(0.5), longer=longer)
    whole.explore(7)
    folder, asked = tmp_path_factory.mktemp("killed"), []
    for after, writes, torn in [*kills, (math.inf, math.inf, False)]:
        search = new_search(folder, Source(0.5), AtOnce(after), longer)
        mortal(search, writes, torn)
        try:
            search.explore(7)
        except KeyboardInterrupt:
            die(search)
        asked += search.source.asked
    assert list(dict.fromkeys(asked)) == whole.source.asked
    assert outcome(search) == outcome(whole)


def test_what_is_known_of_a_student_served_otherwise_is_entered_after_a_kill_too(tmp_path) -> None:
    served = ServedSpace.extend(SPACE, [TargetSection(serving={"dtype": ["float32", "bfloat16"], "threads": 1})])
    whole = new_search(tmp_path / "whole", Source(), served=served)
    whole.explore(2)
    for writes in range(8):  # four of each trial
        folder = tmp_path / str(writes)
        search = new_search(folder, Source(), served=served)
        mortal(search, writes, torn=False)
        with pytest.raises(KeyboardInterrupt):
            search.explore(2)
        die(search)
        again = new_search(folder, Source(), served=served)
        again.explore(2)
        assert sorted(map(str, outcome(again))) == sorted(map(str, outcome(whole))), writes


def test_what_winners_taught_the_intervals_is_remembered(tmp_path) -> None:
    search = new_search(tmp_path, Source())
    search.explore(6)
    again = new_search(tmp_path, Source())
    assert again.machines[0].seen == search.machines[0].seen != []
    assert again.engine.reference == search.engine.reference
    assert again.engine.counter == search.engine.counter


@pytest.mark.parametrize("workers", [2, 4])
def test_with_several_workers_every_ask_can_be_asked_again(tmp_path, workers) -> None:
    search = new_search(tmp_path, Source(0.5), Several(workers, seed=workers), longer=(200,))
    search.machines[0].learn = lambda architecture: None  # predictions that stay, so that old asks can be asked again
    search.explore(14)
    machine = Machine()
    replayed = list(
        replay(
            search.ledger,
            lambda: new_engine(machine),
            [machine],
            SERVED,
            100,
            lambda engine: propose(engine, (100, 200), EMBEDDING.shared),
        )
    )
    assert len(replayed) == 14
    assert any(entry.facts["plan"]["pending"] for entry, _ in replayed)
    for entry, proposal in replayed:
        assert proposal == (entry.architecture, entry.facts["asked"])
