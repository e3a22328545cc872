"""How long a training on a CPU will take, said once in the log: own data are used whole, and may be many rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: The estimate waits for this much of the training, and is left out where hardly anything is left then.
_LEAST_STEPS, _LEAST_SECONDS, _WORTH_SECONDS = 5, 5.0, 60.0


class ExpectedTime:
    """Says the time that is left once enough steps were taken to tell; on a CPU only."""

    def __init__(self, device: str, log: Callable[[str], None]) -> None:
        self._log: Callable[[str], None] | None = log if device == "cpu" else None
        self._first: tuple[int, float] | None = None

    def follow(self, described: dict[str, Any], seconds: float) -> None:
        """Take what `ProgressMeter.describe` gives, and the seconds trained so far."""
        if self._log is None:
            return
        self._first = self._first or (described["step"], seconds)
        steps, taken = described["step"] - self._first[0], seconds - self._first[1]
        if steps < _LEAST_STEPS or taken < _LEAST_SECONDS:
            return
        left = (described["total_steps"] - described["step"]) * taken / steps
        if left >= _WORTH_SECONDS:
            self._log(
                f"about {describe_seconds(left)} to go on this CPU: {described['total_steps']:,} steps at "
                f"{steps / taken:.2f} steps/s (data.train_samples and training.max_steps make it less)"
            )
        self._log = None


def describe_seconds(seconds: float) -> str:
    """Return `4 min` or `2 h 10 min`."""
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
