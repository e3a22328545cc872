"""Evaluation rows of a finished run with what the model answered: all, or those behind a piece of its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from finetune30.problems import find_problem
from finetune30.service.runs.evaluation_frames import INDEX, TARGET, TEXT, EvaluationFrames, load_version_rows
from finetune30.service.runs.open_records import Records
from finetune30.service.runs.row_filters import filter_rows, filterable, sort_rows, sortable
from finetune30.store import Run

if TYPE_CHECKING:
    from finetune30.data.versions.storage import VersionStore


def load_evaluation_rows(
    frames: EvaluationFrames,
    records: Records,
    run: Run,
    versions: VersionStore,
    wanted: Mapping[str, Any],
    *,
    text: str = "",
    sort_by: str | None = None,
    descending: bool = False,
    offset: int = 0,
    limit: int = 100,
) -> dict[str, Any]:
    """Return `total` rows that fit a filter and contain a text, `limit` of them from `offset` on, in an order.

    A row has its texts under the problem's names for them (null where the data version is not stored any more), the
    columns of predictions.parquet and those of `evaluation_frames`, and its place in the version (`index`, `stored`).
    Raises ConflictError for a run without predictions, StorageError for damaged ones, DataError for a filter or an
    order that does not fit the columns.
    """
    frame = frames.load(records, run, versions)
    found = sort_rows(filter_rows(frame, wanted, text), sort_by, descending=descending)
    none = dict.fromkeys(_names_of_texts(run))
    return {
        "run_id": run.id,
        "version": run.dataset_digest if INDEX in frame.columns else None,
        "total": found.height,
        "columns": filterable(frame),
        "sortable": sortable(frame),
        "rows": [_describe(row, none) for row in found.slice(offset, limit).to_dicts()],
    }


def load_row_texts(run: Run, versions: VersionStore) -> dict[str, dict[str, Any]]:
    """Return the texts of the evaluation rows by row id; nothing where their version is not stored any more."""
    rows = load_version_rows(run, versions)
    if rows is None:
        return {}
    names = [name for name in rows.columns if name.startswith(TEXT)]
    texts = rows.select(names).rename({name: name.removeprefix(TEXT) for name in names}).to_dicts()
    return dict(zip(rows["row_id"].to_list(), texts, strict=True))


def _describe(row: dict[str, Any], none: Mapping[str, None]) -> dict[str, Any]:
    """Return a row as the API gives it: id, texts, then all that is known of its answer."""
    is_stored = row.get(INDEX) is not None
    texts = {name.removeprefix(TEXT): value for name, value in row.items() if name.startswith(TEXT)}
    targets = {name.removeprefix(TARGET): value for name, value in row.items() if name.startswith(TARGET)}
    return {
        "row_id": row["row_id"],
        **(texts if is_stored else none),
        **{name: value for name, value in row.items() if not name.startswith("_")},
        "index": row.get(INDEX),
        "stored": targets if is_stored else None,
    }


def _names_of_texts(run: Run) -> list[str]:
    """Return what the run's problem calls its texts; nothing where the problem is not installed here."""
    problem = find_problem((run.metrics or {}).get("problem_type", ""))
    return [] if problem is None else [role.name for role in problem.columns if role.kind == "text"]
