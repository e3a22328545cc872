"""The loop on a tiny model: order, records, stopping, resuming."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from finetune30.blocks import Words
from finetune30.config import ExperimentConfig, TrainingConfig
from finetune30.errors import CancelledError, ConfigError, NonFiniteLossError, OutOfMemoryError
from finetune30.training import loop
from finetune30.training.checkpoints import Checkpoints
from finetune30.training.loop import train
from finetune30.training.problem import Doubt
from support.engines import build_trainable
from support.hooks import RecordingHooks
from support.present import present
from support.rows import encoded_split

PROBLEM = build_trainable()
IDENTITY = {"config": "same"}


def settings(**changes):
    values = {
        "device": "cpu",
        "precision": "fp32",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 3,
        "num_train_epochs": 3,
        "logging_steps": 2,
        "learning_rate": 0.01,
        **changes,
    }
    return TrainingConfig(**values)


def run(engine, config, hooks, checkpoints=None, start=None, rows=23):
    train_split, evaluation_split = encoded_split(rows), encoded_split(9, seed=1)
    return train(engine, train_split, evaluation_split, config, PROBLEM, hooks, checkpoints, start)


def same_tensors(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_speed_after_a_restart_counts_only_what_was_done_since(build_engine, tmp_path, monkeypatch):
    """Three of the four steps of the window were taken before; loss and weights are those of the whole window."""
    config = settings(logging_steps=4, eval_strategy="no")
    whole, whole_hooks = build_engine(), RecordingHooks()
    run(whole, config, whole_hooks)

    first = RecordingHooks(stop_at=3)
    checkpoints = Checkpoints(tmp_path / "checkpoints", IDENTITY, keep=2)
    with pytest.raises(CancelledError):
        run(build_engine(), config, first, checkpoints)

    class Clock(RecordingHooks):
        """Every step takes two seconds."""

        seconds = 0.0

        def on_progress(self, progress):
            super().on_progress(progress)
            self.seconds += 2

    hooks = Clock()
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: hooks.seconds))
    resumed = build_engine()
    run(resumed, config, hooks, checkpoints, present(checkpoints.load_latest(pytest.fail)))
    logged = [record for record in hooks.records if record["type"] == "train"]
    # Step 4 is the last of its epoch, with the 5 rows that 3 steps of 6 leave of 23.
    assert [record["step"] for record in logged] == [4, 8, 12]
    assert [record["samples_per_second"] for record in logged] == [5 / 2, 23 / 8, 23 / 8]
    assert first.untimed() + hooks.untimed() == whole_hooks.untimed()
    assert same_tensors(resumed.adapter_state(), whole.adapter_state())


def test_training_takes_every_row_once_an_epoch_and_reports(build_engine, hooks):
    config = settings()
    result = run(build_engine(), config, hooks)
    assert result.progress.global_step == 3 * math.ceil(23 / 6)
    assert result.progress.samples == 3 * 23
    assert [r["step"] for r in hooks.records if r["type"] == "train"] == [2, 4, 6, 8, 10, 12]
    assert [r["step"] for r in hooks.records if r["type"] == "eval"] == [4, 8, 12]
    assert result.metrics["train_loss"] == pytest.approx(sum(map(present, hooks.losses)) / len(hooks.losses))
    assert result.evaluation_outputs.shape == (9, 2)


def test_max_steps_ends_the_training_and_plans_the_schedule(build_engine, hooks):
    result = run(build_engine(), settings(max_steps=5), hooks)
    assert result.progress.global_step == 5
    assert hooks.records[-1]["step"] == 5
    assert [r for r in hooks.records if r["type"] == "train"][-1]["learning_rate"] == pytest.approx(0.01 * (1 - 4 / 5))


def test_evaluating_and_logging_more_often_does_not_change_the_weights(build_engine):
    quiet, busy = build_engine(), build_engine()
    run(quiet, settings(eval_strategy="no", logging_steps=100), RecordingHooks())
    run(busy, settings(eval_strategy="steps", eval_steps=1, logging_steps=1), RecordingHooks())
    assert same_tensors(quiet.adapter_state(), busy.adapter_state())


@pytest.mark.parametrize("stop_at", [1, 4, 7, 11])
def test_a_stopped_training_goes_on_bit_for_bit(build_engine, tmp_path, stop_at):
    config = settings(eval_strategy="steps", eval_steps=3)
    whole, whole_hooks = build_engine(), RecordingHooks()
    expected = run(whole, config, whole_hooks)

    first = RecordingHooks(stop_at=stop_at)
    checkpoints = Checkpoints(tmp_path / "checkpoints", IDENTITY, keep=2)
    with pytest.raises(CancelledError, match=f"stopped after step {stop_at} of 12"):
        run(build_engine(), config, first, checkpoints)
    start = present(checkpoints.load_latest(pytest.fail))
    assert start.step == stop_at

    resumed, second = build_engine(training={"seed": 1}), RecordingHooks()
    torch.manual_seed(12345)  # whatever the streams hold, the checkpoint's states win
    result = run(resumed, config, second, checkpoints, start)
    assert same_tensors(resumed.adapter_state(), whole.adapter_state())
    assert same_tensors(resumed.optimizer_state(), whole.optimizer_state())
    kept = first.untimed()[: start.progress["records"]]
    assert kept + second.untimed() == whole_hooks.untimed()
    assert result.metrics == expected.metrics


def test_early_stopping_ends_after_patience_evaluations_without_gain(build_engine, hooks):
    config = settings(
        eval_strategy="steps",
        eval_steps=1,
        early_stopping_patience=2,
        early_stopping_threshold=10.0,
        num_train_epochs=9,
    )
    result = run(build_engine(), config, hooks)
    assert result.progress.stopped_early
    assert result.progress.global_step == 3  # the first evaluation is the best, two more bring nothing


def test_best_weights_are_published_when_asked_for(build_engine, hooks):
    config = settings(eval_strategy="epoch", load_best_model_at_end=True, metric_for_best_model="eval_loss")
    result = run(build_engine(), config, hooks)
    losses = {r["step"]: r["eval_loss"] for r in hooks.records if r["type"] == "eval"}
    assert result.progress.best_step == min(losses, key=losses.__getitem__)
    assert result.metrics["eval_loss"] == pytest.approx(min(losses.values()), abs=1e-7)


@pytest.mark.parametrize(
    ("changes", "chosen_of"),
    [
        ({"eval_strategy": "steps", "eval_steps": 5}, 1),
        ({"eval_strategy": "steps", "eval_steps": 5, "load_best_model_at_end": True}, 2),
        ({"eval_strategy": "epoch", "load_best_model_at_end": True}, 3),
        ({"eval_strategy": "epoch", "early_stopping_patience": 1, "early_stopping_threshold": 10.0}, 2),
    ],
)
def test_the_conclusion_knows_how_many_evaluations_chose_the_weights(build_engine, hooks, changes, chosen_of):
    config = settings(abstention_risk=0.5, **changes)
    nowhere: Any = None
    asked = PROBLEM.with_base(nowhere, ExperimentConfig(training=config), print)
    splits = encoded_split(23), encoded_split(9, seed=1)
    result = train(build_engine(), *splits, config, asked, hooks)
    assert result.metrics["eval_abstention"]["chosen_of"] == chosen_of


def test_unknown_best_metric_is_a_config_error_that_lists_the_metrics(build_engine, hooks):
    with pytest.raises(ConfigError, match=r"eval_bleu.*allowed: eval_accuracy"):
        run(build_engine(), settings(metric_for_best_model="bleu"), hooks)


def test_infinite_weight_stops_the_run_and_names_step_and_rows(build_engine, hooks, tmp_path):
    engine = build_engine()
    checkpoints = Checkpoints(tmp_path, IDENTITY, keep=2)

    class PoisonAfterStepFour(RecordingHooks):
        def on_progress(self, progress):
            super().on_progress(progress)
            if progress.global_step == 4:
                state = engine.adapter_state()
                state[next(name for name in state if "classifier" in name)].fill_(float("nan"))
                engine.load_adapter_state(state)

    with pytest.raises(NonFiniteLossError, match=r"loss is nan at step 5; rows of the step: rows\.csv:\d+"):
        run(engine, settings(eval_strategy="no", save_steps=2), PoisonAfterStepFour(), checkpoints)
    good = [c for c in checkpoints._found(tmp_path) if c.name == "checkpoint-00000002"]
    assert good


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_effective_batch(build_engine, hooks):
    engine = build_engine()
    accumulate, sizes = engine.accumulate, []

    def scarce(batch, scale):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return accumulate(batch, scale)

    engine.accumulate = scarce
    config = settings(per_device_train_batch_size=6, gradient_accumulation_steps=1, num_train_epochs=1)
    result = run(engine, config, hooks)
    assert result.progress.micro_batch_size == 1 or result.progress.micro_batch_size == 3 // 2
    assert result.progress.samples == 23
    assert [r["event"] for r in hooks.records if "micro_batch_size" in r] == ["out_of_memory", "out_of_memory"]


def test_out_of_memory_at_the_smallest_micro_batch_fails_with_advice(build_engine, hooks):
    engine = build_engine()

    def scarce(batch, scale):
        raise torch.OutOfMemoryError("out of memory")

    engine.accumulate = scarce
    with pytest.raises(OutOfMemoryError, match="micro-batch 1"):
        run(engine, settings(), hooks)


@pytest.fixture
def half_precision_engine(build_engine):
    """An engine that scales its loss as fp16 does on CUDA; only how it is scaled is another thing on a CPU."""
    engine = build_engine()
    engine.precision, engine._scaler = "fp16", torch.amp.GradScaler("cpu")
    return engine


def test_fp16_skips_steps_that_overflow_and_says_how_many(half_precision_engine, hooks):
    engine, step = half_precision_engine, half_precision_engine.step
    overflowing = iter([True, True, False, True])

    def overflow(rate):
        if next(overflowing, False):
            next(iter(engine._trainable.values())).grad.fill_(float("inf"))
        return step(rate)

    engine.step = overflow
    result = run(engine, settings(eval_strategy="no"), hooks)
    assert result.metrics["skipped_steps"] == result.progress.skipped_steps == 3
    assert [record["step"] for record in hooks.records if record.get("event") == "step_skipped"] == [0, 1, 3]
    assert math.isfinite(result.metrics["train_loss"])


def test_fp16_whose_gradients_are_never_finite_fails_instead_of_learning_nothing(half_precision_engine, hooks):
    engine, step = half_precision_engine, half_precision_engine.step

    def overflow(rate):
        next(iter(engine._trainable.values())).grad.fill_(float("nan"))
        return step(rate)

    engine.step = overflow
    with pytest.raises(NonFiniteLossError, match=r"gradient norm is nan after 20 skipped steps at step 21"):
        run(engine, settings(eval_strategy="no", num_train_epochs=9), hooks)


class Doubting:
    """The problem, in doubt at the evaluations of these steps."""

    def __init__(self, *steps):
        self.steps, self.hooks = steps, RecordingHooks()

    def __getattr__(self, name):
        return getattr(PROBLEM, name)

    def evaluate(self, engine, split, batch_size):
        found = PROBLEM.evaluate(engine, split, batch_size)
        doubts = (
            (Doubt("planted", Words("nothing was learnt", "沒有學到東西")),) if self.hooks.steps in self.steps else ()
        )
        return replace(found, doubts=doubts)


@pytest.mark.parametrize(
    ("doubted", "told"),
    [
        ((1,), []),  # training begins at the baseline
        ((1, 2, 3, 4, 5), [("doubt", 2)]),
        ((1, 2, 4, 5), [("doubt", 2), ("doubt_settled", 3), ("doubt", 5)]),
        ((5,), [("doubt", 5)]),
    ],
)
def test_doubt_is_told_once_when_it_holds_and_once_when_it_holds_no_more(build_engine, doubted, told, tmp_path):
    problem, config = Doubting(*doubted), settings(max_steps=5, eval_strategy="steps", eval_steps=1, save_steps=1)

    def run_doubting(hooks, folder, start=None):
        problem.hooks = hooks
        kept = Checkpoints(tmp_path / folder, IDENTITY, 2)
        engine = build_engine()
        return train(engine, encoded_split(23), encoded_split(9, seed=1), config, problem, hooks, kept, start)

    hooks = RecordingHooks()
    result = run_doubting(hooks, "whole")
    assert [(r["event"], r["step"]) for r in hooks.records if r["type"] == "event"] == told
    assert [doubt.code for doubt in result.doubts] == (["planted"] if 5 in doubted else [])

    stopped, resumed = RecordingHooks(stop_at=3), RecordingHooks()
    with pytest.raises(CancelledError):
        run_doubting(stopped, "parted")
    start = present(Checkpoints(tmp_path / "parted", IDENTITY, 2).load_latest(pytest.fail))
    assert start.step == 3
    resumed.steps = 3
    run_doubting(resumed, "parted", start)
    records = [*stopped.records, *resumed.records]
    assert [(r["event"], r["step"]) for r in records if r["type"] == "event"] == told
