"""The training loop.

Reads from top to bottom: prepare, then for every epoch and every optimizer step accumulate, step, log, evaluate,
checkpoint. It knows batches, an engine and a configuration; it reports through hooks and knows nothing else.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from finetune30.config import TrainingConfig
from finetune30.data.batching import Batch, collate, epoch_order, step_batches
from finetune30.data.encoding import EncodedSplit
from finetune30.errors import CancelledError, ConfigError, NonFiniteLossError, OutOfMemoryError
from finetune30.training import processes
from finetune30.training.checkpoints import Checkpoint, Checkpoints
from finetune30.training.engine import Engine
from finetune30.training.evaluation import compute_evaluation, predict_logits
from finetune30.training.metrics import default_metric, is_greater_better
from finetune30.training.schedule import learning_rate_at

_MOST_MEMORY_RETRIES = 3
_ROWS_NAMED_IN_ERRORS = 20


class TrainingHooks(Protocol):
    """How the loop reports; called in process 0 only, except `stop_reason`."""

    def on_step(self, progress: Progress) -> None:
        """Follow every optimizer step; must be cheap."""
        ...

    def on_record(self, record: dict[str, Any]) -> None:
        """Take a line of the history: `type` is train, eval or event."""
        ...

    def stop_reason(self) -> str | None:
        """Return None to go on, "cancelled" to stop, "released" to checkpoint and hand the run back."""
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
    stopped_early: bool = False
    records: int = 0

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
    """Final metrics (`eval_…`, `train_loss`), logits of the evaluation rows (n, num_labels) and the progress.

    `session_…` count what this attempt did in `train_seconds`; `progress` counts from the very start.
    """

    metrics: dict[str, Any]
    evaluation_logits: NDArray[np.float32]
    progress: Progress
    train_seconds: float
    session_steps: int
    session_samples: int
    session_tokens: int


def train(
    engine: Engine,
    train_split: EncodedSplit,
    evaluation_split: EncodedSplit,
    config: TrainingConfig,
    label_names: tuple[str, ...],
    hooks: TrainingHooks,
    checkpoints: Checkpoints | None = None,
    resume_from: Checkpoint | None = None,
) -> TrainingResult:
    """Train to the end, from the start or from a checkpoint, and evaluate.

    Raises NonFiniteLossError, OutOfMemoryError and CancelledError; whatever was reported and checkpointed stays.
    """
    loop = _Loop(engine, train_split, evaluation_split, config, label_names, hooks, checkpoints)
    return loop.run(resume_from)


class _Loop:
    def __init__(
        self,
        engine: Engine,
        train_split: EncodedSplit,
        evaluation_split: EncodedSplit,
        config: TrainingConfig,
        label_names: tuple[str, ...],
        hooks: TrainingHooks,
        checkpoints: Checkpoints | None,
    ) -> None:
        self.engine, self.config, self.label_names = engine, config, label_names
        self.train_split, self.evaluation_split = train_split, evaluation_split
        self.hooks, self.checkpoints = hooks, checkpoints
        self.world, self.rank = processes.world_size(), processes.rank()
        self.rows_per_step = config.per_device_train_batch_size * config.gradient_accumulation_steps * self.world
        self.metric = config.metric_for_best_model or default_metric(engine.problem_type)
        if not self.metric.startswith("eval_"):
            self.metric = f"eval_{self.metric}"
        direction = config.greater_is_better
        self.greater_is_better = is_greater_better(self.metric) if direction is None else direction
        self.best_state: dict[str, torch.Tensor] | None = None
        self.last_logits: NDArray[np.float32] | None = None
        self.last_evaluation_step = -1
        self.progress = self._plan()

    def run(self, resume_from: Checkpoint | None) -> TrainingResult:
        if resume_from is None:
            seed_everything(self.config.seed + self.rank)
        else:
            self._restore(resume_from)
        self.start = replace(self.progress)
        started = time.perf_counter()
        self._window_started = started
        while not self.progress.finished:
            self._run_epoch()
        seconds = time.perf_counter() - started
        return self._finish(seconds)

    def _plan(self) -> Progress:
        steps_per_epoch = math.ceil(len(self.train_split) / self.rows_per_step)
        total = self.config.max_steps or steps_per_epoch * self.config.num_train_epochs
        return Progress(total, steps_per_epoch, self.config.per_device_train_batch_size)

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.engine.load_adapter_state(checkpoint.adapter)
        self.engine.load_optimizer_state(checkpoint.optimizer)
        planned = self.progress
        self.progress = Progress(**{**checkpoint.progress, "total_steps": planned.total_steps})
        self.best_state = checkpoint.best or None
        self.engine.load_rng_state(checkpoint.rng)  # last: nothing may draw between this and the next step

    def _run_epoch(self) -> None:
        progress = self.progress
        order = epoch_order(self.train_split.lengths, self.rows_per_step, self.config.seed, progress.epoch)
        while progress.step_in_epoch < progress.steps_per_epoch and not progress.finished:
            self._take_step(order[progress.step_in_epoch])
            epoch_ended = progress.step_in_epoch == progress.steps_per_epoch
            if epoch_ended:
                progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
            if progress.global_step % self.config.logging_steps == 0 or progress.finished:
                self._log_window()
            if self._evaluation_is_due(epoch_ended):
                self._evaluate()
            self._stop_if_asked()
            if self._checkpoint_is_due(epoch_ended):
                self._save_checkpoint()
            if epoch_ended:
                return

    def _take_step(self, rows: NDArray[np.int64]) -> None:
        """Take one optimizer step on the given rows, all processes together."""
        progress = self.progress
        rate = learning_rate_at(progress.global_step, progress.total_steps, self.config)
        mine = rows[self.rank :: self.world]
        loss = self._accumulate_within_memory(mine, len(rows))
        if not math.isfinite(loss):
            raise self._non_finite(f"the loss is {loss}", rows)
        norm = float(self.engine.step(rate))
        if not math.isfinite(norm) and self.engine.precision != "fp16":  # fp16 skips such a step and lowers its scale
            raise self._non_finite(f"the gradient norm is {norm}", rows)
        progress.global_step += 1
        progress.step_in_epoch += 1
        progress.samples += len(rows)
        progress.tokens += int(self.train_split.lengths[rows].sum())
        progress.loss_sum += loss
        progress.window_loss_sum += loss
        progress.window_steps += 1
        progress.last_loss, progress.last_learning_rate = loss, rate
        self._last_norm = norm
        if self.rank == 0:
            self.hooks.on_step(progress)

    def _accumulate_within_memory(self, mine: NDArray[np.int64], rows_in_step: int) -> float:
        """Accumulate the step's gradient; when memory runs out, halve the micro-batch and begin the step again."""
        while True:
            streams = self.engine.rng_state() if self._memory_may_run_out() else None
            try:
                return self._accumulate(mine, rows_in_step)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink_micro_batch(error)
                if streams is not None:
                    self.engine.load_rng_state(streams)

    def _accumulate(self, mine: NDArray[np.int64], rows_in_step: int) -> float:
        total = torch.zeros((), dtype=torch.float64 if self.engine.device != "mps" else torch.float32)
        losses = [
            self.engine.accumulate(self._collate(part), 1.0 / rows_in_step)
            for part in step_batches(mine, self.progress.micro_batch_size)
        ]
        for loss in losses:
            total += loss.cpu()
        return float(processes.sum_tensor(total.to(self.engine.device))) / rows_in_step

    def _collate(self, rows: NDArray[np.int64]) -> Batch:
        return collate(self.train_split, rows, self.engine.pad_token_id)

    def _memory_may_run_out(self) -> bool:
        # Copying random states costs a synchronisation on CUDA; a CPU run that has no memory left is killed anyway.
        return self.engine.device != "cpu" and self.progress.global_step == 0

    def _shrink_micro_batch(self, error: BaseException) -> None:
        progress = self.progress
        self.engine.discard_gradients()
        if progress.memory_retries >= _MOST_MEMORY_RETRIES or progress.micro_batch_size == 1 or self.world > 1:
            raise OutOfMemoryError(
                f"out of memory on {self.engine.device} at step {progress.global_step + 1} with micro-batch "
                f"{progress.micro_batch_size} and max_length tokens a row: {_first_line(error)}",
                "lower data.max_length or per_device_train_batch_size (raise gradient_accumulation_steps alike)",
            ) from error
        progress.memory_retries += 1
        progress.micro_batch_size = max(1, progress.micro_batch_size // 2)
        if self.engine.device.startswith("cuda"):
            torch.cuda.empty_cache()
        self._record(
            "event",
            event="out_of_memory",
            message=f"out of memory; going on with micro-batch {progress.micro_batch_size}, same effective batch",
        )

    def _non_finite(self, what: str, rows: NDArray[np.int64]) -> NonFiniteLossError:
        names = [self.train_split.row_ids[i] for i in rows]
        shown = ", ".join(names[:_ROWS_NAMED_IN_ERRORS]) + (" …" if len(names) > _ROWS_NAMED_IN_ERRORS else "")
        return NonFiniteLossError(
            f"{what} at step {self.progress.global_step + 1}; rows of the step: {shown}",
            "lower training.learning_rate, use precision fp32, or look at those rows; the last good checkpoint is kept",
            details={"step": self.progress.global_step + 1, "rows": names},
        )

    def _log_window(self) -> None:
        progress = self.progress
        if not progress.window_steps:
            return
        now = time.perf_counter()
        rows = progress.window_steps * self.rows_per_step
        self._record(
            "train",
            loss=progress.window_loss_sum / progress.window_steps,
            learning_rate=progress.last_learning_rate,
            grad_norm=self._last_norm if math.isfinite(self._last_norm) else None,
            samples=progress.samples,
            tokens=progress.tokens,
            samples_per_second=rows / max(now - self._window_started, 1e-9),
        )
        progress.window_loss_sum, progress.window_steps = 0.0, 0
        self._window_started = now

    def _evaluation_is_due(self, epoch_ended: bool) -> bool:
        if self.config.eval_strategy == "steps":
            return self.progress.global_step % (self.config.eval_steps or 1) == 0
        return self.config.eval_strategy == "epoch" and epoch_ended

    def _evaluate(self) -> None:
        started = time.perf_counter()
        self.last_logits, self.last_evaluation_step = self._predict(), self.progress.global_step
        metrics = self._metrics_of(self.last_logits)
        seconds = time.perf_counter() - started
        self.progress.last_evaluation = {k: v for k, v in metrics.items() if isinstance(v, int | float)}
        speed = {
            "eval_runtime": seconds,
            "eval_samples_per_second": len(self.evaluation_split) / max(seconds, 1e-9),
        }
        self._compare_with_best(metrics)
        self._record("eval", **metrics, **speed)
        self._window_started += time.perf_counter() - started  # evaluation is no training time

    def _compare_with_best(self, metrics: dict[str, Any]) -> None:
        progress = self.progress
        if self.metric not in metrics:
            known = sorted(k for k, v in metrics.items() if isinstance(v, int | float))
            raise ConfigError(
                f"training.metric_for_best_model: '{self.metric}' is not a metric of this task; "
                f"allowed: {', '.join(known)}",
                "name one of those, or null for the task's own",
            )
        value = metrics[self.metric]  # None where a correlation is undefined: no improvement
        if value is not None and self._improves(value):
            progress.best_metric, progress.best_step = value, progress.global_step
            progress.evaluations_without_improvement = 0
            if self.config.load_best_model_at_end:
                self.best_state = self.engine.adapter_state()
        else:
            progress.evaluations_without_improvement += 1
        patience = self.config.early_stopping_patience
        if patience is not None and progress.evaluations_without_improvement >= patience:
            progress.stopped_early = True

    def _stop_if_asked(self) -> None:
        reason = self.hooks.stop_reason()
        if not processes.any_process(reason is not None, self.engine.device):
            return
        self._save_checkpoint()
        raise CancelledError(
            f"stopped after step {self.progress.global_step} of {self.progress.total_steps}",
            "go on with: ft30 resume RUN",
            details={"reason": reason or "cancelled", "step": self.progress.global_step},
        )

    def _improves(self, value: float) -> bool:
        if self.progress.best_metric is None:
            return True
        gain = value - self.progress.best_metric
        return (gain if self.greater_is_better else -gain) > self.config.early_stopping_threshold

    def _checkpoint_is_due(self, epoch_ended: bool) -> bool:
        every = self.config.save_steps
        return epoch_ended or self.progress.finished or (every is not None and self.progress.global_step % every == 0)

    def _save_checkpoint(self) -> None:
        if self.checkpoints is None or self.rank != 0:
            return
        try:
            self.checkpoints.save(self.engine, asdict(self.progress), self.best_state)
        except OSError as error:
            # The checkpoints before it are whole, so training goes on; the next one is tried at its time.
            self._record("event", event="checkpoint_failed", message=f"checkpoint not saved: {error}")

    def _finish(self, seconds: float) -> TrainingResult:
        progress = self.progress
        if self.best_state is not None and progress.best_step != progress.global_step:
            self.engine.load_adapter_state(self.best_state)
            self.last_logits = None
        if self.last_logits is None or self.last_evaluation_step != progress.global_step:
            self.last_logits = self._predict()
        metrics = self._metrics_of(self.last_logits)
        metrics["train_loss"] = progress.loss_sum / max(1, progress.global_step)
        return TrainingResult(
            metrics,
            self.last_logits,
            progress,
            seconds,
            session_steps=progress.global_step - self.start.global_step,
            session_samples=progress.samples - self.start.samples,
            session_tokens=progress.tokens - self.start.tokens,
        )

    def _predict(self) -> NDArray[np.float32]:
        return predict_logits(self.engine, self.evaluation_split, self.config.per_device_eval_batch_size)

    def _metrics_of(self, logits: NDArray[np.float32]) -> dict[str, Any]:
        labels = self.evaluation_split.labels
        return compute_evaluation(logits, labels, self.engine.problem_type, self.label_names)

    def _record(self, kind: str, **values: Any) -> None:
        self.progress.records += 1
        if self.rank == 0:
            place = {"type": kind, "step": self.progress.global_step, "epoch": round(self.progress.epochs_done, 6)}
            self.hooks.on_record({**place, **values})


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell an out-of-memory error of CUDA, MPS or the CPU allocator from every other one."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in str(error).lower()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
