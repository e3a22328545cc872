"""The training loop.

Reads from top to bottom: prepare, then for every epoch and every optimizer step accumulate, step, log, evaluate,
checkpoint. It knows batches, an engine and a configuration; it reports through hooks and knows nothing else.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetune30 import failpoints
from finetune30.config import TrainingConfig
from finetune30.data.batching import collate, epoch_order, step_batches
from finetune30.data.encoding import EncodedSplit
from finetune30.errors import CancelledError, NonFiniteLossError, OutOfMemoryError
from finetune30.modeling.memory import describe_out_of_memory, free_memory
from finetune30.training import processes
from finetune30.training.checkpoints import Checkpoint, Checkpoints
from finetune30.training.engine import Engine
from finetune30.training.evaluator import Evaluator, advise_on_numbers, name_rows
from finetune30.training.problem import Trainable
from finetune30.training.progress import Progress, TrainingHooks, TrainingResult
from finetune30.training.schedule import count_total_steps, learning_rate_at
from finetune30.training.streams import digest_tensors, seed_everything
from finetune30.training.together import digest_streams, gather_streams

_MOST_MEMORY_RETRIES = 3
#: From its first scale of 65,536 fp16 comes down to 1 in 16 steps that are skipped; more in a row are no overflow.
_MOST_SKIPPED_IN_A_ROW = 20


def train(
    engine: Engine,
    train_split: EncodedSplit,
    evaluation_split: EncodedSplit,
    config: TrainingConfig,
    problem: Trainable,
    hooks: TrainingHooks,
    checkpoints: Checkpoints | None = None,
    resume_from: Checkpoint | None = None,
) -> TrainingResult:
    """Train to the end, from the start or from a checkpoint, and evaluate.

    Raises NonFiniteLossError, OutOfMemoryError and CancelledError; whatever was reported and checkpointed stays.
    """
    loop = _Loop(engine, train_split, evaluation_split, config, problem, hooks, checkpoints)
    return loop.run(resume_from)


class _Loop:
    def __init__(
        self,
        engine: Engine,
        train_split: EncodedSplit,
        evaluation_split: EncodedSplit,
        config: TrainingConfig,
        problem: Trainable,
        hooks: TrainingHooks,
        checkpoints: Checkpoints | None,
    ) -> None:
        self.engine, self.config, self.train_split, self.problem = engine, config, train_split, problem
        self.hooks, self.checkpoints = hooks, checkpoints
        self.world, self.rank = processes.world_size(), processes.rank()
        self.rows_per_step = config.per_device_train_batch_size * config.gradient_accumulation_steps * self.world
        self.evaluator = Evaluator(engine, evaluation_split, config, problem, self._record)
        self.last_checkpoint_step: int | None = None
        self._last_norm = 0.0
        self.progress = self._plan()

    def run(self, resume_from: Checkpoint | None) -> TrainingResult:
        if resume_from is None:
            seed_everything(self.config.seed + self.rank)
        else:
            self._restore(resume_from)
        self._seconds_before, self._samples_logged = self.progress.seconds, self.progress.samples
        self._started = self._window_started = time.perf_counter()
        while not self.progress.finished:
            self._run_epoch()
        self._count_seconds()
        return self._finish()

    def _plan(self) -> Progress:
        steps_per_epoch = math.ceil(len(self.train_split) / self.rows_per_step)
        total = count_total_steps(self.config, steps_per_epoch)
        return Progress(total, steps_per_epoch, self.config.per_device_train_batch_size)

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.engine.load_adapter_state(checkpoint.adapter)
        self.engine.load_optimizer_state(checkpoint.optimizer)
        planned = self.progress
        self.progress = Progress(**{**checkpoint.progress, "total_steps": planned.total_steps})
        self.evaluator.best_state = checkpoint.best or None
        self.last_checkpoint_step = checkpoint.step
        # Last: nothing may draw between this and the next step.
        self.engine.load_rng_state(checkpoint.streams_of(self.rank))

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
        weight = self.problem.weight(self.train_split, rows)
        loss, taken, asked = self._accumulate_within_memory(mine, weight)
        if not math.isfinite(loss):
            raise self._non_finite(f"the loss is {loss}", rows)
        norm = float(self.engine.step(rate))
        self._count_skipped(norm, rows)
        progress.global_step += 1
        progress.step_in_epoch += 1
        progress.samples += taken
        progress.tokens += int(self.train_split.lengths[rows].sum())
        progress.weight += weight
        progress.asked += asked
        progress.loss_sum += loss
        progress.window_loss_sum += loss
        progress.window_steps += 1
        progress.last_loss, progress.last_learning_rate = loss, rate
        self._last_norm = norm
        if self.rank == 0:
            self.hooks.on_progress(progress)
        failpoints.reach("training.after_step")

    def _count_skipped(self, norm: float, rows: NDArray[np.int64]) -> None:
        """Raise NonFiniteLossError for a norm that is not finite; fp16 skips such a step and halves its scale."""
        progress = self.progress
        if math.isfinite(norm):
            progress.skipped_in_a_row = 0
            return
        if self.engine.precision != "fp16" or progress.skipped_in_a_row >= _MOST_SKIPPED_IN_A_ROW:
            before = f" after {progress.skipped_in_a_row} skipped steps" if progress.skipped_in_a_row else ""
            raise self._non_finite(f"the gradient norm is {norm}{before}", rows)
        progress.skipped_steps += 1
        progress.skipped_in_a_row += 1
        self._record(
            "event", event="step_skipped", message="gradients overflowed in fp16: no weight was moved, the scale halves"
        )

    def _accumulate_within_memory(self, mine: NDArray[np.int64], weight: float) -> tuple[float, int, int]:
        """Accumulate the step's gradient; when memory runs out, halve the micro-batch and begin the step again.

        `weight` is that of the whole step, over all its micro-batches and processes. Returns the loss, and of the
        batches that the engines were given the rows and `Batch.asked`: neither comes from what the plan counts.
        """
        while True:
            # What comes back has no traceback, which would keep the failed pass and its memory alive.
            loss, given, problem = self._try_to_accumulate(mine, weight)
            counts = torch.tensor([*given, float(problem is not None)]).to(loss)
            loss, taken, asked, failures = processes.sum_tensor(torch.stack([loss, *counts])).tolist()
            if not failures:
                return loss / weight, round(taken), round(asked)
            self._shrink_micro_batch(problem or "another process ran out of memory")

    def _try_to_accumulate(
        self, mine: NDArray[np.int64], weight: float
    ) -> tuple[torch.Tensor, tuple[int, int], str | None]:
        """Return the summed loss of this process's rows, how many rows and targets, and what memory did not suffice."""
        total = torch.zeros((), dtype=torch.float64 if self.engine.device != "mps" else torch.float32)
        try:
            parts = step_batches(mine, self.progress.micro_batch_size)
            done = [self._accumulate_part(part, weight) for part in parts]
            if done:  # of the last rows of an epoch, a process may have none
                losses = torch.stack([loss for loss, _, _ in done])
                for loss in losses.cpu():  # read once: every reading waits for the device
                    total += loss
        except (RuntimeError, MemoryError) as error:
            problem = describe_out_of_memory(error)
            if problem is None:
                raise
            return torch.zeros_like(total, device=self.engine.device), (0, 0), problem
        given = sum(taken for _, taken, _ in done), sum(asked for _, _, asked in done)
        return total.to(self.engine.device), given, None

    def _accumulate_part(self, rows: NDArray[np.int64], weight: float) -> tuple[torch.Tensor, int, int]:
        """Return the summed loss of a batch, its rows, and what it asked for."""
        batch = collate(self.train_split, rows, self.engine.pad_token_id)
        loss = self.engine.accumulate(batch, 1.0 / weight)
        failpoints.reach("training.memory", lambda: torch.OutOfMemoryError("out of memory (fail point)"))
        return loss, len(batch), batch.asked

    def _shrink_micro_batch(self, problem: str) -> None:
        progress = self.progress
        self.engine.discard_gradients()
        if progress.memory_retries >= _MOST_MEMORY_RETRIES or progress.micro_batch_size == 1:
            raise OutOfMemoryError(
                f"out of memory on {self.engine.device} at step {progress.global_step + 1} with micro-batch "
                f"{progress.micro_batch_size}, after {progress.memory_retries} halvings: {problem}",
                self._advise_on_memory(),
            )
        progress.memory_retries += 1
        progress.micro_batch_size = max(1, progress.micro_batch_size // 2)
        free_memory(self.engine.device)
        self._record(
            "event",
            event="out_of_memory",
            micro_batch_size=progress.micro_batch_size,
            message=f"out of memory; going on with micro-batch {progress.micro_batch_size}, same effective batch",
        )

    def _advise_on_memory(self) -> str:
        """Return what needs less memory: where there is one, a smaller micro-batch in a step of as many rows."""
        size = self.progress.micro_batch_size
        if size == 1:
            return "start a new run with a lower data.max_length, or free the device and start a new run"
        rows = self.config.per_device_train_batch_size * self.config.gradient_accumulation_steps
        smaller = next(part for part in range(size // 2, 0, -1) if rows % part == 0)
        return (
            f"start a new run with training.per_device_train_batch_size {smaller} and "
            f"training.gradient_accumulation_steps {rows // smaller} (as many rows a step), or with a lower "
            "data.max_length; or free the device and start a new run"
        )

    def _non_finite(self, what: str, rows: NDArray[np.int64]) -> NonFiniteLossError:
        names = [self.train_split.row_ids[i] for i in rows]
        return NonFiniteLossError(
            f"{what} at step {self.progress.global_step + 1}; rows of the step: {name_rows(names)}",
            f"{advise_on_numbers(self.engine.precision)}; {self._kept_checkpoint()}",
            details={"step": self.progress.global_step + 1, "rows": names},
        )

    def _kept_checkpoint(self) -> str:
        if self.last_checkpoint_step is None:
            return "there is no checkpoint yet"
        return (
            f"the good checkpoint of step {self.last_checkpoint_step} is kept; a new run begins from it with: "
            "ft30 resume RUN --warm-start --set KEY=VALUE"
        )

    def _log_window(self) -> None:
        progress = self.progress
        if not progress.window_steps:
            return
        now = time.perf_counter()
        # A window that began before a restart has its loss from all of its steps, its speed from those since.
        rows = progress.samples - self._samples_logged
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
        self._window_started, self._samples_logged = now, progress.samples

    def _evaluation_is_due(self, epoch_ended: bool) -> bool:
        if self.config.eval_strategy == "steps":
            return self.progress.global_step % (self.config.eval_steps or 1) == 0
        return self.config.eval_strategy == "epoch" and epoch_ended

    def _evaluate(self) -> None:
        started = time.perf_counter()
        self.evaluator.evaluate(self.progress, self._kept_checkpoint())
        if self.rank == 0:
            self.hooks.on_progress(self.progress)
        self._window_started += time.perf_counter() - started  # evaluation is no training time

    def _stop_if_asked(self) -> None:
        reason = processes.agree_on_stop(self.hooks.stop_reason(), self.engine.device)
        if reason is None:
            return
        self._save_checkpoint()
        raise CancelledError(
            f"stopped after step {self.progress.global_step} of {self.progress.total_steps}",
            details={"reason": reason, "step": self.progress.global_step, "total_steps": self.progress.total_steps},
            next_step="resume",
        )

    def _checkpoint_is_due(self, epoch_ended: bool) -> bool:
        every = self.config.save_steps
        return epoch_ended or self.progress.finished or (every is not None and self.progress.global_step % every == 0)

    def _save_checkpoint(self) -> None:
        streams = gather_streams(self.engine)  # every process's: all come here at the same steps
        if self.checkpoints is None or self.rank != 0:
            return
        self._count_seconds()
        try:
            self.checkpoints.save(self.engine, asdict(self.progress), self.evaluator.best_state, streams[1:])
            self.last_checkpoint_step = self.progress.global_step
        except OSError as error:
            # The checkpoints before it are whole, so training goes on; the next one is tried at its time.
            self._record("event", event="checkpoint_failed", message=f"checkpoint not saved: {error}")

    def _count_seconds(self) -> None:
        self.progress.seconds = self._seconds_before + time.perf_counter() - self._started

    def _finish(self) -> TrainingResult:
        progress = self.progress
        digests = {
            "adapter": digest_tensors(self.engine.adapter_state()),
            "optimizer": digest_tensors(self.engine.optimizer_state()),
            "random_streams": digest_streams(gather_streams(self.engine)),
        }
        evaluation = self.evaluator.finish(progress, self._kept_checkpoint())
        concluded = self.evaluator.conclude(self.train_split, progress)
        trained = {"train_loss": progress.loss_sum / max(1, progress.global_step)}
        if progress.skipped_steps:
            trained["skipped_steps"] = progress.skipped_steps
        return TrainingResult(
            {**evaluation.metrics, **concluded.metrics, **trained},
            evaluation.rows,
            evaluation.outputs,
            progress,
            digests,
            evaluation.doubts,
            concluded.tables,
            concluded.repeat,
            concluded.answering,
        )

    def _record(self, kind: str, **values: Any) -> None:
        self.progress.records += 1
        if self.rank == 0:
            place = {"type": kind, "step": self.progress.global_step, "epoch": round(self.progress.epochs_done, 6)}
            self.hooks.on_record({**place, **values})
