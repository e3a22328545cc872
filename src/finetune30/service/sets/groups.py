"""A column of the source by which rows stay together, by the ids that rows have after they are prepared."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from finetune30.config.loading import LoadedConfig
from finetune30.errors import DataError
from finetune30.problems.of_rows import problem_of_rows
from finetune30.settings import Settings

if TYPE_CHECKING:
    from finetune30.data.versions.storage import VersionStore


def load_groups(
    loaded: LoadedConfig,
    column: str,
    settings: Settings,
    versions: VersionStore,
    log: Callable[[str], None],
    *,
    of_training: bool = False,
) -> dict[str, str]:
    """Return the cell of `column` by row id, without blank ones; `of_training`: of files with training rows alone.

    Raises DataError where a file lacks the column.
    """
    from finetune30.data.loading import load_rows

    data = loaded.config.data
    problem = problem_of_rows(loaded.config.model.problem_type, data.dataset_name, settings.data_folder)
    rows = load_rows(data, log, problem=problem, load_version=versions.load_tables)
    found: dict[str, str] = {}
    wanted = rows.rows.filter(rows.rows["split"] == "train") if of_training else rows.rows
    files = set(wanted["file"])
    for table in rows.tables:
        if table.name not in files:
            continue
        if column not in table.columns:
            raise DataError(f"{table.name} has no column {column!r}", f"name one of: {', '.join(table.columns)}")
        pairs = table.frame.select(table.row_ids().alias("row_id"), column).drop_nulls().iter_rows()
        found |= {row_id: str(cell) for row_id, cell in pairs if str(cell).strip()}
    return found
