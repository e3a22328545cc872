"""Other targets for rows of a dataset version, which make a new version; the one before stays as it is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from finetune30.errors import UsageError
from finetune30.problems import load_problem

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.versions.manifest import Manifest
    from finetune30.data.versions.schema import Column, Schema
    from finetune30.data.versions.storage import VersionStore


def relabel_rows(
    versions: VersionStore, name: str, changes: Sequence[Mapping[str, Any]], note: str = ""
) -> dict[str, Any]:
    """Make a version in which rows (`split`, `index` from 0) have another `label`, or are gone where it is None.

    A label is what stands in the target `column` (which may be left out where there is only one), as text: a name, a
    JSON list of names (multi-label), a number (regression); JSON in a column that holds no text. Returns digest,
    parent, is_new, and how many rows were changed (have another label now) and removed. Raises UsageError for a row,
    column or label that the version does not have, and for a row that is named twice; NotFoundError.
    """
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
    _refuse_repeated(manifest, changes)
    changed = removed = 0
    for split, frame in frames.items():
        own = [change for change in changes if change["split"] == split]
        gone = {change["index"] for change in own if change["label"] is None}
        if frame.height and len(gone) == frame.height:
            raise UsageError(f"no row of {split} would be left", "keep at least one")
        frames[split], others = _change_split(frame, manifest, own, gone)
        removed += len(gone)
        changed += others
    made, is_new = versions.create(
        frames,
        targets=manifest.targets,
        schema=manifest.schema,
        problem_type=manifest.problem_type,
        source=manifest.source,
        recipe=(*manifest.recipe, {"step": "relabel", "rows": len(changes), "from": manifest.digest}),
        statistics=count_targets(frames, manifest.schema, manifest.problem_type),
        parent=manifest.digest,
        note=note,
        held_back=versions.held_back(manifest.digest),
    )
    return {
        "digest": made.digest,
        "parent": manifest.digest,
        "is_new": is_new,
        "changed": changed,
        "removed": removed,
    }


def find_fault(manifest: Manifest, change: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what is wrong with a change of a version's row, and what would be right; None where it can be made."""
    split, index, label = change["split"], change["index"], change["label"]
    rows = manifest.rows.get(split, 0)
    if not 0 <= index < rows:
        return f"{split} has no row {index}", f"rows are numbered from 0 to {rows - 1}"
    if label is None:
        return None
    column = _target_of(manifest, change)
    if column is None:
        names = ", ".join(target.name for target in manifest.schema.targets)
        named = repr(change["column"]) if change.get("column") else "without a name"
        return f"this version has no target column {named}", f"name one of: {names}" if names else "rows can only go"
    if _as_stored(label, column, manifest) is None:
        return f"{label!r} is no label of this version", f"use one of: {_describe_labels(column, manifest)}"
    return None


def _refuse_repeated(manifest: Manifest, changes: Sequence[Mapping[str, Any]]) -> None:
    """Raise UsageError for a row with two labels for one column, or with a label and without: one of them was lost."""
    told: dict[tuple[str, int], list[str | None]] = {}
    for change in changes:
        column = None if change["label"] is None else _target_of(manifest, change)
        name = None if column is None else column.name
        before = told.setdefault((change["split"], change["index"]), [])
        if before and (name is None or None in before or name in before):
            raise UsageError(f"{change['split']} row {change['index']} is named twice", "say once what it is to be")
        before.append(name)


def count_targets(frames: Mapping[str, pl.DataFrame], schema: Schema, problem_type: str) -> dict[str, Any]:
    """Return the statistics that a manifest keeps: the number of training rows, and of each label in a text."""
    from finetune30.data.analysis.statistics import balance

    main = frames.get("train", next(iter(frames.values())))
    counts: dict[str, int] = {}
    if len(schema.targets) == 1 and _holds_text(schema.targets[0]):
        counts = load_problem(problem_type).count(main[schema.targets[0].name])
    return {"total_samples": main.height, "label_counts": counts, **balance(counts)}


def _change_split(
    frame: pl.DataFrame, manifest: Manifest, changes: Sequence[Mapping[str, Any]], gone: set[int]
) -> tuple[pl.DataFrame, int]:
    """Return the rows with other targets and without those that go, and how many have another target now."""
    import polars as pl

    differing: set[int] = set()
    for column in manifest.schema.targets:
        before = frame[column.name].to_list()
        after = list(before)
        for change in changes:
            if change["label"] is not None and _target_of(manifest, change) == column:
                after[change["index"]] = _as_stored(change["label"], column, manifest)
        differing |= {number for number, value in enumerate(after) if value != before[number]}
        frame = frame.with_columns(pl.Series(column.name, after, dtype=column.dtype))
    stays = [number not in gone for number in range(frame.height)]
    return frame.filter(pl.Series(stays, dtype=pl.Boolean)), len(differing - gone)


def _target_of(manifest: Manifest, change: Mapping[str, Any]) -> Column | None:
    """Return the column that a change is about; None where there is none, or several and no name."""
    targets, name = manifest.schema.targets, change.get("column")
    named = [target for target in targets if name in (None, target.name)]
    return named[0] if len(named) == 1 else None


def _describe_labels(column: Column, manifest: Manifest) -> str:
    from finetune30.data.versions.schema import describe_dtype

    if _holds_text(column):
        return load_problem(manifest.problem_type).describe(manifest.targets)
    names = ", ".join(manifest.label_names)
    return f"JSON of {json.dumps(describe_dtype(column.dtype))}" + (f" of {names}" if names else "")


def _as_stored(label: str, column: Column, manifest: Manifest) -> Any:
    """Return a label as versions write it, so that the same label is the same value; None where it is none."""
    if _holds_text(column):
        return load_problem(manifest.problem_type).read(label, manifest.targets)
    names = set(manifest.label_names)
    with suppress(ValueError):  # no JSON is no label
        value = _load_json(label)
        if _is_value(value, column) and (not names or _texts_in(value) <= names):
            return value
    return None


def _load_json(text: str) -> Any:
    """Read JSON. Raises ValueError, also for numbers that are not finite."""

    def load_finite(number: str) -> float:
        if not math.isfinite(float(number)):
            raise ValueError(f"{number} is not finite")
        return float(number)

    return json.loads(text, parse_float=load_finite, parse_constant=load_finite)


def _is_value(value: Any, column: Column) -> bool:
    """Tell whether a column holds this value: it becomes no other, and no field is left out or new."""
    import polars as pl

    try:
        held = pl.Series([value], dtype=column.dtype, strict=True).to_list()
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        return False
    return value is not None and held == [value]


def _texts_in(value: Any) -> set[str]:
    """Return every text in a list of whatever depth."""
    if isinstance(value, list):
        return set().union(*map(_texts_in, value))
    return {value} if isinstance(value, str) else set()


def _holds_text(column: Column) -> bool:
    import polars as pl

    return column.dtype == pl.String
