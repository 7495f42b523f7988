"""The sections of a report, in the order of the page: a new one is one function here and one line in `SECTIONS`.

Each takes a `Reading` and gives a `Section`, or None where there is nothing to show. Whatever is missing in the result
is said or left out, never invented: a latency that was not measured is called predicted wherever it is used.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from distilsearch.page.parts import card, chart, folded, header, nothing, notices, tiles
from distilsearch.page.plots import Figure

from .budgets import WINDOW, answers, front_gap
from .doubts import best_words, disturbed, first_words, source_words
from .figures import calibration_figure, curves_figure, front_figure, hypervolume_figure, latency_figure
from .gains import figures, gains_table, untrained_words
from .readings import Reading, both_latencies, headline, kind_words, prediction_error, trials_words
from .requests import requests_card
from .schema import Latency
from .tables import (
    answers_table,
    artefacts_table,
    evaluations_table,
    facts_table,
    flat,
    phases_table,
    proxy_table,
    students_table,
    trials_table,
)
from .words import DASH, count, counted, duration, machine_words, percent, roughly, score, served_words, teacher_served

OPEN_TRIALS = 40  # more of them are folded


@dataclass(frozen=True)
class Section:
    """A part of the page: markup, and the figures drawn into the elements of their names.

    Neighbours that are `paired` stand side by side.
    """

    body: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    paired: bool = False


def head_section(reading: Reading) -> Section:
    """What was found, by whom and on what."""
    result, teacher = reading.result, reading.teacher
    size = f" ({count(teacher.parameters)} parameters)" if teacher.parameters else ""
    states = [trial.state for trial in reading.trials]
    failed = f", {states.count('failed')} failed" if "failed" in states else ""
    completions = trials_words(reading, [trial for trial in reading.trials if trial.state == "complete"])
    lead = f"Teacher {teacher.name}{size}. {completions} completed{failed}."
    for i, objective in enumerate(reading.latencies):
        if machine := reading.machine(objective):
            words = machine_words(machine, reading.searched)
            lead += f" Latency{f' {i + 1}' if len(reading.latencies) > 1 else ''}: {words}."
    if reading.ways:
        lead += f" Ways of serving that were compared: {'; '.join(reading.ways)}."
        lead += f" The teacher is served by {teacher_served(reading.first_machine)}."
    return Section(header(f"distilsearch · {result.name}", headline(reading), lead))


def warnings_section(reading: Reading) -> Section | None:
    """What a reader of the figures must know first."""
    return Section(notices(reading.result.warnings)) if reading.result.warnings else None


def knee_section(reading: Reading) -> Section | None:
    """The chosen student in four numbers, each beside the teacher's."""
    knee = reading.knee
    if knee is None:
        return None
    speedup, latency, teacher = reading.speedup(knee), reading.latency(knee), reading.teacher
    beside = reading.latency(teacher)
    if speedup and speedup.instead:  # like with like
        beside = beside.model_copy(update={"measured": None})
    ways = f"; {served_words(knee.served)} against {teacher_served(reading.first_machine)}" if knee.served else ""
    figures = [
        (f"{speedup.words}×" if speedup else DASH, f"faster than the teacher ({kind_words(speedup)}){ways}"),
        (score(reading.quality(knee.loss)), f"{reading.quality_name}; teacher {score(reading.teacher_quality)}"),
        (f"{best_words(latency)} ms", f"{source_words(latency)}; teacher {best_words(beside)} ms"),
        (count(knee.parameters), f"parameters; teacher {count(teacher.parameters)}"),
    ]
    return Section(tiles(figures))


def requests_section(reading: Reading) -> Section | None:
    """How long requests are, where they are of many lengths, and what they take."""
    cards = requests_card(reading)
    return Section(cards) if cards else None


def answers_section(reading: Reading) -> Section | None:
    """What there is at multiples of the teacher's speed, and how far apart students lie there."""
    choices, gap = answers(reading), front_gap(reading)
    if not choices or gap is None:
        return None
    several = " on the first target" if len(reading.latencies) > 1 else ""
    text = f"Of the students that are at least so many times as fast as the teacher{several}, the best one. Between "
    rough = any(speedup.disturbed for member in reading.front if (speedup := reading.speedup(member)))
    wide = roughly(gap) if rough else f"{gap:.1f}"
    text += f"{WINDOW[0]:g}× and {WINDOW[1]:g}× the widest gap of the front is a factor of {wide} in latency."
    return Section(card("What you get at multiples of the teacher's speed", text, answers_table(reading, choices)))


def front_section(reading: Reading) -> Section:
    """Quality against latency, a chart for each machine."""
    text = (
        "Every dot is a student. Those on the line are the best at their speed after equal training; what a longer "
        f"training of some of them gave is drawn beside it, and hides nobody. Chosen is {reading.choice_words}:"
        " the star. Open dots have only a predicted latency, with its interval."
    )
    label = "Chart: quality against latency of all students; the tables below hold the same numbers"
    figures = _drawn({f"front-{i}": front_figure(reading, name) for i, name in enumerate(reading.latencies)})
    cards = []
    for i, objective in enumerate(reading.latencies):
        body = chart(f"front-{i}", figures, label, "No trial has both a quality and a latency yet.", tall=True)
        cards.append(card(_titled(reading, objective, "Quality against latency"), text, body))
    return Section("\n".join(cards), figures)


def students_section(reading: Reading) -> Section:
    """The front as a table."""
    if not reading.front:
        return Section(card("The front", "", nothing("The front is empty so far.")))
    text = "The front, fastest first. Behind a predicted latency stands its interval; each trained student is a folder."
    if any(member.untrained_loss is not None for member in reading.front):
        text += f" Under {reading.quality_name} stands that of the student before training, as it was cut."
        text += untrained_words(reading)
    return Section(card("The front", text, students_table(reading)))


def gains_section(reading: Reading) -> Section | None:
    """What training bought the students that are handed back; or why it is not known beyond their text."""
    gains = {member.key: named for member in reading.front if (named := figures(reading, member))}
    probe = reading.result.probe
    if not gains:
        return None
    text = "Of each student what it came to, and below that what it was when it was cut from the teacher, untrained."
    text += untrained_words(reading)
    if probe is not None and probe.students:
        text += (
            f" {probe.name} is the probe: {probe.blocks} blocks of a text that nobody trained on and that chose nobody;"
            " what falls there was lost of what the teacher knew."
        )
    elif probe is not None and probe.why:
        text += f" There is no probe of what it brings beyond the text: {probe.why}."
    return Section(card("What training bought", text, gains_table(reading, gains)))


def proxy_section(reading: Reading) -> Section | None:
    """What candidates of the front came to on the proxy task."""
    proxy = reading.result.proxy
    if proxy is None or not proxy.students:
        return None
    text = (
        f"{counted(len(proxy.students), 'student')} of the front, as they were after equal training, on {proxy.title};"
        " one of them was chosen by this score and its latency. Fine-tuning is a matter of luck as well: differences"
        " of a few points say little where there is one seed."
    )
    return Section(card("The proxy task", text, proxy_table(reading, proxy)))


def evaluations_section(reading: Reading) -> Section | None:
    """What students and teacher are worth on tasks."""
    if not reading.result.evaluations:
        return None
    text = (
        "Teacher and students, as they are handed back, on the run's evaluations. Behind a mean stands its standard"
        " deviation over repeated fine-tunings, below it the share of the teacher's own score."
    )
    return Section(card("Evaluations", text, evaluations_table(reading)))


def artefacts_section(reading: Reading) -> Section | None:
    """The files that students are served from, where the run has exported them."""
    if not any(member.artefacts for member in reading.front):
        return None
    text = (
        "Each student as files of other runtimes, in the folder served within its own, with the lines that run them on"
        " their card. Float32 differs from torch by rounding alone; int8 adds to the loss of its own student what is"
        " said."
    )
    return Section(card("Served files", text, artefacts_table(reading)))


def latency_section(reading: Reading) -> Section:
    """Predicted against measured latency, a chart for each machine."""
    label = "Chart: predicted against measured latency with intervals"
    empty = "No latency has been measured yet: run distilsearch measure on the target."
    figures = _drawn({f"latency-{i}": latency_figure(reading, name) for i, name in enumerate(reading.latencies)})
    cards = []
    for i, objective in enumerate(reading.latencies):
        title = _titled(reading, objective, "Predicted against measured latency")
        cards.append(card(title, _latency_words(reading, objective), chart(f"latency-{i}", figures, label, empty)))
    return Section("".join(cards), figures, paired=True)


def surrogate_section(reading: Reading) -> Section:
    """How well quality is foreseen, by the surrogate and by short trainings."""
    figures = _drawn({"calibration": calibration_figure(reading)})
    label = "Chart: leave-one-out predictions against measured quality"
    body = chart("calibration", figures, label, "This result holds no check of the surrogate.")
    text = " ".join([*_surrogate_words(reading), *_fidelity_words(reading)])
    return Section(card("How well quality is foreseen", text, body), figures, paired=True)


def progress_section(reading: Reading) -> Section:
    """The hypervolume over the trials."""
    figures = _drawn({"hypervolume": hypervolume_figure(reading)})
    point = ", ".join(f"{name} {value:.4g}" for name, value in reading.result.reference.items())
    each = "pair of student and serving" if reading.ways else "trial"
    text = f"The volume that the front dominates, after each {each}"
    text += f"; reference point: {point}." if point else "."
    body = chart("hypervolume", figures, "Chart: hypervolume after each trial", "No trial has completed yet.")
    return Section(card("Progress of the search", text, body), figures, paired=True)


def curves_section(reading: Reading) -> Section:
    """The training of every student."""
    figures = _drawn({"curves": curves_figure(reading)})
    text = "Held-out quality of each student over the tokens it has seen."
    body = chart("curves", figures, "Chart: quality over training tokens", "No student has been trained yet.")
    return Section(card("Training curves", text, body), figures, paired=True)


def trials_section(reading: Reading) -> Section | None:
    """Every trial, folded where there are many."""
    amount = len(reading.trials)
    if not amount:
        return None
    title = f"All {trials_words(reading, reading.trials)}" if amount > 1 else "The only trial"
    return Section(folded(title, trials_table(reading), amount <= OPEN_TRIALS))


def phases_section(reading: Reading) -> Section | None:
    """Where the time went."""
    phases = [phase for phase in reading.result.phases if phase.seconds >= 0]
    if not phases:
        return None
    whole = duration(sum(phase.seconds for phase in phases))
    short = "; ".join(f"{phase.what}: {phase.short}" for phase in phases if phase.short)
    words = f"Not all of it was done. {short[0].upper()}{short[1:]}." if short else ""
    shared = any(phase.all_seconds is not None for phase in phases)
    title = f"Time: {whole} of this driver" if shared else f"Time: {whole} in all"
    return Section(card(title, words, phases_table(phases)))


def environment_section(reading: Reading) -> Section | None:
    """Versions, devices and seeds, folded."""
    facts = list(flat(reading.result.environment))
    facts += [(f"latency table of {m.objective}", m.table) for m in reading.result.targets if m.table]
    return Section(folded("Environment", facts_table(facts, "Environment"))) if facts else None


SECTIONS: list[Callable[[Reading], Section | None]] = [
    head_section,
    warnings_section,
    knee_section,
    answers_section,
    front_section,
    students_section,
    requests_section,
    gains_section,
    proxy_section,
    evaluations_section,
    artefacts_section,
    latency_section,
    surrogate_section,
    progress_section,
    curves_section,
    trials_section,
    phases_section,
    environment_section,
]


def _drawn(figures: Mapping[str, Figure | None]) -> dict[str, Figure]:
    return {name: figure for name, figure in figures.items() if figure}


def _titled(reading: Reading, objective: str, title: str) -> str:
    several = len(reading.latencies) > 1
    return f"{title}, latency {reading.latencies.index(objective) + 1}" if several else title


def _latency_words(reading: Reading, objective: str) -> str:
    both = [latency for _, latency in both_latencies(reading, objective).values()]
    calm = [latency for latency in both if not disturbed(latency)]
    error, words = prediction_error(calm), []
    if error:
        text = f"Over {counted(error.count, 'measured student')} the median error is {percent(error.median)}, "
        text += f"the worst {percent(error.worst)}; {percent(error.within_tenth)} lie within the 10\u00a0% band"
        held = error.inside_interval
        words.append(text + ("." if held is None else f" and {percent(held)} of the intervals hold their measurement."))
    if len(calm) < len(both):
        words.append(f"Left out of that: {counted(len(both) - len(calm), 'disturbed measurement')}.")
    return " ".join([*words, *_repeat_words(reading, objective, both)])


def _repeat_words(reading: Reading, objective: str, latencies: Sequence[Latency]) -> list[str]:
    """How far measurements of the same model lie apart: of two sessions, of trial and session, and in the table."""
    teacher, machine, words = reading.latency(reading.teacher, objective), reading.machine(objective), []
    apart = [latency.repeated - 1 for latency in (*latencies, teacher) if latency.repeated]
    if apart:
        text = f"Between the two closest sessions side by side {counted(len(apart), 'model')} differed by"
        words.append(f"{text} {percent(statistics.median(apart))} (median), at most {percent(max(apart))}.")
    pairs = [(one.measured, one.measured_first) for one in latencies if first_words(one)]
    moved = [abs(last / first - 1) for last, first in pairs if last and first]
    if moved:
        words.append(
            f"From its trial to that session a student's latency moved by {percent(statistics.median(moved))}."
        )
    if machine and machine.noise_floor is not None:
        words.append(f"The table's own repeats differ by {percent(machine.noise_floor)} (noise floor).")
    return words


def _surrogate_words(reading: Reading) -> list[str]:
    words, surrogate = ["Each trial predicted from all the others, ± one standard deviation."], reading.result.surrogate
    if surrogate:
        facts = [f"Surrogate {surrogate.name}"]
        facts += [f"R² {surrogate.r2:.2f}"] if surrogate.r2 is not None else []
        facts += [f"interval coverage {percent(surrogate.coverage)}"] if surrogate.coverage is not None else []
        words.append(f"{', '.join(facts)}.")
    return words


def _fidelity_words(reading: Reading) -> list[str]:
    ranks = reading.result.rank_fidelity
    if ranks.spearman is None:
        return [f"Short against full training: {ranks.note}."] if ranks.note else []
    words = f"Short against full training of {counted(ranks.pairs, 'student')}: Spearman {ranks.spearman:.2f}"
    words += f", Kendall {ranks.kendall:.2f}" if ranks.kendall is not None else ""
    return [f"{words} ({ranks.note})." if ranks.note else f"{words}."]
