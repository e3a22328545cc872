"""Evaluation beside the loop: the rows are answered, measured and compared with the best so far."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch

from finetune30 import failpoints
from finetune30.config import TrainingConfig
from finetune30.data.encoding import EncodedSplit
from finetune30.data.problem import is_better_greater
from finetune30.errors import ConfigError, NonFiniteLossError, OutOfMemoryError
from finetune30.modeling.memory import describe_out_of_memory, free_memory
from finetune30.training.engine import Engine
from finetune30.training.problem import Conclusion, Evaluation, Trainable
from finetune30.training.progress import Progress
from finetune30.training.streams import preserved_streams

_T = TypeVar("_T")
_ROWS_NAMED_IN_ERRORS = 20
#: Evaluations in a row after which a doubt is told.
_EVALUATIONS_IN_DOUBT = 2


class Evaluator:
    """Evaluates one split again and again; `best_state` holds the best weights where these are to be loaded at the end.

    `record` takes a line of the history.
    """

    def __init__(
        self,
        engine: Engine,
        split: EncodedSplit,
        config: TrainingConfig,
        problem: Trainable,
        record: Callable[..., None],
    ) -> None:
        self._engine, self._split, self._config = engine, split, config
        self._problem, self._record = problem, record
        self._metric = config.metric_for_best_model or problem.score.name
        if not self._metric.startswith("eval_"):
            self._metric = f"eval_{self._metric}"
        wanted = config.greater_is_better
        self._greater_is_better = is_better_greater(self._metric, problem.score) if wanted is None else wanted
        self._batch_size = config.per_device_eval_batch_size
        self._last: Evaluation | None = None
        self._last_step = -1
        self.best_state: dict[str, torch.Tensor] | None = None

    def evaluate(self, progress: Progress, kept_checkpoint: str) -> None:
        """Evaluate after a step: record metrics and speed, keep the best weights, and say in `progress` when to stop.

        `kept_checkpoint` is what an error tells about checkpoints. Raises NonFiniteLossError, OutOfMemoryError and
        ConfigError for a metric that does not exist.
        """
        started = time.perf_counter()
        failpoints.reach("evaluation.start")
        with preserved_streams():
            self._last, self._last_step = self._evaluate_within_memory(), progress.global_step
            failpoints.reach("evaluation.end")
            metrics = self._require_finite(self._last, progress, kept_checkpoint).metrics
        seconds = time.perf_counter() - started
        progress.last_evaluation = {k: v for k, v in metrics.items() if isinstance(v, int | float)}
        speed = {
            "eval_runtime": seconds,
            "eval_samples_per_second": len(self._split) / max(seconds, 1e-9),
        }
        self._compare_with_best(metrics, progress)
        self._record("eval", **metrics, **speed)
        self._tell_doubts(self._last, progress)

    def finish(self, progress: Progress, kept_checkpoint: str) -> Evaluation:
        """Load the best weights where they are wanted; return the evaluation of what the engine holds then."""
        if self.best_state is not None and progress.best_step != progress.global_step:
            self._engine.load_adapter_state(self.best_state)
            self._last = None
        if self._last is None or self._last_step != progress.global_step:
            self._last = self._evaluate_within_memory()
        evaluation = self._require_finite(self._last, progress, kept_checkpoint)
        self._tell_doubts(evaluation, progress, ended=True)
        return evaluation

    def conclude(self, train: EncodedSplit, progress: Progress) -> Conclusion:
        """Return what the problem finds once, with the weights that the engine holds at the end; after `finish`."""
        assert self._last is not None  # noqa: S101 - `finish` has made it
        last = replace(self._last, chosen_of=self._count_competitors(progress))
        with preserved_streams():
            return self._within_memory(
                lambda batch_size: self._problem.conclude(self._engine, train, self._split, last, batch_size)
            )

    def _count_competitors(self, progress: Progress) -> int:
        """Return how many evaluations decided which weights these are: the best of them, or when to stop."""
        config = self._config
        if not config.load_best_model_at_end and config.early_stopping_patience is None:
            return 1
        by_steps = config.eval_strategy == "steps"
        return max(1, progress.global_step // (config.eval_steps or 1) if by_steps else progress.epoch)

    def _tell_doubts(self, evaluation: Evaluation, progress: Progress, *, ended: bool = False) -> None:
        """Record a doubt once when it begins to hold, and when it holds no more.

        It is said at the second evaluation in a row, or at the end: nearly every training begins at the baseline.
        `progress` keeps the count, so a resumed run does not say it again.
        """
        before = progress.doubts
        now = {doubt.code: before.get(doubt.code, 0) + 1 for doubt in evaluation.doubts}
        for doubt in evaluation.doubts:
            is_due = ended or now[doubt.code] >= _EVALUATIONS_IN_DOUBT
            if is_due and before.get(doubt.code, 0) < _EVALUATIONS_IN_DOUBT:
                self._record("event", event="doubt", code=doubt.code, message=doubt.words.en)
        for code, times in before.items():
            if code not in now and times >= _EVALUATIONS_IN_DOUBT:
                self._record("event", event="doubt_settled", code=code, message=f"'{code}' holds no more")
        progress.doubts = now

    def _compare_with_best(self, metrics: dict[str, Any], progress: Progress) -> None:
        if self._metric not in metrics:
            known = sorted(k for k, v in metrics.items() if isinstance(v, int | float))
            raise ConfigError(
                f"training.metric_for_best_model: '{self._metric}' is not a metric of this problem; "
                f"allowed: {', '.join(known)}",
                "name one of those, or null for the problem's own",
            )
        value = metrics[self._metric]  # None where a correlation is undefined: no improvement
        if value is not None and self._improves(value, progress.best_metric):
            progress.best_metric, progress.best_step = value, progress.global_step
            progress.evaluations_without_improvement = 0
            if self._config.load_best_model_at_end:
                self.best_state = self._engine.adapter_state()
        else:
            progress.evaluations_without_improvement += 1
        patience = self._config.early_stopping_patience
        if patience is not None and progress.evaluations_without_improvement >= patience:
            progress.stopped_early = True

    def _improves(self, value: float, best: float | None) -> bool:
        if best is None:
            return True
        gain = value - best
        return (gain if self._greater_is_better else -gain) > self._config.early_stopping_threshold

    def _evaluate_within_memory(self) -> Evaluation:
        return self._within_memory(lambda batch_size: self._problem.evaluate(self._engine, self._split, batch_size))

    def _within_memory(self, ask: Callable[[int], _T]) -> _T:
        """Ask about all rows in batches of a size; when memory runs out, of half of it."""
        while True:
            try:
                return ask(self._batch_size)
            except (RuntimeError, MemoryError) as error:
                problem = describe_out_of_memory(error)
                if problem is None:
                    raise
            if self._batch_size == 1:
                raise OutOfMemoryError(
                    f"out of memory on {self._engine.device} in evaluation with batch {self._batch_size}: {problem}",
                    "start a new run with a lower data.max_length; or free the device",
                    next_step="resume",
                )
            self._batch_size //= 2
            free_memory(self._engine.device)
            self._record(
                "event",
                event="out_of_memory",
                evaluation_batch_size=self._batch_size,
                message=f"out of memory in evaluation; going on with batch {self._batch_size}",
            )

    def _require_finite(self, evaluation: Evaluation, progress: Progress, kept_checkpoint: str) -> Evaluation:
        loss = evaluation.metrics["eval_loss"]
        if not math.isfinite(loss):
            wrong, step = evaluation.unsound_rows, progress.global_step
            raise NonFiniteLossError(
                f"the evaluation loss is {loss} after step {step}; rows: {name_rows(wrong)}",
                f"{advise_on_numbers(self._engine.precision)}; {kept_checkpoint}",
                details={"step": step, "rows": wrong},
            )
        return evaluation


def advise_on_numbers(precision: str) -> str:
    """Return what to do about numbers that are none, in a training that computes in this precision."""
    if precision == "fp32":
        return "start a new run with a lower training.learning_rate, or look at those rows"
    return "start a new run with a lower training.learning_rate or with training.precision fp32, or look at those rows"


def name_rows(names: Sequence[str]) -> str:
    """Return the first rows by name, for an error."""
    return ", ".join(names[:_ROWS_NAMED_IN_ERRORS]) + (" …" if len(names) > _ROWS_NAMED_IN_ERRORS else "")
