"""Calibration: what probabilities promise against what comes true."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from finetune30.blocks import Curve, Figure
from finetune30.problems.classification.calibration import deal_folds, fit_temperature, measure_calibration
from finetune30.problems.classification.calibration_view import calibration_figures, reliability_curve
from finetune30.problems.classification.decisions import sigmoid, softmax

SIZES = (4000, 5)


def draw(rows: int, classes: int, *, sharper: float, seed: int = 0) -> tuple[Any, Any]:
    """Return logits and classes that were drawn from their probabilities, the logits then made sharper."""
    stream = np.random.default_rng(seed)
    logits = stream.normal(scale=1.5, size=(rows, classes)).astype(np.float32)
    shares = softmax(logits.astype(np.float64)).cumsum(axis=1)
    return logits * np.float32(sharper), (stream.random((rows, 1)) > shares).sum(axis=1)


def test_probabilities_that_come_true_have_no_error_and_need_no_temperature() -> None:
    found = measure_calibration(*draw(*SIZES, sharper=1.0), several=False)
    assert found["ece"] < 0.03
    assert found["temperature"] == pytest.approx(1.0, abs=0.06)
    assert sum(count for *_, count in found["bins"]) == SIZES[0]
    low, high = found["ece_interval"]
    assert 0 < low < high < 0.06


def test_too_sure_probabilities_are_found_and_the_temperature_undoes_it() -> None:
    logits, labels = draw(*SIZES, sharper=3.0)
    found = measure_calibration(logits, labels, several=False)
    assert found["temperature"] == pytest.approx(3.0, rel=0.06)
    assert found["ece"] > 0.1 > 0.04 > found["scaled"]["ece"]
    assert found["scaled"]["log_loss"] < found["log_loss"]
    assert found["scaled"]["brier"] < found["brier"]
    wanted = np.eye(SIZES[1])[labels]
    assert found["brier"] == pytest.approx(np.square(softmax(logits.astype(np.float64)) - wanted).sum(axis=1).mean())
    sure = softmax(logits.astype(np.float64))[range(len(labels)), labels]
    assert found["log_loss"] == pytest.approx(-np.log(sure).mean())


def test_parts_of_a_cross_fit_do_not_follow_the_order_of_a_file() -> None:
    """Every fifth row may be of one kind; a part that has all of its kind is told of by rows without any."""
    parts = [part for _, part in deal_folds(1000)]
    assert (np.sum(parts, axis=0) == 1).all()
    every_fifth = np.arange(1000) % 5 == 0
    assert all(20 <= part[every_fifth].sum() <= 60 and part.sum() == 200 for part in parts)
    assert all((~part == rest).all() for rest, part in deal_folds(1000))
    assert all((one == part).all() for (_, one), part in zip(deal_folds(1000), parts, strict=True))


def test_labels_that_are_decided_each_alone_are_calibrated_by_decision() -> None:
    stream = np.random.default_rng(1)
    logits = stream.normal(scale=1.5, size=(2000, 3)).astype(np.float32)
    there = (stream.random(logits.shape) < sigmoid(logits.astype(np.float64))).astype(np.float32)
    found = measure_calibration(logits * np.float32(2.0), there, several=True)
    assert found["temperature"] == pytest.approx(2.0, rel=0.08)
    assert found["scaled"]["ece"] < 0.02 < found["ece"]
    assert sum(count for *_, count in found["bins"]) == 6000


def test_the_temperature_is_that_of_a_minimiser_of_the_field() -> None:
    logits, labels = draw(300, 4, sharper=2.0)

    def loss(log_temperature: float) -> float:
        scaled = softmax(logits.astype(np.float64) / np.exp(log_temperature))
        return float(-np.log(scaled[range(len(labels)), labels]).mean())

    found = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-7})
    assert fit_temperature(logits.astype(np.float64), labels, several=False) == pytest.approx(np.exp(found.x), rel=1e-3)


def test_of_few_rows_no_temperature_is_told_and_of_one_row_nothing_breaks() -> None:
    assert "temperature" not in measure_calibration(*draw(49, 2, sharper=1.0), several=False)
    found = measure_calibration(*draw(1, 2, sharper=1.0), several=False)
    assert len(found["bins"]) == 1


def test_all_faces_draw_error_temperature_and_the_curve_of_reliability() -> None:
    found = measure_calibration(*draw(400, 3, sharper=3.0), several=False)
    metrics = {"eval_calibration": {**found, "is_applied": True}}
    (error, temperature), (curve,) = calibration_figures(metrics), reliability_curve(metrics)
    assert isinstance(error, Figure)
    assert error.value == found["ece"]
    assert error.baseline is not None
    assert error.baseline[1] == found["scaled"]["ece"]
    assert isinstance(temperature, Figure)
    assert temperature.title.en == "Temperature of answers"
    assert isinstance(curve, Curve)
    assert len(curve.lines["rows"]) == 15
    assert calibration_figures({}) == reliability_curve({}) == []
    few = measure_calibration(*draw(10, 3, sharper=3.0), several=False)
    missing = calibration_figures({"eval_calibration": {**few, "is_applied": False}})[1]
    assert missing.title.en == "Temperature (too few rows)"
