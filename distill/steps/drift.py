"""Whether a training whose losses are still numbers has diverged all the same.

A student that starts as a copy of its teacher has a loss near zero, which the first steps raise: the first loss alone
is no measure. So losses are held against that of a student that knows nothing, or against the first one where that is
larger. Where they stay far above it and still rise, nothing is being learnt. Losses that are bounded, such as cosines,
never get there.
"""

from dataclasses import dataclass, field

FAR = 3.0  # times the measure
SHORTEST, LONGEST = 8, 200  # steps in a window; between them a twentieth of the steps so far


@dataclass
class Drift:
    """The losses of a run, in windows of steps. Each stage of a run minimises other losses, and is followed anew."""

    steps: int = 0  # so far
    stage: int | None = None
    measure: float | None = None
    recent: list[float] = field(default_factory=list)
    before: float | None = None  # the mean of the window before

    def begins(self, stage: int | None) -> bool:
        """Whether this stage has no measure yet."""
        return self.measure is None or self.stage != stage

    def begin(self, stage: int | None, measure: float) -> None:
        """Start a stage with the loss that all later ones are held against."""
        self.stage, self.measure, self.recent, self.before = stage, measure, [], None

    def follow(self, loss: float) -> bool:
        """Take a step's loss; whether the window that it fills is far above the measure and the window before."""
        self.steps += 1
        self.recent.append(loss)
        if len(self.recent) < min(LONGEST, max(SHORTEST, self.steps // 20)):
            return False
        mean, before = sum(self.recent) / len(self.recent), self.before
        self.recent, self.before = [], mean
        return before is not None and self.measure is not None and mean > max(before, FAR * self.measure)
