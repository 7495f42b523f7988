"""Systems whose students share one training: how they keep a budget, which the main job cannot plan for them.

A step of a super-network trains four sub-networks on its tokens, so these count four times. Of minutes, a short search
is rehearsed first, within them: from what its phases took come the tokens of the super-networks, how many sub-networks
are scored (all, where there is time), and the tokens of the finish.
"""

from collections.abc import Mapping
from typing import Any

from distilsearch.engine.job.runfile.presets import PRESETS

SOURCE = "supernetwork"
FOUR = 4  # sub-networks of a step
REHEARSED = {"super_tokens": 16_000, "trials": 8}
TRAINING, SCORING, FINISH = 0.55, 0.25, 0.2  # shares of the time that is left
FINALS = 6  # students that a finish trains at most
LEAST = 8  # sub-networks scored
SUPERS, TRIALS = "train super-networks", "distil and measure"  # the main job's phases


def shares(system: str) -> bool:
    """Whether students of a preset share one training."""
    return system in PRESETS and PRESETS[system].source.get("name") == SOURCE


def keys(system: str, super_tokens: int, trials: int, final_tokens: int = 0) -> dict[str, Any]:
    """Of a run file."""
    train = {"final_tokens": final_tokens} if final_tokens else {"finish": "none"}
    return {"trials": trials, "train": train, "source": {**PRESETS[system].source, "super_tokens": super_tokens}}


def by_tokens(system: str, tokens: int) -> dict[str, Any]:
    """As many tokens in all, and every sub-network scored: scoring trains nothing."""
    parts = len(PRESETS[system].source["subspaces"])
    return keys(system, tokens // (FOUR * parts), 100_000)


def rehearsal(system: str) -> dict[str, Any]:
    """A search that is short."""
    return keys(system, REHEARSED["super_tokens"], REHEARSED["trials"])


def fitted(system: str, minutes: float, seconds: float, phases: Mapping[str, float]) -> dict[str, Any] | None:
    """What fits into the minutes, of which a rehearsal has taken `seconds`, its phases among them; None: nothing."""
    training, scoring = phases[SUPERS], phases[TRIALS] / REHEARSED["trials"]
    left = 60 * minutes - seconds - (seconds - training - phases[TRIALS])
    if left <= 0:
        print(f"{minutes:g} minutes are too few for {system}: its rehearsal took {seconds / 60:.1f}", flush=True)
        return None
    rate = REHEARSED["super_tokens"] / training
    tokens, finals = int(TRAINING * left * rate), int(FINISH * left * rate * FOUR / FINALS)
    return keys(system, tokens, max(LEAST, int(SCORING * left / scoring)), max(finals, 1))


def trained(supers: int, source: Mapping[str, Any]) -> int:
    """Tokens of so many super-networks, in all sub-networks that a step trains."""
    return FOUR * supers * int(source.get("super_tokens", 0))
