"""The search loop: ask, submit, wait for whoever is done, tell.

A trial is one pass: propose, distil and measure, tell. It may be a new student at the flash length or, where longer
lengths are allowed, one of the told ones for longer: whichever gains more a second. Latency needs no trained weights,
so all proposals in hand are measured in one go while they train. What a trial gave is in ledger and engine the moment
it is known, and each ask is noted with what it rested on: see `replay`.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from typing import Any

from distilsearch.architecture import Architecture
from distilsearch.distill.store.trial import Trial
from distilsearch.errors import TrialError
from distilsearch.progress import Progress

from ...adapters.results_csv import Failure
from ...engine import Engine
from ...record import Tell
from ..executors import Executor
from ..executors.persistent import first_line
from ..ledger import BEAT_SECONDS, Entry, Ledger, is_asked, is_imported
from ..machines.machines import Profiled
from ..plans.budget import Allowance, Trials, size
from ..preparing.recall import Plan, enter_failures, enter_imported, planned_tokens, recall, retell, tell
from ..serving.judging import Judging
from ..serving.losses import Losses
from ..serving.served import ServedSpace, student_of
from ..source import TrialSource
from .entering import Entering, latencies_of, objectives_of, with_measured
from .flights import Flight, Timing, facts_of, kind_of
from .proposing import propose

MOST_FOR_ONE_CAUSE = 3  # failures in a row
MOST_REFUSED = 64  # proposals in a row that others, who drive the same study, had begun a moment before
MOST_IN_A_ROW = 12  # failures, each for another cause than the one before
SESSION = "sessions"  # how often trials have come to an end: what failed by accident before is tried again after


class Search:
    """Plans and lands the trials of one run.

    Args:
        lengths: the lengths a training may have, in tokens, rising; the first is that of every new student.
        shared: (from, to) tokens -> how many of them a longer training need not repeat.
        judging: takes the losses of students as they are served; None where all are served as they were trained.
    """

    def __init__(
        self,
        engine: Engine,
        ledger: Ledger,
        machines: Sequence[Profiled],
        executor: Executor,
        source: TrialSource,
        served: ServedSpace,
        lengths: Sequence[int],
        shared: Callable[[int, int], int],
        progress: Progress,
        judging: Judging | None = None,
    ) -> None:
        self.engine = engine
        self.ledger = ledger
        self.machines = machines
        self.executor = executor
        self.source = source
        self.served = served
        self.lengths = lengths
        self.shared = shared
        self.progress = progress
        self.judging = judging
        self._entering = Entering(ledger, machines, served, lengths[0], judging)
        self.measures = not getattr(source, "scores", False)  # of trials that cost nothing, the front alone is measured
        self._flights: list[Flight] = []
        self._session = int(ledger.noted(SESSION) or 0)
        self._told = recall(engine, ledger, machines, served, lengths[0], self._session)
        self._noted = 0  # how many of them an earlier ask has noted
        self._causes: list[str] = []  # of failures in a row
        self._allowance: Allowance = Trials(0)

    # What is known already

    def enter_known(self, trials: Iterable[Trial]) -> None:
        """Take over what other runs have trained the same way."""
        for entry in self._entering.known(trials):
            self._tell(entry)

    def enter_imported(self, results: Iterable[Tell], failures: Iterable[Failure] = ()) -> None:
        """Take over results of other tools, and what failed there."""
        for entry in enter_imported(results, self.ledger, self.machines, self.served, self.lengths[0]):
            self._tell(entry)
        enter_failures(failures, self.ledger, self.served)
        self._hear()

    def length(self, entry: Entry) -> int:
        """The training a trial was planned for, in tokens."""
        return planned_tokens(entry, self.lengths[0])

    # The loop

    def explore(self, trials: int | Allowance, stop_below: float = 0.0) -> None:
        """Go on until as many trials have ended as are allowed, or little more is expected of the next one.

        Raises:
            TrialError: three trials in a row failed for one cause, or all of them.
            DiskFullError: a disk is full; no trial counts as failed for it.
        """
        self._work(Trials(trials) if isinstance(trials, int) else trials, stop_below, lambda: False)
        if not any(e.state == "complete" for e in self.ledger.entries()):
            raise self._nothing()

    def assist(self, allowance: Allowance, stop_below: float, going: Callable[[], bool]) -> None:
        """Make trials beside whoever drives the run: while it is `going`, and then until nothing is left of them."""
        self._work(allowance, stop_below, going)

    def _work(self, allowance: Allowance, stop_below: float, going: Callable[[], bool]) -> None:
        self._allowance = allowance
        for entry in self._entering.unfinished():
            self._tell(entry)
        try:
            self._launch(self.ledger.abandoned())
            while self._fill(stop_below) or self._flights or going():
                self._wait()
                for flight in [flight for flight in self._flights if flight.done]:
                    self._flights.remove(flight)
                    self._land(flight)
                ended = self._ended(self.ledger.entries())
                total = self._allowed(ended)
                self.progress("trials", min(ended, total), total)
        finally:
            for flight in self._flights:
                flight.training.cancel()
        if ended := self._hear():
            self.progress("trials", ended, ended)  # though more were allowed
        self._end_session()

    @property
    def behind(self) -> bool:
        """Whether others have a trial under way, or have ended one that was not heard of yet."""
        ended = (entry.number for entry in self.ledger.entries() if entry.state in ("complete", "failed"))
        return bool(self.ledger.foreign()) or not set(self._told).issuperset(ended)

    def _end_session(self) -> None:
        """From the next call on, what failed by accident in this one may be tried again."""
        if any(self._lost_now(entry) for entry in self.ledger.entries()):
            self.ledger.note(SESSION, max(self._session + 1, int(self.ledger.noted(SESSION) or 0)))

    def _lost_now(self, entry: Entry) -> bool:
        return entry.state == "failed" and entry.transient and entry.facts.get("session") == self._session

    def _nothing(self) -> TrialError:
        """The error for a run without any student: it quotes what went wrong first."""
        causes = [entry.cause for entry in self.ledger.entries() if entry.state == "failed"]
        if not causes:
            return TrialError("no trial was made: nothing in the space could be proposed; widen it, or raise `trials`")
        others = len(set(causes)) - 1
        also = f" ({others} other cause{'s' * (others > 1)} in the ledger)" if others else ""
        return TrialError(f"all {len(causes)} trials failed; the first one: {causes[0]}{also}; mend that, then go on")

    def _fill(self, stop_below: float) -> bool:
        """Plan and submit as many trials as there is room for; whether there is something to wait for."""
        ended = self._hear()
        self._launch(self.ledger.abandoned())
        foreign = self.ledger.foreign()
        self._expect(foreign)
        planned: list[Entry] = []
        refused = 0
        while len(self._flights) + len(planned) < self.executor.workers and refused < MOST_REFUSED:
            more = len(planned) + len(foreign)
            if ended + len(self._flights) + more >= self._allowed(ended, more):
                break
            if stop_below > 0 and self.engine.converged(stop_below, self.lengths):
                break
            pending = [*(flight.entry for flight in self._flights), *planned, *foreign]
            plan = self._plan([entry.number for entry in pending])
            proposal = propose(self.engine, self.lengths, self.shared)
            if proposal is None:
                break
            entry = self._claimed(plan, *proposal)
            if entry is not None:
                planned.append(entry)
                continue
            refused += 1
            ended = self._hear()
            foreign = self.ledger.foreign()
            self._expect(foreign)
        self._launch(planned)
        return bool(foreign) and ended < self._allowed(ended, len(foreign))

    def _allowed(self, ended: int, more: int = 0) -> int:
        """How many trials there may be, where so many have ended, with `more` under way beside those in hand."""
        return self._allowance.total(ended, len(self._flights) + more)

    def _plan(self, pending: Sequence[int]) -> Plan:
        """What the next ask rests on."""
        return Plan(self.ledger.holder, self.engine.counter, tuple(self._told[self._noted :]), tuple(pending), None)

    def _claimed(self, plan: Plan, architecture: Architecture, tokens: int) -> Entry | None:
        """The trial that was proposed, begun, with what the ask rested on; None where others were quicker."""
        told, plan = len(self._told), plan.with_reference(self.engine.frozen)
        facts = {"asked": tokens, "plan": plan.to_json(), "latencies": latencies_of(architecture, self.machines)}
        facts["session"] = self._session
        student = student_of(architecture)

        def free(entries: Sequence[Entry]) -> bool:
            same = (e for e in entries if student_of(e.architecture) == student and self.length(e) == tokens)
            running = sum(e.state == "running" and is_asked(e) for e in entries)
            ended = self._ended(entries)
            return not any(self._stands(e) for e in same) and ended + running < self._allowance.total(ended, running)

        entry = self.ledger.open(architecture, facts, free)
        if entry is not None:
            self._noted = told
        return entry

    def _stands(self, entry: Entry) -> bool:
        """Whether a trial speaks against another of its student: not what failed by accident, but for in this call."""
        passed = entry.state == "failed" and entry.transient and not self._lost_now(entry)
        return not passed and not is_imported(entry)

    def _launch(self, entries: Sequence[Entry]) -> None:
        """Submit the trainings of some trials, and one measurement of all of them on each machine."""
        if not entries:
            return
        self._expect(entries)
        flights = []
        for entry in entries:
            job = self.source.trial(student_of(entry.architecture), self.length(entry))
            flights.append(Flight(entry, self.executor.submit(job, self._progress_of(entry))))
        members = dict.fromkeys(entry.architecture for entry in entries)
        for machine in self.machines if self.measures else ():
            timings = self._timings(machine, [member for member in members if not machine.complete(member)])
            for flight in flights:
                if (timing := timings.get(flight.entry.architecture)) is not None:
                    flight.measuring[machine.objective] = timing
        self._flights += flights

    def _timings(self, machine: Profiled, members: Sequence[Architecture]) -> dict[Architecture, Timing]:
        """Measure members on a machine, those of a serving together."""
        timings: dict[Architecture, Timing] = {}
        for group, job in machine.jobs(members):
            future = self.executor.submit(job)
            timings |= {member: Timing(future, place, len(group) == 1) for place, member in enumerate(group)}
        return timings

    def _expect(self, entries: Sequence[Entry]) -> None:
        """Count trials as pending, with all that will be known once their students are trained."""
        students = [student_of(entry.architecture) for entry in entries]
        self.engine.expect([m for student in students for m in self.served.outcomes_of(student)], again=True)

    def _progress_of(self, entry: Entry) -> Progress:
        """Several trainings at once are told apart by the number of their trial."""
        if self.executor.workers == 1:
            return self.progress
        return lambda what, done, total: self.progress(f"{what} (trial {entry.number})", done, total)

    def _wait(self) -> None:
        """Until a trial can land, or its lease must be renewed."""
        waiting = [future for flight in self._flights for future in flight.futures if not future.done()]
        if waiting and not any(flight.done for flight in self._flights):
            wait(waiting, timeout=BEAT_SECONDS, return_when=FIRST_COMPLETED)
        elif not self._flights:
            time.sleep(1.0)  # others are at work
        self.ledger.renew(flight.entry for flight in self._flights)

    # Landing

    def _land(self, flight: Flight) -> None:
        """Tell what a trial gave; another's hold on it drops the result. A meter's death costs a measurement alone."""
        entry = flight.entry
        try:
            (trial,) = flight.training.result()
            if isinstance(trial, TrialError):
                raise trial
            losses = self._judged(flight, trial)
        except TrialError as error:
            self._failed(entry, error)
            return
        if losses is None or not self._measured(flight):
            self._flights.append(flight)
            return
        facts = facts_of(trial) | losses.facts | {"source": "trained", "latencies": with_measured(entry, self.machines)}
        facts |= {"unmeasured": flight.unmeasured} if flight.unmeasured else {}
        for machine in self.machines:
            machine.learn(entry.architecture)
        facts["intervals"] = {machine.objective: machine.learnt for machine in self.machines}
        self._end(entry, trial, losses, facts, time.monotonic() - flight.began)
        unserved = losses.causes.get(self.served.artefact(entry.architecture), "")
        self._count(unserved or next(iter(flight.unmeasured.values()), ""))

    def _judged(self, flight: Flight, trial: Trial) -> Losses | None:
        """What a trained student loses as it is served; None until that is known."""
        if self.judging is None:
            return Losses(trial.loss)
        if flight.judging is None:
            flight.judging = self.judging.begin(trial)
        return flight.judging.result() if flight.judging.done() else None

    def _end(self, entry: Entry, trial: Trial, losses: Losses, facts: dict[str, Any], seconds: float) -> None:
        """Tell a trial whose student is trained, and all that is known with it; it may not be served as was asked."""
        own = losses.of(artefact := self.served.artefact(entry.architecture))
        if own is None:
            cause = losses.causes[artefact]
            ended = self.ledger.fail(entry, cause, facts=facts)
            self._tell_failed(ended, cause)
        else:
            ended = self.ledger.complete(entry, objectives_of(own, facts, self.machines), facts)
            if ended is not None:
                self._tell(ended)
        if ended is None:
            return
        if seconds >= 0.9 * trial.seconds:  # else it was in the archive, or has gone on from a shorter one
            self._allowance.landed(size(trial.architecture), seconds)
        for other in self._entering.others(ended):
            self._tell(other)

    def _measured(self, flight: Flight) -> bool:
        """Take what was measured of a trial, or note why nothing was; false where it is measured again first, alone."""
        member, complete = flight.entry.architecture, True
        for machine in self.machines:
            if (timing := flight.measuring.get(machine.objective)) is None:
                continue
            try:
                measurements = timing.future.result()
            except TrialError as error:
                if timing.alone:
                    flight.unmeasured[machine.objective] = first_line(error)
                else:  # another one of them may have killed the meter
                    flight.measuring[machine.objective] = self._timings(machine, [member])[member]
                    complete = False
            else:
                machine.take([member], [measurements[timing.place]])
        return complete

    def _failed(self, entry: Entry, error: TrialError) -> None:
        """Note a failure; what failed by accident is tried again by a later call, after this one has ended."""
        failed = self.ledger.fail(entry, str(error), error.transient)
        if failed is not None:
            self._tell_failed(failed, str(error))
            self._count(str(error))

    def _tell_failed(self, entry: Entry | None, cause: str) -> None:
        if entry is not None:
            for member in self.served.outcomes_of(student_of(entry.architecture)):
                self.engine.fail(member, cause)
            self._told.append(entry.number)

    def _count(self, cause: str) -> None:
        """Stop where trials keep failing; "" is one that did not."""
        self._causes = [*self._causes, kind_of(cause)] if cause else []
        same = self._causes[-MOST_FOR_ONE_CAUSE:] == [kind_of(cause)] * MOST_FOR_ONE_CAUSE
        if same or len(self._causes) >= MOST_IN_A_ROW:
            self._end_session()
            many = f"{MOST_FOR_ONE_CAUSE} trials in a row failed for one cause" if same else "trial after trial failed"
            raise TrialError(f"{many}; mend it and call again. The last one: {cause}")

    def _tell(self, entry: Entry) -> None:
        tell(self.engine, entry, self.machines, self.length(entry))
        self._told.append(entry.number)

    def _hear(self) -> int:
        """Tell what others who work on this run have ended; how many trials have, by whomever."""
        entries = self.ledger.entries()
        for entry in entries:
            if entry.state in ("complete", "failed") and entry.number not in self._told:
                retell(self.engine, entry, self.machines, self.served, self.lengths[0], self._session)
                self._told.append(entry.number)
        return self._ended(entries)

    def _ended(self, entries: Iterable[Entry]) -> int:
        return sum(e.ended and is_asked(e) for e in entries)
