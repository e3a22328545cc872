"""Evaluation rows of a finished run as one table: what was answered, the texts, and what rows can be told apart by.

Beside the columns of predictions.parquet a row has, where they can be told:

* `outcome`: right or wrong where classes were answered, the squared error where numbers were, which have `residual`
  (prediction less label) and `error` (its size) too;
* `confidence`: how sure the model was of its answer, 0 to 1;
* `length` (characters of all texts), `script` (of most letters of the main one; "" without letters), `file` (where the
  row was read);
* under names that begin with `_`: its texts, its place in the evaluation rows of its dataset version, and the targets
  that stand there.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from finetune30.errors import ConflictError, Finetune30Error, StorageError, first_line
from finetune30.files import sha256_of
from finetune30.service.runs.open_records import Records
from finetune30.store import Run, RunStatus

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.versions.storage import VersionStore

#: Begins the name of a column that holds a text, and of one that holds a target of the version.
TEXT, TARGET = "_text_", "_target_"
#: The row's place among the evaluation rows of its version.
INDEX = "_index"
#: What all kept tables together may take.
MOST_BYTES = 256 * 2**20

_DAMAGED = "take the files from a backup, or train again with its config.yaml"


class EvaluationFrames:
    """The tables that were asked for last: pages, filters and orders of one run follow each other. Safe in threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], pl.DataFrame] = OrderedDict()

    def load(self, records: Records, run: Run, versions: VersionStore) -> pl.DataFrame:
        """Return the table of a run, in the order of the evaluation.

        Raises ConflictError for a run without predictions, StorageError for damaged ones.
        """
        key = _identify(records, run, versions)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        frame = _with_texts(_with_judgement(_load_predictions(records, run)), run, versions)
        with self._lock:
            self._kept[key] = frame
            while self._kept and sum(kept.estimated_size() for kept in self._kept.values()) > self._most_bytes:
                self._kept.popitem(last=False)
        return frame


def load_version_rows(run: Run, versions: VersionStore) -> pl.DataFrame | None:
    """Return the evaluation rows of a run's dataset version as texts by `row_id`, None where they are not stored."""
    import polars as pl

    if run.dataset_digest is None:
        return None
    try:
        manifest = versions.get(run.dataset_digest)
        rows = versions.load_rows(manifest, "evaluation")
    except Finetune30Error:  # rows without their texts are better than none
        return None
    if "origin" not in rows.columns:
        return None
    return rows.with_row_index(INDEX).select(
        pl.col("origin").alias("row_id"),
        INDEX,
        *(pl.col(column.name).alias(TEXT + column.name) for column in manifest.schema.texts),
        *(pl.col(column.name).alias(TARGET + column.name) for column in manifest.schema.targets),
    )


def _identify(records: Records, run: Run, versions: VersionStore) -> tuple[object, ...]:
    """Return what changes with the files: a table is as old as they are."""
    path = records.require_folder(run).predictions
    manifest = versions.folder / "versions" / f"{run.dataset_digest}.json"
    return (run.id, run.status, run.manifest_sha256, _stamp(path), _stamp(manifest))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _load_predictions(records: Records, run: Run) -> pl.DataFrame:
    import polars as pl

    name = f"{run.id[:8]} '{run.name}'"
    if run.status is not RunStatus.SUCCEEDED:
        raise ConflictError(f"run {name} is {run.status} and has no predictions", "ask again when it has SUCCEEDED")
    folder = records.require_folder(run)
    path = folder.predictions
    entry = folder.load_manifest()["files"].get(path.name)
    if entry is None or not path.is_file():
        raise StorageError(f"the predictions of run {name} are missing", _DAMAGED)
    if sha256_of(path) != entry["sha256"]:
        raise StorageError(f"the predictions of run {name} are not as they were published", _DAMAGED)
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(f"the predictions of run {name} cannot be read: {first_line(error)}", _DAMAGED) from error


def _with_judgement(frame: pl.DataFrame) -> pl.DataFrame:
    """Add outcome, residual, error and confidence where the file itself has none and they can be told."""
    from finetune30.service.runs.outcomes import derive_outcome, type_empty_lists

    frame = type_empty_lists(frame)
    if not {"label", "prediction"} <= set(frame.columns):
        return frame
    label, prediction = frame["label"], frame["prediction"]
    added: list[pl.Series] = []
    if label.dtype.is_numeric() and prediction.dtype.is_numeric():
        residual = prediction - label
        outcome = derive_outcome(label, prediction).alias("outcome")
        added += [outcome, residual.alias("residual"), residual.abs().alias("error")]
    elif label.dtype == prediction.dtype:
        added += [derive_outcome(label, prediction).alias("outcome"), *_confidences(frame)]
    return frame.with_columns(series for series in added if series.name not in frame.columns)


def _confidences(frame: pl.DataFrame) -> list[pl.Series]:
    """Return how sure each answer was: the share of the one name, or of several that of the one decided most narrowly.

    Nothing where a row keeps no shares.
    """
    import polars as pl

    if frame.schema.get("probabilities") not in (pl.List(pl.Float32), pl.List(pl.Float64)):
        return []
    shares = frame["probabilities"]
    if frame["prediction"].dtype == pl.String:
        found = shares.list.max()
    else:
        element = pl.element()
        found = shares.list.eval(pl.max_horizontal(element, 1 - element)).list.min()
    found = found.cast(pl.Float64)
    are_shares = (found.is_null() | found.is_nan() | found.is_between(0, 1 + 1e-6)).all()
    return [found.alias("confidence")] if are_shares else []


def _with_texts(frame: pl.DataFrame, run: Run, versions: VersionStore) -> pl.DataFrame:
    """Add the texts, their length and script, the file, and the row's place in its version."""
    import polars as pl

    from finetune30.data.validation.set_rules import name_scripts

    frame = frame.with_columns(pl.col("row_id").str.replace(r"(:\d+){1,2}$", "").alias("file"))
    stored = load_version_rows(run, versions)
    if stored is None:
        return frame
    frame = frame.join(
        stored.unique("row_id", keep="last", maintain_order=True), "row_id", "left", maintain_order="left"
    )
    texts = [name for name in text_columns(frame) if frame.schema[name] == pl.String]
    if not texts:
        return frame
    length = pl.sum_horizontal(pl.col(name).str.len_chars() for name in texts).cast(pl.Int64)
    known = pl.col(INDEX).is_not_null()
    script = name_scripts(frame[texts[0]].fill_null("")).alias("script")
    return frame.with_columns(pl.when(known).then(length).alias("length"), script).with_columns(
        pl.when(known).then("script").alias("script")
    )


def text_columns(frame: pl.DataFrame) -> list[str]:
    """Return the columns of a table that hold texts."""
    return [name for name in frame.columns if name.startswith(TEXT)]
