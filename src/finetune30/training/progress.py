"""What the loop counts, what it returns, and how it reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:
    from finetune30.training.problem import Doubt


class TrainingHooks(Protocol):
    """How the loop reports; called in process 0 only, except `stop_reason`."""

    def on_progress(self, progress: Progress) -> None:
        """Follow every optimizer step and every evaluation; must be cheap."""
        ...

    def on_record(self, record: dict[str, Any]) -> None:
        """Take a line of the history: `type` is train, eval or event."""
        ...

    def stop_reason(self) -> str | None:
        """Return None to go on, "cancelled" to stop, "released" to checkpoint and hand the run back, "paused" to
        checkpoint and wait.
        """
        ...


@dataclass
class Progress:
    """Where the loop stands. Everything here is saved in checkpoints and restored from them."""

    total_steps: int
    steps_per_epoch: int
    micro_batch_size: int
    global_step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    samples: int = 0
    tokens: int = 0
    #: What the losses of all steps were divided by (rows, or supervised tokens), summed.
    weight: float = 0.0
    #: What the batches given to the engine asked for (see `Batch.asked`), summed.
    asked: int = 0
    loss_sum: float = 0.0
    window_loss_sum: float = 0.0
    window_steps: int = 0
    last_loss: float | None = None
    last_learning_rate: float = 0.0
    last_evaluation: dict[str, Any] = field(default_factory=dict)
    best_metric: float | None = None
    best_step: int = 0
    evaluations_without_improvement: int = 0
    memory_retries: int = 0
    #: Steps of fp16 whose gradients overflowed, so that no weight was moved; those since the last one that did.
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    seconds: float = 0.0
    stopped_early: bool = False
    records: int = 0
    #: Codes of the doubts about the last evaluation, and how many evaluations in a row they held.
    doubts: dict[str, int] = field(default_factory=dict)

    @property
    def epochs_done(self) -> float:
        """Epochs as a fraction, for logs."""
        return self.epoch + self.step_in_epoch / self.steps_per_epoch

    @property
    def finished(self) -> bool:
        """Tell whether no step is left to take."""
        return self.stopped_early or self.global_step >= self.total_steps


@dataclass(frozen=True)
class TrainingResult:
    """Final metrics (`eval_…`, `train_loss`), rows evaluated, what is kept of each (or None), and the progress.

    Everything counts from the very start: what earlier attempts did up to the checkpoint is part of it. `digests` are
    sha256 of what the training ended with: adapter, optimizer and random streams after the last step. `doubts` are the
    problem's about the final evaluation, `tables` what it publishes beside the metrics, by name; `repeat` asks the
    saved model for something of that again, `answering` is what it answers with besides weights (see `Conclusion`).
    """

    metrics: dict[str, Any]
    evaluated_rows: int
    evaluation_outputs: NDArray[Any] | None
    progress: Progress
    digests: dict[str, str]
    doubts: tuple[Doubt, ...] = ()
    tables: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    repeat: Callable[[Any, float], str] | None = None
    answering: Mapping[str, Any] = field(default_factory=dict)


class QuietHooks:
    """Hooks of a training that nobody watches; without `stop_reason` it runs to its end."""

    def __init__(self, stop_reason: Callable[[], str | None] | None = None) -> None:
        self._stop_reason = stop_reason

    def on_progress(self, progress: Progress) -> None:
        """Nobody looks."""

    def on_record(self, record: dict[str, Any]) -> None:
        """Nothing is kept."""

    def stop_reason(self) -> str | None:
        """Return what was given, or that nobody stops it."""
        return None if self._stop_reason is None else self._stop_reason()
