"""How many trainers, of how many threads: those that train the most tokens a second together, asked of the machine.

Students are small, and a second thread helps one training little. So one child with all threads, all children with one
thread each, and the powers of two between are tried for some seconds each, in real children that train a stand-in at
the same time. Fewer workers win where more make little difference: each result then teaches the next proposal more.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distilsearch.progress import Progress, silent

from ..jobs import Probe
from .executor import Options
from .local import Local, training_device, usable_cores, usable_gpus

SECONDS = 2.0  # of each try
ROUNDS = 2  # tries of each, in turn, of which the better one counts: others use this machine too
TRAINER_BYTES = 2 << 30  # of memory: torch, a teacher, a student with its moments, batches
WORTH = 1.05  # more workers must train this much more


@dataclass(frozen=True)
class Workers:
    """What was chosen: trainers and their threads, the precision they train with, and why, in words.

    `tokens_per_second`: of all together, by (workers, threads) that were tried; empty where there was no choice.
    """

    workers: int
    threads: int
    precision: str
    tokens_per_second: dict[tuple[int, int], float]

    @property
    def reason(self) -> str:
        """The choice and what it was made of."""
        chosen = f"{_trainers(self.workers, self.threads)}, {self.precision}"
        tried = [f"{_trainers(*split)}: {rate:,.0f}" for split, rate in self.tokens_per_second.items()]
        return f"{chosen} (tokens a second of a stand-in, together: {'; '.join(tried)})" if tried else chosen


def choose_workers(
    options: Options,
    precision: str = "auto",
    workers: int | None = None,
    seconds: float = SECONDS,
    progress: Progress = silent,
) -> Workers:
    """Workers and threads for this machine, and the precision that was asked for, resolved on the device that trains.

    Args:
        options: where logs go, the device, and `threads` where they are fixed; `workers` of it does not matter.
        workers: fixed by the user; None lets the probe choose.
        seconds: of each try.
    """
    options = replace(options, device=training_device(options.device))
    choices = _choices(options, workers)
    if len(choices) == 1 and precision != "auto":  # nothing is left to find out
        return Workers(*choices[0], precision, {})
    most = max(count for count, _ in choices)
    with Local(replace(options, workers=most, threads=1)) as executor:
        rates: dict[tuple[int, int], float] = {}
        if len(choices) > 1:
            _together(executor, options.device, most, 1, 0.0)  # start all children before any is timed
            for turn in range(ROUNDS):
                for place, split in enumerate(choices):
                    progress("trying numbers of trainers", turn * len(choices) + place, ROUNDS * len(choices))
                    rates[split] = max(rates.get(split, 0.0), _together(executor, options.device, *split, seconds))
            progress("trying numbers of trainers", ROUNDS * len(choices), ROUNDS * len(choices))
        count, threads = best(rates) if rates else choices[0]
        resolved = executor.submit(Probe(options.device, threads, 0.0, precision)).result()["precision"]
    return Workers(count, threads, resolved, rates)


def candidates(cores: int, most: int) -> list[tuple[int, int]]:
    """(workers, threads) that share out all cores: the powers of two, and one a core; at most so many workers."""
    counts = {cores, *(2**power for power in range(cores.bit_length()) if 2**power <= cores)}
    return [(count, cores // count) for count in sorted(counts) if count <= max(1, most)]


def most_in_memory() -> int:
    """How many trainers the memory that is free now holds; one at least."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), TRAINER_BYTES)
    return max(1, free // TRAINER_BYTES)


def best(rates: dict[tuple[int, int], float]) -> tuple[int, int]:
    """The one with the highest rate; of those that are nearly as good, the one of the fewest workers."""
    enough = max(rates.values()) / WORTH
    return min(split for split, rate in rates.items() if rate >= enough)


def _choices(options: Options, workers: int | None) -> list[tuple[int, int]]:
    """What is left to choose between."""
    cores = len(usable_cores())
    if workers is not None:
        return [(workers, options.threads or max(1, cores // workers))]
    if options.device != "cpu":
        count = usable_gpus(options.device)
        return [(count, options.threads or max(1, cores // count))]
    if options.threads is not None:
        return [(min(max(1, cores // options.threads), most_in_memory()), options.threads)]
    return candidates(cores, most_in_memory())


def _together(executor: Local, device: str, workers: int, threads: int, seconds: float) -> float:
    """Tokens a second of so many trainings at the same time."""
    jobs: Sequence[Future[Any]] = [executor.submit(Probe(device, threads, seconds)) for _ in range(workers)]
    return float(sum(job.result()["tokens_per_second"] for job in jobs))


def _trainers(workers: int, threads: int) -> str:
    many = f"{workers} trainer{'s' if workers > 1 else ''} of {threads} thread{'s' if threads > 1 else ''}"
    return f"{many} each" if workers > 1 else many
