"""Other labels for rows of a dataset version, which make a new version; the one before stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune30.errors import UsageError
from finetune30.problems import load_problem

if TYPE_CHECKING:
    from finetune30.data.versions.manifest import Manifest
    from finetune30.data.versions.storage import VersionStore


def relabel_rows(
    versions: VersionStore, name: str, changes: Sequence[Mapping[str, Any]], note: str = ""
) -> dict[str, Any]:
    """Make a version in which rows (`split`, `index` from 0) have another `label`, or are gone where it is None.

    A label is a name, a JSON list of names (multi-label) or a number (regression). Returns digest, parent, is_new, and
    how many rows were changed (have another label now) and removed. Raises UsageError for a row or label that the
    version does not have, NotFoundError.
    """
    import polars as pl

    from finetune30.data.versions.storage import SPLITS

    manifest = versions.get(name)
    frames = {split: versions.load_rows(manifest, split) for split in SPLITS if split in manifest.chunks}
    if missing := {change["split"] for change in changes} - frames.keys():
        raise UsageError(
            f"version {manifest.short} has no split {', '.join(sorted(missing))}", "use: train, evaluation"
        )
    for change in changes:
        if fault := find_fault(manifest, change):
            raise UsageError(*fault)
    changed = removed = 0
    for split, frame in frames.items():
        before = frame["label"].to_list()
        wanted = {c["index"]: _as_stored(c["label"], manifest) for c in changes if c["split"] == split}
        if before and sum(label is None for label in wanted.values()) == len(before):
            raise UsageError(f"no row of {split} would be left", "keep at least one")
        labels = [wanted.get(number, label) for number, label in enumerate(before)]
        kept = frame.with_columns(pl.Series("label", labels, dtype=pl.String))
        gone = [number for number, label in wanted.items() if label is None]
        frames[split] = kept.with_row_index("at").filter(~pl.col("at").is_in(gone)).drop("at")
        removed += len(gone)
        changed += sum(label is not None and labels[number] != before[number] for number, label in wanted.items())
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
        "changed": changed,
        "removed": removed,
    }


def _count(frames: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
    from finetune30.data.analysis.statistics import balance

    main = frames.get("train", next(iter(frames.values())))
    counts = load_problem(manifest.problem_type).count(main["label"])
    return {"total_samples": main.height, "label_counts": counts, **balance(counts)}


def find_fault(manifest: Manifest, change: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what is wrong with a change of a version's row, and what would be right; None where it can be made."""
    split, index, label = change["split"], change["index"], change["label"]
    rows = manifest.rows.get(split, 0)
    if not 0 <= index < rows:
        return f"{split} has no row {index}", f"rows are numbered from 0 to {rows - 1}"
    if label is not None and _as_stored(label, manifest) is None:
        allowed = load_problem(manifest.problem_type).describe(manifest.targets)
        return f"{label!r} is no label of this version", f"use one of: {allowed}"
    return None


def _as_stored(label: str | None, manifest: Manifest) -> str | None:
    """Return a label as versions write it, so that the same label is the same text; None where it is none."""
    return None if label is None else load_problem(manifest.problem_type).read(label, manifest.targets)
