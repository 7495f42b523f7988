"""The learning rate over a run, so made that a longer run continues a shorter one instead of starting anew."""

from dataclasses import dataclass

from .recipes import Recipe


@dataclass(frozen=True)
class Schedule:
    """The share of the learning rate at a step: it rises linearly, stays, and falls linearly to zero.

    Runs that rise alike are one run up to the shorter's `trunk`, the first step at which its rate falls: a longer
    one continues from there, and is what it would have been from the start.
    """

    steps: int
    rise: int
    trunk: int

    @classmethod
    def of(cls, recipe: Recipe, steps: int, step_tokens: int) -> "Schedule":
        """The schedule of a recipe over so many steps; the rise takes at most half of them."""
        rise = min(round(recipe.warmup_tokens / step_tokens), steps // 2)
        return cls(steps, max(1, rise), recipe.trunk(steps))

    def __call__(self, step: int) -> float:
        """In (0, 1] for the steps of the run."""
        return min((step + 1) / self.rise, 1.0, (self.steps - step) / (self.steps - self.trunk))
