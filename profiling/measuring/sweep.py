"""Running cases on a device: rounds in random order, the sentinel between them, every round kept on disk.

A killed sweep loses at most the last few seconds: rounds are flushed as files of their own, and what has too few of
them is simply measured again. Two processes never time at once on one machine: they queue on a lock.
"""

import math
import os
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np

from distilsearch.operators import TORCH
from distilsearch.progress import Progress, silent

from ..cases.plan import Case
from ..clock import Clock, Measured, SystemClock, pace, settled, summarise, undisturbed, visit, warm_up
from ..device import Device, Prepared, Regime, Unsupported
from ..runtimes import stack_of
from ..tables import rounds

LEAST_ROUNDS, MOST_ROUNDS = 8, 16
TOLERANCE = 0.03
FLUSH_SECONDS = 10.0
ROUND_SECONDS = 0.12
HELD_SHARE = 0.25  # of the host's and the device's memory; what is held together is timed in the same rounds
WARMER, MOST_WARMING = 0.98, 12  # calls of the sentinel: as long as two take less than this share of the two before
LONG_SECONDS = 1e-3
EXTRA_SECONDS, EXTRA_SHARE = 10.0, 0.5


@dataclass
class Timed:
    """One case during a sweep."""

    case: Case
    regime: Regime
    prepared: Prepared | None = None
    prepare_seconds: float = 0.0
    call_seconds: float = 0.0
    status: str = "ok"
    seconds: list[float] = field(default_factory=list)
    sentinels: list[float] = field(default_factory=list)

    def measured(self, baseline: float, level: float) -> Measured:
        """The statistics of this sweep's rounds."""
        if not self.seconds:
            return Measured.failed(self.status)
        return summarise(self.seconds, self.sentinels, baseline, [level] * len(self.seconds))


@dataclass
class Sweep:
    """One session of timing on a device, writing into a table's folder.

    `tolerance`: cases whose fastest quiet rounds agree this closely after `least` rounds are done. `known`: the
    undisturbed sentinel of each number of threads, from earlier sessions, so that a session that is disturbed from
    beginning to end is told from a quiet one. `runtime`: who runs all cases, for the folder is of one.
    """

    device: Device
    folder: Path
    rng: np.random.Generator
    clock: Clock = field(default_factory=SystemClock)
    progress: Progress = silent
    least: int = LEAST_ROUNDS
    most: int = MOST_ROUNDS
    tolerance: float = TOLERANCE
    known: Mapping[str, float] = field(default_factory=dict)
    runtime: str = TORCH
    session: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    _rows: list[rounds.Row] = field(default_factory=list)
    _flushed: float = 0.0
    _sentinels: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def run(self, cases: Sequence[Case], until: float = np.inf) -> list[Timed]:
        """Time cases, most valuable first, until all are settled or the clock passes `until`.

        What does not fit into the time comes back with the status `skipped` and leaves no rounds. What the machine
        was too noisy for gets a second chance at the end.
        """
        self._flushed = self.clock.now()
        try:
            done = self._run_chunks(cases, until)
            noisy = {t.case: t for t in done if self.measured(t).status == "noisy"}
            for again in self._run_chunks(list(noisy), until):
                noisy[again.case].seconds += again.seconds
                noisy[again.case].sentinels += again.sentinels
            return done
        finally:
            self.flush()

    def _run_chunks(self, cases: Sequence[Case], until: float) -> list[Timed]:
        return [timed for chunk in _chunks(cases, self.device) for timed in self._run_chunk(chunk, until)]

    def _run_chunk(self, cases: Sequence[Case], until: float) -> list[Timed]:
        """Cases of one regime that fit into memory together."""
        serving = cases[0].serving
        with self.device.session(serving):
            sentinel = self.device.sentinel(serving)
            warm_up(sentinel, self.clock)
            done = self._prepare_all(cases, until)
            self._rounds([t for t in done if t.prepared], sentinel, until)
        for timed in done:
            timed.prepared = None
        return done

    def _prepare_all(self, cases: Sequence[Case], until: float) -> list[Timed]:
        """Make cases ready, in order, as long as the least rounds of all of them still fit into the time."""
        done, committed = [], 0.0
        for i, case in enumerate(cases):
            timed = Timed(case, self.device.regime(case.serving))
            done.append(timed)
            if self.clock.now() + committed > until:
                timed.status = "skipped"
                continue
            self.progress("preparing", i, len(cases))
            self._prepare(timed)
            visit = self.device.costs(case.serving).visit_seconds
            committed += self.least * max(visit, 6 * timed.call_seconds)
        self.progress("preparing", len(cases), len(cases))
        return done

    def _prepare(self, timed: Timed) -> None:
        start = self.clock.now()
        try:
            timed.prepared = self.device.prepare(timed.case.work, timed.case.serving)
            timed.prepare_seconds = self.clock.now() - start
            timed.call_seconds = warm_up(timed.prepared, self.clock)
        except MemoryError:
            self._fail(timed, "oom")
        except Unsupported:
            self._fail(timed, "unsupported")

    def _fail(self, timed: Timed, status: str) -> None:
        timed.status, timed.prepared = status, None
        self._rows.append(self._row(timed, 0, None, None))

    def _rounds(self, waiting: list[Timed], sentinel: Prepared, until: float) -> None:
        done, start = 0, self.clock.now()
        for number in range(self.most):
            if number == self.least:  # a machine that never calms down must not be waited for
                spent = self.clock.now() - start
                until = min(until, self.clock.now() + max(EXTRA_SECONDS, EXTRA_SHARE * spent))
            if not waiting or (number and self.clock.now() > until):
                break
            self._round(number, waiting, sentinel)
            done, ahead = done + len(waiting), self.least - number - 1
            waiting = [t for t in waiting if t.prepared and not (ahead <= 0 and self._settled(t))]
            self.progress("timing", done, done + len(waiting) * max(1, ahead))
        if done and waiting:  # it was given up
            self.progress("timing", done, done)

    def _settled(self, timed: Timed) -> bool:
        baseline, level = self.baseline(timed.regime), self._level(timed.regime)
        return settled(timed.seconds, timed.sentinels, baseline * pace(level, baseline), self.tolerance)

    def measured(self, timed: Timed) -> Measured:
        """The statistics of one case by its rounds in this session."""
        return timed.measured(self.baseline(timed.regime), self._level(timed.regime))

    def _round(self, number: int, waiting: Sequence[Timed], sentinel: Prepared) -> None:
        """Visit each case once, in random order; a row's sentinel is the slower one of before and after."""
        start, before_round = self.clock.now(), dict(self.device.conditions())
        before, fresh = _sentinel_seconds(sentinel), []
        for i in self.rng.permutation(len(waiting)):
            timed = waiting[int(i)]
            seconds = self._visit(timed)
            if seconds is None:
                continue
            after = _sentinel_seconds(sentinel)
            timed.seconds.append(seconds)
            # a short case can hide between disturbances as the fastest call does, a long one meets their mean
            calm = min if timed.call_seconds < LONG_SECONDS else fmean
            timed.sentinels.append(max(calm(before), calm(after)))
            fresh.append(self._row(timed, number, seconds, timed.sentinels[-1]))
            before = after
        self.clock.sleep(max(0.0, ROUND_SECONDS - (self.clock.now() - start)))  # few cases: spread in time all the same
        for row in fresh:
            self._sentinels[row.regime.threads].append(row.sentinel_seconds or math.inf)
        self._keep(fresh, before_round, self.clock.now() - start)

    def _visit(self, timed: Timed) -> float | None:
        """Seconds of one visit; None for a case that turns out not to run here."""
        try:
            return visit(timed.prepared) if timed.prepared else None
        except MemoryError:
            self._fail(timed, "oom")
        except Unsupported:
            self._fail(timed, "unsupported")
        return None

    def _keep(self, fresh: Iterable[rounds.Row], before: dict[str, float], elapsed: float) -> None:
        now = self.device.conditions()
        steal = None
        if "steal_seconds" in now and "steal_seconds" in before and elapsed > 0:
            steal = (now["steal_seconds"] - before["steal_seconds"]) / elapsed
        conditions = {"steal_share": steal, "frequency_hertz": now.get("frequency_hertz")}
        self._rows += [rounds.Row(**{**vars(row), **conditions}) for row in fresh]
        if self.clock.now() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def _row(self, timed: Timed, number: int, seconds: float | None, sentinel_seconds: float | None) -> rounds.Row:
        return rounds.Row(
            kind=timed.case.kind,
            signature=timed.case.signature,
            regime=timed.regime,
            session=self.session,
            round=number,
            seconds=seconds,
            sentinel_seconds=sentinel_seconds,
            prepare_seconds=timed.prepare_seconds,
            steal_share=None,
            frequency_hertz=None,
            unix_seconds=self.clock.epoch(),
            status=timed.status,
        )

    def baseline(self, regime: Regime) -> float:
        """The undisturbed sentinel of a regime: of this session, or of an earlier and quieter one."""
        return min(self._level(regime), self.known.get(str(regime.threads), math.inf))

    def _level(self, regime: Regime) -> float:
        seen = self._sentinels[regime.threads]
        return undisturbed(seen) if seen else math.inf

    def flush(self) -> None:
        """Write the rounds held in memory as a file of their own."""
        if self._rows:
            rounds.append(self.folder, self._rows, self.device.facts(), stack_of(self.device, self.runtime))
        self._rows, self._flushed = [], self.clock.now()


def _sentinel_seconds(sentinel: Prepared) -> list[float]:
    """Seconds of two calls of the sentinel, as soon as it has stopped getting faster.

    After a case its own data has to come back into the caches, and a large model has driven out more of it than a call
    or two bring back. Taken too early it tells of the model and not of the machine, and the model is then taken to be
    faster than it ever ran.
    """
    calls = [sentinel.seconds(1) for _ in range(4)]
    while min(calls[-2:]) < WARMER * min(calls[-4:-2]) and len(calls) < MOST_WARMING:
        calls.append(sentinel.seconds(1))
    return calls[-2:]


def _chunks(cases: Sequence[Case], device: Device) -> Iterable[list[Case]]:
    """Cases of one regime together, as many as memory holds; the order within a regime stays."""
    regimes: dict[Regime, list[Case]] = {}
    for case in cases:
        regimes.setdefault(device.regime(case.serving), []).append(case)
    own = float(device.facts().get("memory_gib", math.inf)) * 2**30
    limit = HELD_SHARE * min(own, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for members in regimes.values():
        chunk: list[Case] = []
        held = 0
        for case in members:
            if chunk and held + case.weight_bytes > limit:
                yield chunk
                chunk, held = [], 0
            chunk.append(case)
            held += case.weight_bytes
        yield chunk
