"""What a run that did not learn is told to try is tried, one after the other, until it has learnt."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune30.config import TrainingConfig
from finetune30.data.encoding import EncodedSplit
from finetune30.service.execution.doubts import advise
from finetune30.training.loop import train
from support.engines import build_general, build_trainable, configure
from support.hooks import RecordingHooks
from support.rows import encoded_split

PROBLEM = build_trainable()


def rows(count: int, seed: int) -> EncodedSplit:
    """Rows whose first word tells their class."""
    split = encoded_split(count, seed=seed)
    tokens, labels = split.tokens.copy(), np.arange(count, dtype=np.int64) % 2
    tokens[split.offsets[:-1] + 1] = 10 + labels
    return replace(split, tokens=tokens, targets=labels)


class Bench:
    """Trains tiny runs, and knows of the last one what it recorded and what it is told to try."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self.records: list[dict[str, Any]] = []

    def learns(self, config: TrainingConfig, change: Callable[[Any], Any] = lambda engine: engine) -> bool:
        hooks = RecordingHooks()
        engine = change(build_general(configure(self._base, lora={"r": 4})))
        result = train(engine, rows(48, 0), rows(24, 1), config, PROBLEM, hooks)
        self.records = hooks.records
        return not result.doubts and float(result.metrics["eval_accuracy"]) > 0.9

    def advice(self, config: TrainingConfig) -> list[str]:
        return [words.en for words in advise(self.records, config)]


@pytest.fixture
def bench(tiny_model: Callable[..., Path]) -> Bench:
    return Bench(tiny_model("distilbert"))


def settings(**changes: Any) -> TrainingConfig:
    values = {"device": "cpu", "precision": "fp32", "per_device_train_batch_size": 8, "logging_steps": 1, **changes}
    return TrainingConfig(**values)


def follow(advice: str, config: TrainingConfig) -> TrainingConfig:
    """Return what the advice says, with the higher of two rates, and ten times as many epochs."""
    if lower := re.match(r"a lower training\.learning_rate, for example (\S+) ", advice):
        return config.model_copy(update={"learning_rate": float(lower[1])})
    if another := re.match(r"another training\.learning_rate, such as (\S+) or (\S+) ", advice):
        return config.model_copy(update={"learning_rate": float(another[2])})
    assert re.match(r"a higher training\.num_train_epochs \(this run: ", advice), advice
    return config.model_copy(update={"num_train_epochs": 10 * config.num_train_epochs})


@pytest.mark.parametrize(
    ("start", "told"),
    [
        ({"learning_rate": 1.0, "num_train_epochs": 10}, "a lower training.learning_rate"),
        ({"learning_rate": 1e-6, "num_train_epochs": 10}, "another training.learning_rate"),
        ({"learning_rate": 1e-3, "num_train_epochs": 1}, "a higher training.num_train_epochs"),
    ],
)
def test_a_run_that_did_not_learn_does_with_what_is_proposed(bench: Bench, start: dict[str, Any], told: str) -> None:
    config = settings(**start)
    assert not bench.learns(config)
    (first,) = [advice for advice in bench.advice(config) if advice.startswith(told)]
    config = follow(first, config)
    for _ in range(5):
        if bench.learns(config):
            return
        config = follow(bench.advice(config)[0], config)
    pytest.fail(f"nothing was learnt, at last with {config.learning_rate:g} and {config.num_train_epochs} epochs")


def test_the_steps_before_a_jump_are_in_the_history_and_a_lower_rate_or_warm_up_learns(bench: Bench) -> None:
    def shaken(engine: Any) -> Any:  # no tiny model jumps when it is wanted: one that does so above a rate
        step, taken = engine.step, 0

        def take(rate: float) -> Any:
            nonlocal taken
            taken += 1
            return step(rate) * (1000.0 if rate > 0.05 and taken > 12 else 1.0)

        engine.step = take
        return engine

    fast = settings(learning_rate=0.1, num_train_epochs=5, lr_scheduler_type="constant", warmup_ratio=0.0)
    bench.learns(fast, shaken)
    (jump,) = [advice for advice in bench.advice(fast) if advice.startswith("look at the steps before ")]
    found = re.search(r"before (\d+): the gradient norm recorded there is ([^,]+), the median before it (\S+);", jump)
    assert found is not None, jump
    recorded = {record["step"]: record["grad_norm"] for record in bench.records if record["type"] == "train"}
    assert f"{recorded[int(found[1])]:.3g}" == found[2]
    before = sorted(norm for step, norm in recorded.items() if step < int(found[1]))
    assert recorded[int(found[1])] > 10 * before[len(before) // 2]
    slower = fast.model_copy(update={"learning_rate": 0.01, "num_train_epochs": 10})
    assert bench.learns(slower, shaken)
    assert not [advice for advice in bench.advice(slower) if advice.startswith("look at")]
