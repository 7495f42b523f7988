"""The learning rate over a run, so made that a longer run continues a shorter one instead of starting anew."""

from dataclasses import dataclass

from ..recipes import Recipe


@dataclass(frozen=True)
class Schedule:
    """The share of the learning rate at a step: it rises linearly, stays, and falls linearly to zero.

    `trunk` is the step at which the rate begins to fall. Up to there a shorter and a longer run take the same steps: a
    longer one that continues from the shorter one's checkpoint of that step ends as if it had run from the start. It is
    0, and nothing can be continued, in two cases: a run of less than twice the warm-up, which cuts the rise short; and
    layers that are transferred one after the other, each for a share of the whole run.
    """

    steps: int
    rise: int
    fall: int
    trunk: int

    @classmethod
    def of(cls, recipe: Recipe, steps: int, step_tokens: int) -> "Schedule":
        """The schedule of a recipe over so many steps."""
        wanted, fall = max(1, round(recipe.warmup_tokens / step_tokens)), recipe.fall(steps)
        whole = 2 * wanted <= steps and not recipe.progressive
        return cls(steps, min(wanted, max(1, steps // 2)), fall, fall if whole else 0)

    def __call__(self, step: int) -> float:
        """In (0, 1] for the steps of the run."""
        return min((step + 1) / self.rise, 1.0, (self.steps - step) / (self.steps - self.fall))
