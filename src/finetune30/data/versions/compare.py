"""What differs between two versions, row by row: added, removed, relabelled, changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from finetune30.data.sources.parquet import column_text
from finetune30.data.versions.manifest import Manifest
from finetune30.data.versions.schema import BEFORE, ORIGIN, Column, Schema
from finetune30.data.versions.storage import SPLITS, VersionStore

#: Beside the columns of the rows while they are joined: which copy of its texts a row is, and nested values as text.
_COPY, _KEY = "copy ", "key of "


@dataclass(frozen=True)
class VersionDiff:
    """Differences of `after` from `before`.

    `schema`: the columns of both. `rows`: one row a difference: kind (added, removed, relabelled, changed), split,
    origin, texts and targets, and what they were before where there was anything: `label_before` for column `label`.
    """

    before: Manifest
    after: Manifest
    schema: Schema
    rows: pl.DataFrame
    unchanged: int

    def counts(self) -> dict[str, int]:
        """Return the number of differences by kind, and of rows that are the same."""
        found = dict(self.rows["kind"].value_counts().iter_rows())
        kinds = ("added", "removed", "relabelled", "changed")
        return {kind: int(found.get(kind, 0)) for kind in kinds} | {"unchanged": self.unchanged}

    def as_dict(self, limit: int | None = None) -> dict[str, Any]:
        """Return a JSON tree; `limit` cuts the rows."""
        shown = self.rows if limit is None else self.rows.head(limit)
        return {
            "before": self.before.digest,
            "after": self.after.digest,
            "counts": self.counts(),
            "columns": self.schema.as_tree(),
            "rows": shown.to_dicts(),
        }


def diff_versions(store: VersionStore, before: str, after: str) -> VersionDiff:
    """Compare two versions (digest, beginning of one, or tag).

    A row is the same by split and texts; the n-th copy of a text is compared with the n-th copy. Relabelled: same
    row, another target. Changed: a row that left and one that came with the same origin. A column that one of them
    lacks holds nothing there; one that has another dtype is compared as text.
    """
    first, second = store.get(before), store.get(after)
    schema = _of_both(first.schema, second.schema)
    parts, unchanged = [], 0
    for split in SPLITS:
        old, new = (_comparable(store.load_rows(manifest, split), schema) for manifest in (first, second))
        both, added, removed, changed = _join(old, new, [_key_of(column) for column in schema.texts])
        differs = [pl.col(_key_of(c)).ne_missing(pl.col(_key_of(c) + BEFORE)) for c in schema.targets]
        relabelled = both.filter(pl.any_horizontal(pl.lit(value=False), *differs))
        unchanged += both.height - relabelled.height
        same = [pl.col(c.name).alias(c.name + BEFORE) for c in schema.texts if c.name + BEFORE not in both.columns]
        shown = (
            ("relabelled", relabelled.with_columns(same)),
            ("changed", changed),
            ("removed", removed),
            ("added", added),
        )
        parts += [_shape(kind, split, rows, schema) for kind, rows in shown]
    return VersionDiff(first, second, schema, pl.concat(parts), unchanged)


def _join(old: pl.DataFrame, new: pl.DataFrame, texts: Sequence[str]) -> tuple[pl.DataFrame, ...]:
    """Return the rows that are in both, came, left, and stand in the place of another of the same origin."""
    keys = [*texts, _COPY]
    old, new = (rows.with_columns(pl.int_range(pl.len()).over(texts).alias(_COPY)) for rows in (old, new))
    both = new.join(old, on=keys, how="inner", suffix=BEFORE, nulls_equal=True, maintain_order="left")
    added = new.join(old, on=keys, how="anti", nulls_equal=True, maintain_order="left")
    removed = old.join(new, on=keys, how="anti", nulls_equal=True, maintain_order="left")
    changed = added.join(
        removed.unique(ORIGIN, keep="none"), on=ORIGIN, how="inner", suffix=BEFORE, maintain_order="left"
    ).unique(ORIGIN, keep="none", maintain_order=True)
    stays = ~pl.col(ORIGIN).is_in(changed[ORIGIN].implode()).fill_null(value=False)
    return both, added.filter(stays), removed.filter(stays), changed


def _of_both(before: Schema, after: Schema) -> Schema:
    """Return the columns of either, those of `after` first; as text where the dtypes differ."""
    former = {column.name: column for column in before.columns}
    joined = [
        Column(c.name, pl.String(), c.role) if c.name in former and former[c.name].dtype != c.dtype else c
        for c in after.columns
    ]
    return Schema((*joined, *(column for column in before.columns if column.name not in after.names)))


def _comparable(rows: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Return rows with all columns of a schema, an origin, and nested values as text beside them."""
    columns = [Column(ORIGIN, pl.String(), "origin"), *schema.content]
    shown: dict[str, pl.Series] = {}
    for column in columns:
        if column.name not in rows.columns:
            shown[column.name] = pl.repeat(None, rows.height, dtype=column.dtype, eager=True)
        elif rows.schema[column.name] != column.dtype:
            shown[column.name] = column_text(rows[column.name], column.name)
        else:
            shown[column.name] = rows[column.name]
        if column.dtype.is_nested():
            shown[_key_of(column)] = column_text(shown[column.name], column.name)
    return pl.DataFrame(shown)


def _key_of(column: Column) -> str:
    """Return the column by whose values those of a column are compared."""
    return _KEY + column.name if column.dtype.is_nested() else column.name


def _shape(kind: str, split: str, rows: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    former = [
        pl.col(name) if (name := c.name + BEFORE) in rows.columns else pl.lit(None, dtype=c.dtype).alias(name)
        for c in schema.content
    ]
    shown = [column.name for column in schema.content]
    return rows.select(pl.lit(kind).alias("kind"), pl.lit(split).alias("split"), ORIGIN, *shown, *former)
