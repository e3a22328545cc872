"""Points of curves."""

from __future__ import annotations

from finetune30.ui.history import find_points, measured, thin

RECORDS = [
    {"type": "train", "step": 1, "epoch": 0.5, "loss": 0.7, "time": "2026-01-31T12:00:00Z"},
    {"type": "eval", "step": 2, "epoch": 1.0, "eval_loss": 0.6, "eval_runtime": 3, "time": "2026-01-31T12:00:05Z"},
    {"type": "train", "step": 2, "epoch": 1.0, "loss": None, "time": "2026-01-31T12:00:06Z"},
    {"type": "train", "step": 3, "epoch": 1.5, "loss": 0.5, "time": "2026-01-31T12:01:00Z"},
]


def test_time_counts_from_the_first_record_of_the_run_in_every_curve() -> None:
    assert find_points(RECORDS, "loss", "time") == [{"x": 0.0, "y": 0.7}, {"x": 60.0, "y": 0.5}]
    assert find_points(RECORDS, "eval_loss", "time") == [{"x": 5.0, "y": 0.6}]


def test_steps_and_epochs_come_as_they_are() -> None:
    assert find_points(RECORDS, "loss", "step") == [{"x": 1, "y": 0.7}, {"x": 3, "y": 0.5}]
    assert find_points(RECORDS, "loss", "epoch")[1] == {"x": 1.5, "y": 0.5}


def test_what_an_evaluation_took_is_nothing_that_it_measured() -> None:
    assert measured(RECORDS) == ["eval_loss"]


def test_thinning_keeps_the_ends() -> None:
    points = [{"x": x} for x in range(1000)]
    kept = thin(points, 100)
    assert (len(kept), kept[0], kept[-1]) == (100, points[0], points[-1])
    assert thin(points[:5], 100) == points[:5]
