"""Outcomes of predictions.parquet, as written today and by versions that wrote none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from finetune30.errors import StorageError
from finetune30.service.runs.outcomes import load_outcomes


def save(folder: Path, **columns: Any) -> Path:
    path = folder / "predictions.parquet"
    rows = len(columns["label"])
    pl.DataFrame({"row_id": [f"r{number}" for number in range(rows)], **columns}).write_parquet(path)
    return path


def test_outcomes_of_the_file_are_taken_as_they_are(tmp_path: Path) -> None:
    found = load_outcomes(save(tmp_path, label=["a", "b"], prediction=["a", "a"], outcome=[False, True]))
    assert (found.frame["outcome"].to_list(), found.measure, found.mean) == ([False, True], "right", 0.5)


def test_an_error_without_a_text_is_told_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(pl, "read_parquet_schema", fail)
    with pytest.raises(StorageError, match="cannot be read: OSError"):
        load_outcomes(Path("predictions.parquet"))


def test_rows_come_sorted_with_everything_that_belongs_to_them(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    columns = {"row_id": ["c", "a", "b"], "label": [[], ["x"], []], "prediction": [["x"], ["x"], []]}
    pl.DataFrame({**columns, "outcome": [False, True, True]}).write_parquet(path)
    assert load_outcomes(path).frame.rows() == [
        ("a", ["x"], ["x"], True),
        ("b", [], [], True),
        ("c", [], ["x"], False),
    ]


@pytest.mark.parametrize(
    ("label", "prediction", "right"),
    [
        (["a", "b", "b"], ["a", "a", "b"], [True, False, True]),
        ([["a", "b"], ["a"]], [["a", "b"], []], [True, False]),
        ([["a"], []], [[], []], [False, True]),
        ([[], []], [[], []], [True, True]),
    ],
)
def test_earlier_files_are_right_where_label_and_prediction_are_equal(
    tmp_path: Path, label: list[Any], prediction: list[Any], right: list[bool]
) -> None:
    found = load_outcomes(save(tmp_path, label=label, prediction=prediction))
    assert found.frame["outcome"].to_list() == right
    assert found.measure == "right"


def test_earlier_files_of_numbers_have_squared_errors(tmp_path: Path) -> None:
    found = load_outcomes(save(tmp_path, label=[1.0, 2.0, -1.0], prediction=[1.5, 2.0, 1.0]))
    assert found.frame["outcome"].to_list() == [0.25, 0.0, 4.0]
    assert found.measure == "squared_error"
    assert found.mean == pytest.approx(4.25 / 3)


@pytest.mark.parametrize(
    ("outcome", "measure"),
    [([0.25, 4.0], "squared_error"), ([0.5, 2.0], "absolute_error"), ([0.9, 0.1], "loss")],
)
def test_losses_of_numbers_are_named_by_their_values(tmp_path: Path, outcome: list[float], measure: str) -> None:
    found = load_outcomes(save(tmp_path, label=[1.0, -1.0], prediction=[1.5, 1.0], outcome=outcome))
    assert found.measure == measure


def test_losses_of_texts_have_no_name(tmp_path: Path) -> None:
    found = load_outcomes(save(tmp_path, label=["one", "two"], prediction=["uno", "due"], outcome=[0.7, 1]))
    assert found.measure == "loss"
    assert found.mean == pytest.approx(0.85)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"label": ["a"]}, "cannot be read"),
        ({"label": ["a", "b"], "prediction": ["a", "b"], "outcome": [True, None]}, "have 1 row without an outcome"),
        ({"label": ["a"] * 2, "prediction": ["a"] * 2, "outcome": [0.5, float("nan")]}, "have 1 row without"),
        ({"label": [1.0, 2.0], "prediction": [float("inf"), float("nan")]}, "have 2 rows without an outcome"),
        ({"label": ["a"], "prediction": ["a"], "outcome": ["fine"]}, "outcomes of the type String"),
    ],
)
def test_files_without_outcomes_say_so(tmp_path: Path, columns: dict[str, Any], reason: str) -> None:
    with pytest.raises(StorageError, match=reason):
        load_outcomes(save(tmp_path, **columns))


def test_broken_files_say_so(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    path.write_bytes(b"broken")
    with pytest.raises(StorageError, match="cannot be read"):
        load_outcomes(path)
