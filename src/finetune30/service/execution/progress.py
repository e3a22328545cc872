"""What a follower sees of a training under way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from finetune30.errors import CancelledError

if TYPE_CHECKING:
    from finetune30.hub.fetching import Transfer
    from finetune30.service.execution.run_log import Console
    from finetune30.store.lease import LeaseKeeper
    from finetune30.training.progress import Progress

_MEMORY_SECONDS = 2.0


class FetchingReport:
    """Tells the run's row and the console how far a download is, and ends it when the run must stop.

    In the row: stage `fetching`, name, done_bytes, total_bytes; every byte that comes is a sign of life.
    """

    def __init__(
        self,
        keeper: LeaseKeeper,
        console: Console | None,
        stop_reason: Callable[[], str | None],
        always: Mapping[str, Any],
    ) -> None:
        """`always` stands in every report: each replaces what the row said of progress before."""
        self._keeper, self._console, self._stop_reason, self._always = keeper, console, stop_reason, dict(always)

    def __call__(self, transfer: Transfer) -> None:
        self._keeper.report(
            {
                "stage": "fetching",
                "name": transfer.name,
                "done_bytes": transfer.done_bytes,
                "total_bytes": transfer.total_bytes,
                **self._always,
            }
        )
        if self._console:
            self._console.transfer(transfer)
        if reason := self._stop_reason():
            raise CancelledError(
                f"stopped while fetching {transfer.name}", details={"reason": reason}, next_step="resume"
            )


class ProgressMeter:
    """Turns the loop's progress into the JSON of the run's row; speeds are those of this attempt."""

    def __init__(self, device: str, always: Mapping[str, Any]) -> None:
        """`always` stands in every description."""
        self.device, self._always = device, dict(always)
        self._first: tuple[float, int, int] | None = None
        self._memory_bytes = 0
        self._memory_at = 0.0

    def describe(self, progress: Progress) -> dict[str, Any]:
        """Return steps, epoch, percent, loss, learning rate, samples, speed, ETA (s), memory (bytes), best step."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, progress.global_step, progress.samples)
        started, first_step, first_samples = self._first
        seconds, steps = now - started, progress.global_step - first_step
        left = progress.total_steps - progress.global_step
        return {
            "step": progress.global_step,
            "total_steps": progress.total_steps,
            "epoch": round(progress.epochs_done, 4),
            "percent": round(100 * progress.global_step / max(progress.total_steps, 1), 2),
            "loss": progress.last_loss,
            "learning_rate": progress.last_learning_rate,
            "samples": progress.samples,
            "samples_per_second": round((progress.samples - first_samples) / seconds, 2) if steps else None,
            "eta_seconds": round(left * seconds / steps, 1) if steps else None,
            "memory_bytes": self._measure_memory(now),
            "last_evaluation": progress.last_evaluation or None,
            "best_step": progress.best_step or None,
            **self._always,
        }

    def _measure_memory(self, now: float) -> int:
        if now - self._memory_at >= _MEMORY_SECONDS:
            from finetune30.modeling.devices import peak_memory_bytes

            self._memory_at, self._memory_bytes = now, peak_memory_bytes(self.device)
        return self._memory_bytes
