"""The schema of `result.json`: what a run hands back, typed. `engine/job/outcome/result.py` writes it, all others read.

Notable: a number is finite or absent, never NaN. A field that this version does not know is kept where it stands and
written back, so an added field is no new schema; `SCHEMA` grows where an older reader would misread, and a newer file
is refused. The latencies of an entry stand beside its other fields, one by the name of each objective.

Notation
    entry      a front member, a trial or the teacher
    served     what of the serving was chosen for a student (runtime, dtype ...); empty where nothing was open
    key        the name of the pair (student, served), see `member_key`
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from distilsearch.architecture import Architecture

from .checking import SCHEMA, check_schema, place_of, read
from .latencies import OF_REQUESTS as OF_REQUESTS
from .latencies import PART, Flag, Real, Whole, Word
from .latencies import Latency as Latency

LATENCY = re.compile(r"latency_ms(_\d+)?")
SPREAD = "_sd"  # behind the name of a score: its standard deviation
ONE_LABEL = "one_label"  # of scores: the share of fine-tunings that said the same of every row; no score

Scalar = Word | Flag | Whole | Real | None
Gene = Word | Flag | Whole | Real
Facts = dict[Word, Any]  # free JSON, shown and not interpreted


def member_key(architecture_key: str, served: Mapping[str, Scalar]) -> str:
    """The name of a pair (student, served): the architecture's key alone where nothing of the serving was chosen.

    >>> member_key("6aca7ff67233", {})
    '6aca7ff67233'
    >>> member_key("6aca7ff67233", {"dtype": "int8"})
    '6aca7ff67233-6f58b013'
    """
    if not served:
        return architecture_key
    canonical = json.dumps(dict(served), sort_keys=True, allow_nan=False)
    return f"{architecture_key}-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"


class _Genes(BaseModel):
    family: Word
    values: dict[Word, Gene]


def _architecture(data: Any) -> Architecture:
    if isinstance(data, Architecture):
        return data
    try:
        plain = _Genes.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{place_of(first['loc'])}: {first['msg']}") from None
    return Architecture(plain.family, plain.values)


Shape = Annotated[Architecture, PlainValidator(_architecture), PlainSerializer(Architecture.to_json)]


class Part(BaseModel):
    """One object of the file: a frozen value; unknown fields are kept."""

    model_config = PART


class Entry(Part):
    """What front members, trials and the teacher share; `latencies` by objective.

    `parts`: what the loss was made of, by name, where it was: the accuracies of masked words and of next sentences.
    """

    architecture: Shape
    parameters: Whole | None = None
    loss: Real | None = None
    parts: dict[Word, Real] = {}
    latencies: dict[Annotated[Word, Field(pattern=f"^{LATENCY.pattern}$")], Latency] = {}

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, data: Any) -> Any:
        """In the file latencies stand beside the other fields."""
        if not isinstance(data, dict) or "latencies" in data:
            return data
        latencies = {name: value for name, value in data.items() if LATENCY.fullmatch(name)}
        return {name: value for name, value in data.items() if name not in latencies} | {"latencies": latencies}

    @model_serializer(mode="wrap")
    def _spread(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = plain(self)
        latencies: dict[str, Any] = data.pop("latencies")
        return data | latencies


class TeacherEntry(Entry):
    """The teacher; its loss is None where it was never evaluated."""

    name: Word


class StudentEntry(Entry):
    """One pair (student, served); `source`: "trained", "known" from another run, "served" (the student of another
    trial), or "imported".

    `trained_loss`: of the student as it was trained, where `loss` is of what is served.
    """

    key: Word
    served: dict[Word, Scalar] = {}
    source: Word = "trained"
    tokens: Whole | None = None
    trained_loss: Real | None = None


class ArtefactEntry(Part):
    """A student as a file of a runtime, by its path in the run's folder.

    `bytes` of the graph and its weights; `quantised`: how int8 was made; `lost`: what int8 adds to the student's own
    loss; `difference`: the largest of float32 from torch. None where it is of the other precision.
    """

    runtime: Word
    dtype: Word
    file: Word
    bytes: Whole
    quantised: Word = ""
    lost: Real | None = None
    difference: Real | None = None


class Member(StudentEntry):
    """A pair of the front. `student`: its folder, relative to the run's; None where there is none.

    `flash_loss` and `flash_tokens` are of the trial that brought it to the front, `loss` and `tokens` of the training
    that is handed back: the same, or a longer one. `untrained_loss` is the student's before its first step, as it was
    cut from the teacher; None where nobody took it. `untrained_blocks`: how many of the held-out blocks that was taken
    on, where not on all that `loss` is of. `artefacts`: what it was exported as, where the run asks for that.
    """

    loss: Real
    untrained_loss: Real | None = None
    untrained_blocks: Whole | None = None
    flash_loss: Real | None = None
    flash_tokens: Whole | None = None
    student: Word | None = None
    trial: Word | None = None
    artefacts: tuple[ArtefactEntry, ...] = ()


class TrialEntry(StudentEntry):
    """One trial of the ledger. `curve`: pairs of tokens seen and held-out loss; `cause`: why it failed."""

    number: Whole
    state: Literal["complete", "failed", "running", "waiting"]
    seconds: Real | None = None
    curve: tuple[tuple[Whole, Real | None], ...] = ()
    cause: Word = ""


class SurrogatePoint(Part):
    """One architecture, foreseen from all the others, in units of the loss."""

    key: Word
    measured: Real | None = None
    predicted: Real | None = None
    sd: Real | None = None


class Surrogate(Part):
    """Which surrogate the data chose and how well it foresees; `considered`: log likelihood by kernel."""

    name: Word
    warped: Flag = False
    r2: Real | None = None
    coverage: Real | None = None
    log_likelihood: Real | None = None
    considered: dict[Word, Real | None] = {}
    points: tuple[SurrogatePoint, ...] = ()


class RankFidelity(Part):
    """How well short trainings order students; what `distilsearch fidelity` adds (`rows`, `left_out`) is kept."""

    spearman: Real | None = None
    kendall: Real | None = None
    pairs: Whole = 0
    note: Word = ""


class MachineEntry(Part):
    """One serving machine and the way of serving; `limit_ms` is what its latency may be at most.

    `limit`: how the run file says it, where that is a share of the teacher's latency. `table`: the folder of its
    latency table; `tables`: those of further runtimes that students may be served by, by name.
    """

    objective: Word
    device: Word
    serving: dict[Word, Scalar]
    limit_ms: Real | None = None
    limit: Word | None = None
    noise_floor: Real | None = None
    table: Word | None = None
    tables: dict[Word, Word] = {}
    local: Flag = True


class Scores(Part):
    """What an evaluation gave of one model: values by name, and the standard deviation of one by its name and `_sd`.

    `one_label` among them is the share of fine-tunings that gave every row the same label, and no score.

    `cause`: why there are none.
    """

    values: dict[Word, Real] = {}
    seconds: Real | None = None
    cause: Word = ""

    @property
    def merit(self) -> float | None:
        """The mean of the values, without standard deviations; None where there are none."""
        means = [value for name, value in self.values.items() if not name.endswith(SPREAD) and name != ONE_LABEL]
        return sum(means) / len(means) if means else None


class EvaluationEntry(Part):
    """One evaluation that a run was asked for, on what, and its scores: of the teacher, and of students by their keys.

    `title`: what its scores are called; `heldout`: the key of what it was held against, options included. `untrained`:
    scores of students before their first step, where they were taken.
    """

    evaluation: Word
    title: Word
    heldout: Word
    teacher: Scores
    students: dict[Word, Scores] = {}
    untrained: dict[Word, Scores] = {}
    on: Word = ""
    options: Facts = {}


class Bought(Part):
    """A loss before the first step of a training and after its last; None where it is not known, `cause` why."""

    before: Real | None = None
    after: Real | None = None
    cause: Word = ""


class ProbeEntry(Part):
    """A second text that nobody trained on, and what students came to on it, by key; nobody is chosen by it.

    `name`: its sources in short; `why`: why there is none; `heldout`: the key of what was held against; `quality`: what
    the losses are, or 1 - them.
    """

    name: Word = ""
    why: Word = ""
    heldout: Word = ""
    blocks: Whole = 0
    quality: Word = ""
    students: dict[Word, Bought] = {}


class ProxyEntry(Part):
    """The task that candidates were fine-tuned on, as they were after equal training, before one was chosen.

    `students`: their scores by key, fastest first; the others of the front were not asked.
    """

    evaluation: Word
    title: Word
    heldout: Word
    students: dict[Word, Scores] = {}
    on: Word = ""
    options: Facts = {}

    @property
    def task(self) -> str:
        """What it is called in short: by its data."""
        return PurePath(self.on).name or self.evaluation

    @property
    def merits(self) -> dict[str, float]:
        """What ranks them: the mean of each one's scores, without standard deviations; more is better."""
        return {key: merit for key, scores in self.students.items() if (merit := scores.merit) is not None}


class Phase(Part):
    """Where time went; `short` says what there was none for.

    `all_seconds`: of a study that others drive too, those of all its drivers; `seconds` are this one's.
    """

    what: Word
    seconds: Real
    short: Word = ""
    all_seconds: Real | None = None


class Answer(Part):
    """What there is at `speed` times the teacher's speed: the pair of that key, so many times as fast, or nobody.

    `kind`: "measured", "predicted", or "partly predicted" where one of the two is. `foretold`: the pair that would be
    better by predictions alone; None where none is.
    """

    speed: Real
    key: Word | None = None
    ratio: Real | None = None
    kind: Word | None = None
    foretold: Word | None = None


class ResultFile(Part):
    """The whole of `result.json`; the front is the fastest first. `knee` is chosen by the rule that `choose` names."""

    name: Word
    quality: Word
    objectives: tuple[Word, ...]
    reference: dict[Word, Real]
    teacher: TeacherEntry
    front: tuple[Member, ...]
    knee: Word | None
    choose: Word | None = None
    trials: tuple[TrialEntry, ...]
    answers: tuple[Answer, ...] = ()
    hypervolume_trace: tuple[Real | None, ...] = ()
    surrogate: Surrogate | None = None
    rank_fidelity: RankFidelity = RankFidelity()
    targets: tuple[MachineEntry, ...]
    proxy: ProxyEntry | None = None
    evaluations: tuple[EvaluationEntry, ...] = ()
    probe: ProbeEntry | None = None
    phases: tuple[Phase, ...] = ()
    environment: Facts = {}
    warnings: tuple[Word, ...] = ()

    @classmethod
    def from_json(cls, data: Any, place: str = "result.json") -> "ResultFile":
        """A result out of plain JSON.

        Args:
            place: what errors call the file.

        Raises:
            RunError: it is of a newer schema, or says something else than a result; the first problems are named.
        """
        check_schema(data, place)
        return read(cls, {name: value for name, value in data.items() if name != "schema"}, place)

    def to_json(self) -> dict[str, Any]:
        """The inverse of `from_json`: plain JSON."""
        return {"schema": SCHEMA} | self.model_dump(mode="json")
