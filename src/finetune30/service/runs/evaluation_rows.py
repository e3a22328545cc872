"""Evaluation rows of a finished run with what the model answered: all, or those behind a piece of its result."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from finetune30.errors import ConflictError, DataError, Finetune30Error, StorageError
from finetune30.files import sha256_of
from finetune30.problems import find_problem
from finetune30.service.runs.open_records import Records
from finetune30.store import Run, RunStatus
from finetune30.values import is_number, is_text

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.versions.storage import VersionStore

_DAMAGED = "take the files from a backup, or train again with its config.yaml"
_FILTER_REMEDY = "see GET /experiments/{id}/rows in docs/api.md"


def load_evaluation_rows(
    records: Records,
    run: Run,
    wanted: Mapping[str, Any],
    versions: VersionStore,
    *,
    offset: int = 0,
    limit: int = 100,
) -> dict[str, Any]:
    """Return `total` rows that fit a filter (`finetune30.blocks.RowFilter`), `limit` of them from `offset` on.

    A row has the columns of predictions.parquet; `outcome` (right or wrong where classes were answered, the squared
    error where numbers were); `residual` (prediction less label) of numbers; its texts, under the problem's names for
    them, null where the data version is not stored any more.
    Raises ConflictError for a run without predictions, StorageError for damaged ones, DataError for a filter that
    does not fit the columns.
    """
    frame = _with_judgement(_load_predictions(records, run))
    for column, value in wanted.items():
        frame = frame.filter(_condition(frame, column, value))
    shown = frame.slice(offset, limit)
    texts = load_row_texts(run, versions) if shown.height else {}
    none = dict.fromkeys(_names_of_texts(run))
    rows = [{"row_id": row["row_id"], **(texts.get(row["row_id"]) or none), **row} for row in shown.to_dicts()]
    return {"run_id": run.id, "total": frame.height, "columns": _filterable(frame), "rows": rows}


def load_row_texts(run: Run, versions: VersionStore) -> dict[str, dict[str, Any]]:
    """Return the texts of the evaluation rows by row id; nothing where their version is not stored any more."""
    if run.dataset_digest is None:
        return {}
    try:
        manifest = versions.get(run.dataset_digest)
        rows = versions.load_rows(manifest, "evaluation")
    except Finetune30Error:  # rows without their texts are better than none
        return {}
    if "origin" not in rows.columns:
        return {}
    texts = rows.select(column.name for column in manifest.schema.texts).to_dicts()
    return dict(zip(rows["origin"].to_list(), texts, strict=True))


def _names_of_texts(run: Run) -> list[str]:
    """Return what the run's problem calls its texts; nothing where the problem is not installed here."""
    problem = find_problem((run.metrics or {}).get("problem_type", ""))
    return [] if problem is None else [role.name for role in problem.columns if role.kind == "text"]


def _load_predictions(records: Records, run: Run) -> pl.DataFrame:
    import polars as pl

    name = f"{run.id[:8]} '{run.name}'"
    if run.status is not RunStatus.SUCCEEDED:
        raise ConflictError(f"run {name} is {run.status} and has no predictions", "ask again when it has SUCCEEDED")
    folder = records.folder(run)
    path = folder.predictions
    entry = folder.load_manifest()["files"].get(path.name)
    if entry is None or not path.is_file():
        raise StorageError(f"the predictions of run {name} are missing", _DAMAGED)
    if sha256_of(path) != entry["sha256"]:
        raise StorageError(f"the predictions of run {name} are not as they were published", _DAMAGED)
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        problem = str(error).splitlines()[0]
        raise StorageError(f"the predictions of run {name} cannot be read: {problem}", _DAMAGED) from error


def _with_judgement(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `outcome` and `residual` where the file itself has none and they can be told from label and prediction."""
    from finetune30.service.runs.outcomes import derive_outcome, type_empty_lists

    frame = type_empty_lists(frame)
    if not {"label", "prediction"} <= set(frame.columns):
        return frame
    label, prediction = frame["label"], frame["prediction"]
    are_numbers = label.dtype.is_numeric() and prediction.dtype.is_numeric()
    added = (
        [derive_outcome(label, prediction).alias("outcome")] if are_numbers or label.dtype == prediction.dtype else []
    )
    if are_numbers:
        added.append((prediction - label).alias("residual"))
    return frame.with_columns(series for series in added if series.name not in frame.columns)


def _filterable(frame: pl.DataFrame) -> list[str]:
    import polars as pl

    texts = (pl.String, pl.List(pl.String), pl.Boolean)
    return [name for name, kind in frame.schema.items() if kind in texts or kind.is_numeric()]


def _condition(frame: pl.DataFrame, column: str, value: Any) -> pl.Expr:
    """Return the condition that a column and a value of a filter stand for."""
    import polars as pl

    allowed = _filterable(frame)
    if column not in allowed:
        known = ", ".join(allowed)
        raise DataError(f"there is no column {column[:80]!r} to filter by; allowed: {known}", _FILTER_REMEDY)
    if isinstance(value, Mapping):
        if value.keys() != {"not"} or isinstance(value["not"], Mapping):
            raise _refuse(column, value, 'an object has the one key "not"')
        return _condition(frame, column, value["not"]).not_()
    kind, cell = frame.schema[column], pl.col(column)
    if kind == pl.Boolean:
        if not isinstance(value, bool):
            raise _refuse(column, value, "true or false")
        return cell == value
    if kind.is_numeric():
        return _numeric_condition(column, value)
    if kind == pl.String:
        if not is_text(value):
            raise _refuse(column, value, "a text")
        return cell == pl.lit(value)
    if is_text(value):
        return cell.list.contains(value)
    if isinstance(value, list) and all(is_text(part) for part in value):
        return cell.list.sort() == pl.lit(sorted(value), dtype=pl.List(pl.String))
    raise _refuse(column, value, "a text, or a list of texts")


def _numeric_condition(column: str, value: Any) -> pl.Expr:
    """A number, or [from, below] where null is without end."""
    import polars as pl

    cell = pl.col(column)
    if _is_finite(value):
        return cell == float(value)
    if not isinstance(value, list) or len(value) != 2 or not all(end is None or _is_finite(end) for end in value):
        raise _refuse(column, value, "a number, or [from, below] with null for no end")
    low, high = (None if end is None else float(end) for end in value)
    fits = cell.is_not_null()
    if low is not None:
        fits &= cell >= low
    if high is not None:
        fits &= cell < high
    return fits


def _is_finite(value: Any) -> bool:
    return is_number(value) and abs(value) <= sys.float_info.max


def _refuse(column: str, value: Any, allowed: str) -> DataError:
    return DataError(f"column {column!r} cannot be {ascii(value)[:80]}; allowed: {allowed}", _FILTER_REMEDY)
