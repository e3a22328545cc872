"""What to try when a run did not learn, from what its training recorded: learning rate, gradient norms, losses."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median, variance
from typing import TYPE_CHECKING, Any

from finetune30.blocks import Words

if TYPE_CHECKING:
    from finetune30.config import TrainingConfig
    from finetune30.training.problem import Doubt

#: A gradient norm has jumped where it is this many times the median of those recorded before it, at least three.
_JUMP = 10.0
_NORMS_BEFORE = 3
#: The loss still falls where the mean of its last third lies below that of the third before by two standard errors of
#: the difference; with fewer than three records in a third nothing is said.
_RECORDS_IN_A_THIRD = 3
_STANDARD_ERRORS = 2.0
#: How far off the next rate to try is: rates are tried in powers of ten first.
_RATE_FACTOR = 10.0
#: A higher rate than this is not proposed: LoRA is trained with rates from 1e-5 to some 1e-3.
_HIGHEST_RATE = 1e-2


def explain_doubts(doubts: Iterable[Doubt], history: Path, config: TrainingConfig) -> list[Doubt]:
    """Return the doubts about an evaluation with what to try. `history`: the whole history.jsonl of the run."""
    found = list(doubts)
    if not found:
        return []
    records = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    advice = advise(records, config)
    return [replace(doubt, advice=(*doubt.advice, *advice)) for doubt in found]


def advise(records: Iterable[Mapping[str, Any]], config: TrainingConfig) -> tuple[Words, ...]:
    """Return what to try.

    A lower rate where a gradient norm jumped or the rate is high, another one where the loss was level; more epochs
    unless it was.
    """
    trained = [record for record in records if record["type"] == "train"]
    jump = find_jump([(record["step"], record["grad_norm"]) for record in trained])
    falls = still_falls([record["loss"] for record in trained])
    is_high = config.learning_rate * _RATE_FACTOR > _HIGHEST_RATE
    return (
        *([] if falls and not jump else [_lower_rate(config) if jump or is_high else _another_rate(config)]),
        *([_describe_jump(*jump)] if jump else []),
        *([] if falls is False else [_more_epochs(config, falls)]),
    )


def find_jump(norms: Sequence[tuple[int, float | None]]) -> tuple[int, float, float] | None:
    """Return the first recorded step whose gradient norm jumped, its norm and the median before it; or None."""
    before: list[float] = []
    for step, norm in norms:
        if norm is None:
            continue
        if len(before) >= _NORMS_BEFORE and norm > _JUMP * median(before):
            return step, norm, median(before)
        before.append(norm)
    return None


def still_falls(losses: Sequence[float]) -> bool | None:
    """Tell whether the training loss was still falling at the end; None where too little was recorded to tell."""
    size = len(losses) // 3
    if size < _RECORDS_IN_A_THIRD:
        return None
    earlier, last = losses[-2 * size : -size], losses[-size:]
    error = math.sqrt((variance(earlier) + variance(last)) / size)
    return fmean(earlier) - fmean(last) > _STANDARD_ERRORS * error


def _lower_rate(config: TrainingConfig) -> Words:
    tried, lower = f"{config.learning_rate:g}", f"{config.learning_rate / _RATE_FACTOR:g}"
    return Words(
        f"a lower training.learning_rate, for example {lower} (this run: {tried})",
        f"降低 training.learning_rate，例如 {lower}（這次是 {tried}）",
    )


def _another_rate(config: TrainingConfig) -> Words:
    """A loss that stays level tells a rate that is too high from one that is too low for so few steps as little."""
    tried = f"{config.learning_rate:g}"
    lower, higher = (f"{config.learning_rate * factor:g}" for factor in (1 / _RATE_FACTOR, _RATE_FACTOR))
    return Words(
        f"another training.learning_rate, such as {lower} or {higher} (this run: {tried}): the loss stayed level",
        f"改用其他 training.learning_rate，例如 {lower} 或 {higher}（這次是 {tried}）：損失不再下降",
    )


def _describe_jump(step: int, norm: float, before: float) -> Words:
    return Words(
        f"look at the steps before {step}: the gradient norm recorded there is {norm:.3g}, the median before it "
        f"{before:.3g}; the learning rate is too high from there on, or training.warmup_ratio too small",
        f"查看第 {step} 步之前：該處記錄的梯度範數為 {norm:.3g}，之前的中位數為 {before:.3g}；"
        "學習率自此過高，或 training.warmup_ratio 過小",
    )


def _more_epochs(config: TrainingConfig, falls: bool | None) -> Words:
    key, value = (
        ("max_steps", config.max_steps)
        if config.max_steps is not None
        else ("num_train_epochs", config.num_train_epochs)
    )
    en = "the loss was still falling" if falls else "too few steps were recorded to tell whether the loss still fell"
    zh = "訓練結束時損失仍在下降" if falls else "記錄的步數太少，看不出損失是否仍在下降"
    return Words(
        f"a higher training.{key} (this run: {value:g}): {en}", f"提高 training.{key}（這次是 {value:g}）：{zh}"
    )
