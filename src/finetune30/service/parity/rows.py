"""The evaluation rows of a run on which what serves, or was exported, is held against its adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetune30.errors import Finetune30Error, StorageError
from finetune30.problems import load_problem

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.problem import Targets
    from finetune30.data.versions.storage import VersionStore
    from finetune30.store import Run, RunFolder


def load_measured_rows(
    run: Run, folder: RunFolder, versions: VersionStore, targets: Targets, most: int
) -> pl.DataFrame:
    """Return at most `most` of the evaluation rows that the run answered, in their order, as prepared ones.

    Raises StorageError where the rows are not stored any more: without them nothing can be measured.
    """
    import polars as pl

    from finetune30.data.prepare import rows_of_version

    try:
        manifest = versions.get(str(run.dataset_digest))
        stored = versions.load_rows(manifest, "evaluation")
    except Finetune30Error as error:
        raise StorageError(
            f"the evaluation rows of run {run.id[:8]} are not stored any more, and nothing can be measured without "
            f"them: {error.message}",
            f"take the adapter with: ft30 export {run.id[:8]} --as zip",
        ) from error
    answered = pl.read_parquet(folder.predictions, columns=["row_id"])["row_id"]
    rows = rows_of_version(stored, manifest.schema)
    rows = rows.filter(pl.col("row_id").is_in(answered.unique().implode())).head(most)
    if rows.is_empty():
        raise StorageError(
            f"none of the rows that run {run.id[:8]} answered is among the evaluation rows of its data version",
            "take the data folder from a backup",
        )
    return load_problem(manifest.problem_type).encode_targets(rows, targets)
