"""Whether probabilities can be believed: of answers given with 80 %, are 80 % right?

Temperature scaling (Guo et al. 2017): one number by which logits are divided never changes an answer, only how sure it
is. It is fitted on evaluation rows; what it would bring is told of rows that it was not fitted on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune30.problems.classification.decisions import sigmoid, softmax

#: Bins of as many rows each; fewer rows than this a bin say nothing about their share.
_BINS, _ROWS_OF_A_BIN = 15, 10
#: Rows below which one number cannot be fitted, and above which resampling takes longer than it tells.
_LEAST_ROWS, _MOST_RESAMPLED_ROWS = 50, 20_000
_FOLDS, _RESAMPLINGS = 5, 200
#: Bounds of the logarithm of a temperature, and how exactly it is found.
_LOG_BOUNDS, _LOG_TOLERANCE = (-3.0, 3.0), 1e-4
_GOLDEN = (5**0.5 - 1) / 2

Logits = NDArray[np.float64]


@dataclass(frozen=True)
class _Judged:
    """What probabilities say, by decision: how sure, and whether it was right; with Brier score and log loss."""

    confidence: NDArray[np.float64]
    is_right: NDArray[np.bool_]
    brier: float
    log_loss: float


_Judge = Callable[[Logits, NDArray[Any]], _Judged]


def measure_calibration(outputs: NDArray[np.float32], targets: NDArray[Any], *, several: bool) -> dict[str, Any]:
    """Return how far probabilities are from what comes true; outputs (n, classes) are logits.

    `ece`: expected calibration error, over bins of as many decisions each, with its 95 % interval by resampling;
    `brier` and `log_loss`; `bins`: mean confidence, share that was right and count. With at least 50 rows also the
    `temperature`, and under `scaled` what ece, brier and log_loss are with one that was fitted on other rows.
    `several`: each label is decided by itself, targets (n, classes) of 0 and 1; else they are class ids (n,).
    """
    judge = _judge_several if several else _judge_one
    logits = outputs.astype(np.float64)
    plain = judge(logits, targets)
    found = {**_describe(plain), "ece_interval": _resample(plain), "bins": _bin(plain)}
    if len(logits) < _LEAST_ROWS:
        return found
    scaled = np.empty_like(logits)
    for rest, part in deal_folds(len(logits)):
        scaled[part] = logits[part] / fit_temperature(logits[rest], targets[rest], several=several)
    temperature = fit_temperature(logits, targets, several=several)
    return {**found, "temperature": temperature, "scaled": _describe(judge(scaled, targets))}


def deal_folds(rows: int) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield for each fifth of the rows which ones to fit on and which ones to tell the result of, bool (n,).

    Dealt by a fixed permutation: files have an order, in which every fifth row may be of one kind.
    """
    places = np.random.default_rng(0).permutation(rows) % _FOLDS
    for fold in range(_FOLDS):
        yield places != fold, places == fold


def fit_temperature(logits: Logits, targets: NDArray[Any], *, several: bool) -> float:
    """Return the temperature of the lowest log loss, by golden section over its logarithm: the loss has one valley."""
    judge = _judge_several if several else _judge_one

    def loss(log_temperature: float) -> float:
        return judge(logits / np.exp(log_temperature), targets).log_loss

    low, high = _LOG_BOUNDS
    inner = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
    losses = [loss(place) for place in inner]
    while high - low > _LOG_TOLERANCE:
        if losses[0] <= losses[1]:
            high, inner[1], losses[1] = inner[1], inner[0], losses[0]
            inner[0] = high - _GOLDEN * (high - low)
            losses[0] = loss(inner[0])
        else:
            low, inner[0], losses[0] = inner[0], inner[1], losses[1]
            inner[1] = low + _GOLDEN * (high - low)
            losses[1] = loss(inner[1])
    return float(np.exp((low + high) / 2))


def _judge_one(logits: Logits, labels: NDArray[Any]) -> _Judged:
    probabilities = softmax(logits)
    rows, chosen = np.arange(len(logits)), logits.argmax(axis=1)
    wanted = np.zeros_like(probabilities)
    wanted[rows, labels] = 1.0
    top = logits.max(axis=1)
    log_sum = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return _Judged(
        probabilities[rows, chosen],
        chosen == labels,
        float(np.square(probabilities - wanted).sum(axis=1).mean()),
        float((log_sum - logits[rows, labels]).mean()),
    )


def _judge_several(logits: Logits, labels: NDArray[Any]) -> _Judged:
    probabilities, is_there = sigmoid(logits), labels.astype(bool)
    losses = np.logaddexp(0.0, np.where(is_there, -logits, logits))
    return _Judged(
        np.maximum(probabilities, 1 - probabilities).ravel(),
        ((logits > 0) == is_there).ravel(),
        float(np.square(probabilities - is_there).mean()),
        float(losses.mean()),
    )


def _describe(judged: _Judged) -> dict[str, float]:
    return {"ece": _ece(judged.confidence, judged.is_right), "brier": judged.brier, "log_loss": judged.log_loss}


def _cuts(count: int) -> NDArray[np.int64]:
    bins = max(1, min(_BINS, count // _ROWS_OF_A_BIN))
    return np.linspace(0, count, bins + 1).round().astype(np.int64)


def _ece(confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    order, cuts = np.argsort(confidence, kind="stable"), _cuts(len(confidence))
    gaps = np.add.reduceat(confidence[order] - is_right[order], cuts[:-1])
    return float(np.abs(gaps).sum() / len(confidence))


def _bin(judged: _Judged) -> list[list[float]]:
    order, cuts = np.argsort(judged.confidence, kind="stable"), _cuts(len(judged.confidence))
    sizes = np.diff(cuts)
    sure, right = (
        np.add.reduceat(values[order].astype(np.float64), cuts[:-1]) / sizes
        for values in (judged.confidence, judged.is_right)
    )
    return [[float(a), float(b), int(c)] for a, b, c in zip(sure, right, sizes, strict=True)]


def _resample(judged: _Judged) -> list[float] | None:
    """Return the middle 95 % of the error over rows drawn with repeats; None where there are too many to draw."""
    count = len(judged.confidence)
    if count > _MOST_RESAMPLED_ROWS:
        return None
    stream = np.random.default_rng(0)
    draws = (stream.integers(0, count, count) for _ in range(_RESAMPLINGS))
    errors = [_ece(judged.confidence[rows], judged.is_right[rows]) for rows in draws]
    return [float(bound) for bound in np.quantile(errors, [0.025, 0.975])]
