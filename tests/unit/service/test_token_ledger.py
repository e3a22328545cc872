"""Supervised tokens are counted apart from each other by ledger, steps, batches and evaluation; a difference fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune30.config import TrainingConfig
from finetune30.data.batching import Batch, collate
from finetune30.data.encoding import IGNORED, EncodedSplit
from finetune30.errors import DataError
from finetune30.service.execution.token_ledger import build_token_ledger, check_supervised
from finetune30.training import evaluation, loop
from finetune30.training.loop import train
from finetune30.training.progress import TrainingResult
from support.chat_models import build_tiny_chat
from support.hooks import RecordingHooks
from support.language_engines import LanguageEngine, build_language_engine

MISTRUST = "the run is not trustworthy"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_chat(tmp_path_factory.mktemp("ledger") / "base", width=64)


def without_last_target(split: EncodedSplit, rows: Any, pad_token_id: int) -> Batch:
    """Collate rows as a fault would: each loses its end mark."""
    batch = collate(split, rows, pad_token_id)
    targets = batch.targets.copy()
    for row in targets:
        row[np.flatnonzero(row != IGNORED)[-1]] = IGNORED
    return replace(batch, targets=targets)


def finish(built: LanguageEngine, **changes: Any) -> tuple[dict[str, dict[str, int]], TrainingResult]:
    """Train, with nothing asked at the end; return the ledger and the result."""
    built.problem.targets["chat"].update(eval_generations=0, general_rows=0)
    config = TrainingConfig.model_validate(
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "num_train_epochs": 2}
        | {"eval_strategy": "no", "device": "cpu", **changes}
    )
    ledger = build_token_ledger({"train": built.split, "evaluation": built.split})
    hooks = RecordingHooks()
    return ledger, train(built.engine, built.split, built.split, config, built.problem, hooks)


@pytest.mark.parametrize("steps", [None, 4])
def test_steps_batches_and_evaluation_ask_for_what_the_ledger_says(base: Path, steps: int | None) -> None:
    ledger, result = finish(build_language_engine(base), max_steps=steps)
    check_supervised(ledger, result.progress, result.metrics)
    if steps is None:
        assert result.progress.asked == 2 * ledger["train"]["supervised"]
        assert result.progress.samples == 24


def lost(built: LanguageEngine, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    monkeypatch.setattr(module, "collate", without_last_target)
    ledger, result = finish(built)
    with pytest.raises(DataError, match=LOST[module]) as raised:
        check_supervised(ledger, result.progress, result.metrics)
    assert MISTRUST in raised.value.remedy


LOST = {
    loop: r"steps were divided by ([\d,]+) supervised tokens, but their batches asked for (?!\1)[\d,]+",
    evaluation: r"(\d+) tokens were evaluated, the ledger says (?!\1)\d+ are supervised",
}


@pytest.mark.parametrize("module", LOST)
def test_a_target_that_does_not_reach_the_engine_fails_the_run(
    base: Path, monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    lost(build_language_engine(base), monkeypatch, module)


def spoil_weights(split: EncodedSplit) -> EncodedSplit:
    """Count a token more for each row than its targets have."""
    return replace(split, token_counts={**split.token_counts, "supervised": split.token_counts["supervised"] + 1})


def test_targets_that_are_not_as_many_as_the_ledger_counts_fail_the_run(base: Path) -> None:
    split = build_language_engine(base).split
    supervised = int(split.token_counts["supervised"].sum())
    with pytest.raises(
        DataError, match=f"{supervised + 12} train tokens are supervised, but the loss asks for"
    ) as told:
        build_token_ledger({"train": spoil_weights(split)})
    assert MISTRUST in told.value.remedy


CHANGES: dict[str, Callable[[Any], Any]] = {
    r"steps were divided by [\d,]+ supervised tokens in 2 epochs of": lambda done: replace(
        done, weight=done.weight + 1
    ),
    r"steps were divided by .* but their batches asked for": lambda done: replace(done, asked=done.asked - 1),
}


@pytest.mark.parametrize("message", CHANGES)
def test_steps_that_were_divided_by_another_number_fail_the_run(base: Path, message: str) -> None:
    ledger, result = finish(build_language_engine(base))
    with pytest.raises(DataError, match=message) as raised:
        check_supervised(ledger, CHANGES[message](result.progress), result.metrics)
    assert MISTRUST in raised.value.remedy
