"""The second step of a search: candidates of the front are scored on one proxy task, and the choice follows that.

AutoDistil's two-step variant (arXiv 2201.12507) where trials are slices of a super-network; trials of other sources are
scored as they were trained. Scores are those of `[[evaluate]]`, by the same jobs: each is kept beside its student in
the home the moment it is known, so a killed run, and another run of the same slices, pays for none twice.
"""

from collections.abc import Sequence

import numpy as np

from ...report.schema import ProxyEntry
from ..ledger import Entry
from ..machines.machines import Profiled
from ..source import scores
from ..work.making import Making
from .choice import front, pair_key, points
from .finish import cut
from .scoring import Asked, Scoring

PHASE = "proxy task"


def candidates(members: Sequence[Entry], machines: Sequence[Profiled], most: int, choose: str) -> list[Entry]:
    """Who of a front (fastest first) is scored: all, or as many as `most`, each a student of this run's or the home's.

    Where the best quality is to be chosen, those of the least loss; else both ends, and between them those nearest to
    latencies that are evenly spread, as logarithms, over the front.
    """
    members = [entry for entry in members if "trial" in entry.facts]  # others are known by number alone
    values = points(members, machines)
    if len(members) <= most:
        return members
    if choose == "quality":
        picked = set(np.argsort(values[:, 0], kind="stable")[:most].tolist())
        return [entry for i, entry in enumerate(members) if i in picked]
    logarithms, left = np.log(values[:, 1]), list(range(len(members)))
    places = []
    for wanted in np.linspace(logarithms[0], logarithms[-1], most):
        places.append(left.pop(int(np.abs(logarithms[left] - wanted).argmin())))
    return [members[i] for i in sorted(places)]


def on_proxy(asked: Asked, scoring: Scoring, making: Making, machines: Sequence[Profiled]) -> ProxyEntry:
    """What candidates of the front of a run come to on its proxy task; slices of super-networks are cut for it.

    Raises:
        Interrupted: the executor was stopped; what was scored is kept.
        TrialError: a slice cannot be cut.
    """
    run, section = scoring.run, asked.section
    assert run.proxy is not None  # it was opened
    best = front(scoring.ledger.entries(), machines)
    tested = candidates(best, machines, run.proxy.students, run.choice)
    if scores(run.source.name):
        cut(tested, {}, making, scoring.executor, scoring.progress)
    trials = {pair_key(entry): str(entry.facts["trial"]) for entry in tested}
    (models,) = scoring.models([(asked, [*trials.values()])])
    return ProxyEntry(
        evaluation=section.evaluation,
        title=asked.title,
        on=section.on,
        options=section.options,
        heldout=asked.evaluation.heldout,
        students={key: models[trial] for key, trial in trials.items()},
    )
