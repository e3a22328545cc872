"""What a repetition is compared by."""

from __future__ import annotations

import pytest

from finetune30.service.execution.replay import _compare_histories, _compare_records, _measured

OLD = {"eval_mse": 0.5, "run_id": "a", "train_runtime": 1.0}
SINCE = {
    **{"score": 0.5, "score_name": "eval_mse", "score_greater_is_better": False, "targets": {}},
    **{"eval_baseline": {"mse": 2.0}, "eval_residuals": {"edges": [0, 1], "counts": [3]}},
}


def test_record_of_an_earlier_version_is_compared_by_what_that_recorded() -> None:
    repeated = _measured({**OLD, "run_id": "b", **SINCE})
    assert _compare_records(_measured(OLD), repeated, is_earlier=True) == []
    assert _compare_records(_measured(OLD), {**repeated, "eval_mse": 0.6}, is_earlier=True) == ["eval_mse: 0.5 -> 0.6"]
    assert _compare_records(_measured(OLD), {}, is_earlier=True) == ["eval_mse: 0.5 -> None"]


def test_record_of_this_version_is_compared_by_everything() -> None:
    recorded = _measured({**OLD, **SINCE})
    assert _compare_records(recorded, {**recorded, "targets": {"label_names": ["a"]}}, is_earlier=False) == [
        "targets.label_names: None -> ['a']"
    ]


def test_what_is_recorded_of_lines_and_of_rows_set_aside_is_no_difference_to_runs_without_it() -> None:
    ledger = {"files": [], "totals": {"train": {"used": 3}}}
    recorded = {**OLD, **SINCE, "ledger": ledger}
    since = {"ledger": {**ledger, "lines": [{"file": "a.csv"}]}, "evaluation_set_aside": {"rows": 1}}
    repeated = _measured({**recorded, **since})
    assert _compare_records(_measured(recorded), repeated, is_earlier=False) == []
    other = {**repeated, "ledger": {"files": [], "totals": {"train": {"used": 2}}}}
    assert _compare_records(_measured(recorded), other, is_earlier=False) == ["ledger.totals.train.used: 3 -> 2"]


@pytest.mark.parametrize(
    ("is_earlier", "found"), [(True, []), (False, ["step 4 eval eval_baseline: None -> {'mse': 2.0}"])]
)
def test_history_of_an_earlier_version_had_less(is_earlier: bool, found: list[str]) -> None:
    old = {"type": "eval", "step": 4, "eval_mse": 0.5, "time": "x"}
    assert _compare_histories([old], [{**old, "time": "y", "eval_baseline": {"mse": 2.0}}], is_earlier) == found
