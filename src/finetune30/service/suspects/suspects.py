"""Suspect labels: training rows whose label the model of a finished run disagrees with, to review and put right."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.config.loading import validate_tree
from finetune30.errors import ConflictError, DataError, DataFileError
from finetune30.files import save_bytes_atomic
from finetune30.machine.device_locks import held_gpus
from finetune30.problems import load_problem
from finetune30.service.datasets.operations import open_versions
from finetune30.service.datasets.relabel import find_fault, relabel_rows
from finetune30.service.runs.details import require_model
from finetune30.service.runs.open_records import open_records, require_records
from finetune30.settings import Settings
from finetune30.store import Run
from finetune30.values import encode_csv, say_count, unguard_formula

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.versions.manifest import Manifest

#: What a reviewer writes into new_label to remove a row.
REMOVE = "REMOVE"


@dataclass(frozen=True)
class Suspects:
    """Training rows of a run in order of doubt.

    `rows`: row (position in the version, from 0), the columns of the version, suggested_label, score (0: surely wrong,
    1: surely right) and is_suspect. `folds` models judged, each without its rows; None: the run's own.
    """

    run_id: str
    version: Manifest
    rows: pl.DataFrame
    method: str
    folds: int | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """Whose rows these are, and who judged them how."""
        return {"version": self.version.digest, "method": self.method, "folds": self.folds}

    def as_dict(self, limit: int | None = None) -> dict[str, Any]:
        """Return a JSON tree with the first `limit` rows."""
        shown = self.rows if limit is None else self.rows.head(limit)
        return {
            "run_id": self.run_id,
            **self.facts,
            "rows": self.rows.height,
            "suspects": int(self.rows["is_suspect"].sum()),
            "columns": self.version.schema.as_tree(),
            "ranking": shown.to_dicts(),
        }


def find_suspects(
    settings: Settings,
    run_name: str,
    log: Callable[[str], None],
    *,
    device: str | None = None,
    folds: int | None = None,
) -> Suspects:
    """Rank the training rows of a SUCCEEDED classification run by the doubt of a model.

    Without `folds` the probabilities are those of the run's own model on the rows it was trained on, so it has already
    bent a little towards wrong labels: what it still doubts is worth a look, what it accepts may be wrong too. With
    `folds` (2 or more) each row is judged by a model trained without it, as confident learning assumes (Northcutt et
    al. 2021, section 3), for the price of that many trainings of the run's configuration.
    Raises NotFoundError, ConflictError (no finished model, regression, or too few rows).
    """
    require_records(settings)
    with open_records(settings) as records:
        run = require_model(records.store.get(run_name))
    with open_versions(settings) as versions:
        manifest = versions.get(str(run.dataset_digest))
        rows = versions.load_rows(manifest, "train")
    problem = load_problem(manifest.problem_type)
    if problem.rank is None:
        words = problem.name.replace("_", " ")
        raise ConflictError(f"a {words} run has no labels to doubt", "choose a classification run")
    texts = [column.name for column in manifest.schema.texts]
    if folds is None:
        outputs, targets = _ask_own_model(settings, run, rows, texts, device, log)
        judge = "the run's own model on rows it has seen"
    else:
        from finetune30.service.suspects.out_of_fold import train_out_of_fold

        config = validate_tree(run.config, source=f"the record of run {run.id[:8]}")
        wanted = device or config.training.device
        with ExitStack() as held:
            try:
                held.enter_context(held_gpus(wanted))
            except ConflictError as error:
                log(f"the folds are trained on the CPU: {error.message}")
                wanted = "cpu"
            outputs, targets = train_out_of_fold(config, rows, manifest, folds, log, settings.data_folder, wanted)
        judge = f"{say_count(folds, 'models')}, each trained without the rows it judges"
    ranked, method = problem.rank(rows, outputs, targets)
    return Suspects(run.id, manifest, ranked, f"{method}; {judge}", folds)


def _ask_own_model(
    settings: Settings,
    run: Run,
    rows: pl.DataFrame,
    texts: list[str],
    device: str | None,
    log: Callable[[str], None],
) -> Any:
    from finetune30.data.texts import texts_and_pairs
    from finetune30.service.models.predict import load_model

    model = load_model(settings, None, run.id, device)
    log(f"asking the model of run {run.id[:8]} about its {say_count(rows.height, 'training rows', ',')}")
    outputs = model.predictor.collect(lambda logits, _: logits, *texts_and_pairs(rows.select(texts)))
    return outputs, model.problem.targets


def export_suspects(found: Suspects, path: Path, *, everything: bool = False) -> int:
    """Write a CSV to review; return its number of rows. Texts that a spreadsheet would run get a leading apostrophe."""
    import polars as pl

    rows = found.rows if everything else found.rows.filter(pl.col("is_suspect"))
    target = found.version.schema.targets[0].name
    texts = [column.name for column in found.version.schema.texts]
    judged = ("row", "new_label", target, "suggested_label", "score", "is_suspect")
    columns = (*judged, *texts, "origin", "version")
    shown = rows.with_columns(new_label=pl.lit(""), version=pl.lit(found.version.digest)).select(columns)
    save_bytes_atomic(path, encode_csv(columns, shown.iter_rows()).encode("utf-8-sig"))
    return rows.height


def apply_review(settings: Settings, path: Path, *, note: str = "") -> dict[str, Any]:
    """Turn a reviewed CSV into a new version: `new_label` replaces the label, REMOVE takes the row out.

    Returns what `relabel_rows` returns. Raises DataFileError for a row that does not belong to the version or a label
    that it does not know, DataError where nothing was reviewed, UsageError where no row would be left.
    """
    reviewed, version = _read_review(path)
    with open_versions(settings) as versions:
        manifest = versions.get(version)
        changes = []
        for number, (line, label) in reviewed.items():
            change = {"split": "train", "index": number, "label": None if label == REMOVE else label}
            if fault := find_fault(manifest, change):
                raise DataFileError(path.name, line, 0, fault[0], f"{fault[1]}; {REMOVE} takes the row out")
            changes.append(change)
        return relabel_rows(versions, version, changes, note or f"{say_count(len(changes), 'rows')} reviewed")


def _read_review(path: Path) -> tuple[dict[int, tuple[int, str]], str]:
    """Return the reviewed rows (position → line and new label) and the version they belong to."""
    from finetune30.data.sources.files import load_file
    from finetune30.data.sources.table import LINE

    table = load_file(path)
    for name in ("row", "new_label", "version"):
        if name not in table.columns:
            remedy = "use a file of: ft30 data suspects RUN --export FILE"
            raise DataFileError(table.name, 1, 0, f"there is no column {name!r}", remedy)
    changes: dict[int, tuple[int, str]] = {}
    versions = set()
    for number, label, version, line in table.frame.select("row", "new_label", "version", LINE).iter_rows():
        versions.add(version)
        if label and label.strip():
            if not (number or "").strip().isdigit():
                raise DataFileError(table.name, line, 0, f"{number!r} is no row number", "keep column row as it was")
            if (before := changes.get(int(number))) is not None:
                found = f"row {int(number)} has a new_label in line {before[0]} too"
                raise DataFileError(table.name, line, 0, found, "keep one of the two")
            changes[int(number)] = (line, unguard_formula(label.strip()))
    if len(versions) != 1:
        raise DataError(f"{table.name} speaks of {say_count(len(versions), 'versions')}", "review one export at a time")
    if not changes:
        raise DataError(
            f"no row of {table.name} has a new_label", f"write the right label, or {REMOVE}, into new_label"
        )
    return changes, str(versions.pop())
