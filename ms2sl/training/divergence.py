"""When a training has diverged: one rule for every loss, whatever its scale and its sign."""

import math
import statistics
from dataclasses import asdict, dataclass, field
from itertools import pairwise

from ms2sl.errors import InputError

RECENT = 20  # reports that the loss is compared with ...
ENOUGH = 8  # ... if there are so many: how much fewer change from one to the next may be chance
NOISE = 20  # usual changes from one report to the next that no noise reaches


class Diverged(InputError):
    """The loss or its gradient became NaN or infinite, or the loss rose far above what it was."""


@dataclass
class LossHistory:
    """The losses of one training, as far as the rule needs them: the first, the lowest and the latest reported ones."""

    first: float | None = None
    lowest: float = math.inf
    recent: list[float] = field(default_factory=list)

    def check(self, step: int, loss: float, gradient_norm: float) -> None:
        """Adds a reported loss. Raises Diverged.

        It has diverged if it stands above the median of the recent ones by more than all that was learned (first - lowest), and by more
        than ``NOISE`` times the median change from one report to the next. Adding a constant to a loss, or scaling it, decides nothing.
        """
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            what = f"loss became {loss}" if not math.isfinite(loss) else f"gradient became {gradient_norm}"
            raise Diverged(f"training diverged: the {what} by step {step}; lower training.learning_rate or look for broken clips")
        if len(self.recent) >= ENOUGH:
            usual = statistics.median(self.recent)
            change = statistics.median(abs(after - before) for before, after in pairwise(self.recent))
            if loss > usual + max(self.first - self.lowest, NOISE * change):
                raise Diverged(
                    f"training diverged: the loss rose from {usual:.3g} to {loss:.3g} by step {step}; lower training.learning_rate"
                )
        self.first = loss if self.first is None else self.first
        self.lowest = min(self.lowest, loss)
        self.recent = [*self.recent, loss][-RECENT:]

    def state(self) -> dict:
        """As JSON can hold it; ``LossHistory(**state)`` is the same again."""
        return asdict(self) if self.recent else {}
