"""What a repetition is compared by."""

from __future__ import annotations

from finetune30.service.execution.replay import _measured


def test_record_without_a_score_is_compared_by_its_metrics() -> None:
    recorded = {"eval_accuracy": 0.5, "run_id": "a", "train_runtime": 1.0}
    repeated = {**recorded, "run_id": "b", "score": 0.5, "score_name": "eval_accuracy", "score_greater_is_better": True}
    assert _measured(repeated) == _measured(recorded) == {"eval_accuracy": 0.5}
