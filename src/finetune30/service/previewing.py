"""Looking at rows and relabelling them, without a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune30.config import ExperimentConfig
from finetune30.errors import UsageError
from finetune30.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.versions.storage import VersionStore

SHOWN_ROWS = 20
SHOWN_CHARACTERS = 2000


def preview_data(config: ExperimentConfig, settings: Settings) -> dict[str, Any]:
    """Return what a training with this configuration would see: first rows, columns, labels, findings, ledger.

    The gate only reports here, so that what it would refuse can be looked at. Raises DataError, HubUnavailableError.
    """
    from finetune30.data.loading import load_rows
    from finetune30.data.prepare import prepare_data
    from finetune30.data.versions.storage import SPLITS, VersionStore

    data = config.data.model_copy(update={"gate": config.data.gate.model_copy(update={"mode": "report"})})
    prepared = prepare_data(
        data,
        problem_type=config.model.problem_type,
        num_labels=config.model.num_labels,
        seed=config.training.seed,
        log=lambda _: None,
        data_folder=settings.data_folder,
    )
    columns: dict[str, Any] = dict(prepared.report.get("columns") or {})
    first = load_rows(
        data,
        lambda _: None,
        problem_type=config.model.problem_type,
        num_labels=config.model.num_labels,
        load_version=VersionStore(settings.data_folder).load_tables,
    ).tables[0]
    evaluation = prepared.report.get("evaluation") or {}
    return {
        "dataset_name": config.data.dataset_name,
        "problem_type": prepared.problem_type,
        "label_names": list(prepared.label_names),
        "columns": {**columns, "available": list(first.columns)},
        "rows": [row for split in SPLITS for row in _first_rows(prepared.version_rows[split], split)],
        "label_counts": {
            "train": prepared.report.get("label_counts") or {},
            "evaluation": evaluation.get("label_counts") or {},
        },
        "report": prepared.report,
        "ledger": prepared.ledger,
    }


def load_version_rows(versions: VersionStore, name: str, split: str, offset: int, limit: int) -> dict[str, Any]:
    """Return `limit` rows of a split from `offset` on, and how many the split has. Raises NotFoundError."""
    manifest = versions.get(name)
    rows = versions.load_rows(manifest, split)
    return {"digest": manifest.digest, "total": rows.height, "rows": rows.slice(offset, limit).to_dicts()}


def relabel_rows(
    versions: VersionStore, name: str, changes: Sequence[Mapping[str, Any]], note: str = ""
) -> dict[str, Any]:
    """Make a version in which rows (`split`, `index` from 0, `label`) have other labels; the old one stays.

    Raises UsageError for a row or label that the version does not have, NotFoundError.
    """
    import polars as pl

    from finetune30.data.versions.storage import SPLITS

    manifest = versions.get(name)
    frames = {split: versions.load_rows(manifest, split) for split in SPLITS if split in manifest.chunks}
    for split, frame in frames.items():
        wanted = {change["index"]: change["label"] for change in changes if change["split"] == split}
        _require_rows(wanted, frame.height, split, manifest.label_names)
        labels = [wanted.get(number, label) for number, label in enumerate(frame["label"].to_list())]
        frames[split] = frame.with_columns(pl.Series("label", labels, dtype=frame.schema["label"]))
    if missing := {change["split"] for change in changes} - frames.keys():
        raise UsageError(
            f"version {manifest.short} has no split {', '.join(sorted(missing))}", "use: train, evaluation"
        )
    made, _ = versions.create(
        frames,
        label_names=manifest.label_names,
        problem_type=manifest.problem_type,
        source=manifest.source,
        recipe=(*manifest.recipe, {"step": "relabelled", "rows": len(changes), "from": manifest.digest}),
        parent=manifest.digest,
        note=note,
    )
    return {"digest": made.digest, "parent": manifest.digest, "changed": len(changes)}


def _first_rows(frame: pl.DataFrame, split: str) -> list[dict[str, Any]]:
    rows = frame.head(SHOWN_ROWS).to_dicts()
    return [{"split": split, **{key: _cut(value) for key, value in row.items() if value is not None}} for row in rows]


def _cut(value: Any) -> Any:
    return value[:SHOWN_CHARACTERS] if isinstance(value, str) else value


def _require_rows(wanted: Mapping[int, str], height: int, split: str, labels: Sequence[str]) -> None:
    for index, label in wanted.items():
        if not 0 <= index < height:
            raise UsageError(f"{split} has no row {index}", f"rows are numbered from 0 to {height - 1}")
        if labels and label not in labels:
            raise UsageError(f"'{label}' is no label of this version", f"use one of: {', '.join(labels)}")
