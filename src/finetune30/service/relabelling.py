"""Other labels for rows of a dataset version, which make a new version; the one before stays as it is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune30.errors import UsageError

if TYPE_CHECKING:
    from finetune30.data.versions.manifest import Manifest
    from finetune30.data.versions.storage import VersionStore


def relabel_rows(
    versions: VersionStore, name: str, changes: Sequence[Mapping[str, Any]], note: str = ""
) -> dict[str, Any]:
    """Make a version in which rows (`split`, `index` from 0) have another `label`, or are gone where it is None.

    Labels are written as the version stores them: a name, a JSON list of names (multi-label) or a number (regression).
    Raises UsageError for a row or label that the version does not have, NotFoundError.
    """
    import polars as pl

    from finetune30.data.versions.storage import SPLITS

    manifest = versions.get(name)
    frames = {split: versions.load_rows(manifest, split) for split in SPLITS if split in manifest.chunks}
    if missing := {change["split"] for change in changes} - frames.keys():
        raise UsageError(
            f"version {manifest.short} has no split {', '.join(sorted(missing))}", "use: train, evaluation"
        )
    removed = 0
    for split, frame in frames.items():
        wanted = {change["index"]: change["label"] for change in changes if change["split"] == split}
        _require_rows(wanted, frame.height, split, manifest)
        labels = [wanted.get(number, label) for number, label in enumerate(frame["label"].to_list())]
        gone = [number for number, label in wanted.items() if label is None]
        kept = frame.with_columns(pl.Series("label", labels, dtype=frame.schema["label"]))
        frames[split] = kept.with_row_index("at").filter(~pl.col("at").is_in(gone)).drop("at")
        removed += len(gone)
    made, is_new = versions.create(
        frames,
        label_names=manifest.label_names,
        problem_type=manifest.problem_type,
        source=manifest.source,
        recipe=(*manifest.recipe, {"step": "relabel", "rows": len(changes), "from": manifest.digest}),
        statistics=_count(frames, manifest),
        parent=manifest.digest,
        note=note,
    )
    return {
        "digest": made.digest,
        "parent": manifest.digest,
        "is_new": is_new,
        "changed": len(changes) - removed,
        "removed": removed,
    }


def _count(frames: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
    from finetune30.data.analysis.statistics import balance, count_labels

    main = frames.get("train", next(iter(frames.values())))
    counts = count_labels(main["label"], manifest.problem_type)
    return {"total_samples": main.height, "label_counts": counts, **balance(counts)}


def _require_rows(wanted: Mapping[int, str | None], height: int, split: str, manifest: Manifest) -> None:
    for index, label in wanted.items():
        if not 0 <= index < height:
            raise UsageError(f"{split} has no row {index}", f"rows are numbered from 0 to {height - 1}")
        if label is not None and not _is_label(label, manifest):
            known = ", ".join(manifest.label_names) or "a number"
            raise UsageError(f"{label!r} is no label of this version", f"use one of: {known}")
    if height and sum(label is None for label in wanted.values()) == height:
        raise UsageError(f"no row of {split} would be left", "keep at least one")


def _is_label(label: str, manifest: Manifest) -> bool:
    from finetune30.data.labels import MULTI, REGRESSION

    try:
        if manifest.problem_type == REGRESSION:
            return math.isfinite(float(label))
        if manifest.problem_type == MULTI:
            names = json.loads(label)
            return isinstance(names, list) and set(map(str, names)) <= set(manifest.label_names)
    except ValueError:
        return False
    return label in manifest.label_names
