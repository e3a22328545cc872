"""What differs between two versions, row by row: added, removed, relabelled, changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from finetune30.data.versions.manifest import Manifest
from finetune30.data.versions.storage import SPLITS, VersionStore


@dataclass(frozen=True)
class VersionDiff:
    """Differences of `after` from `before`.

    `rows`: one row a difference: kind (added, removed, relabelled, changed), split, origin, text, label, and the
    former text and label where there are any.
    """

    before: Manifest
    after: Manifest
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
            "rows": shown.to_dicts(),
        }


def diff_versions(store: VersionStore, before: str, after: str) -> VersionDiff:
    """Compare two versions (digest, beginning of one, or tag).

    A row is the same by split and texts; the n-th copy of a text is compared with the n-th copy. Relabelled: same
    row, other label. Changed: a row that left and one that came with the same origin.
    """
    first, second = store.get(before), store.get(after)
    parts, unchanged = [], 0
    for split in SPLITS:
        old, new = (_numbered(store.load_rows(manifest, split)) for manifest in (first, second))
        keys = ["text", "text_pair", "copy"]
        both = new.join(old, on=keys, how="inner", suffix="_before", nulls_equal=True, maintain_order="left")
        relabelled = both.filter(pl.col("label").ne_missing(pl.col("label_before")))
        unchanged += both.height - relabelled.height
        added = new.join(old, on=keys, how="anti", nulls_equal=True, maintain_order="left")
        removed = old.join(new, on=keys, how="anti", nulls_equal=True, maintain_order="left")
        changed = added.join(
            removed.unique("origin", keep="none"), on="origin", how="inner", suffix="_before", maintain_order="left"
        ).unique("origin", keep="none", maintain_order=True)
        moved = changed["origin"].implode()
        parts += [
            _shape("relabelled", split, relabelled.with_columns(pl.col("text").alias("text_before"))),
            _shape("changed", split, changed),
            _shape("removed", split, removed.filter(~pl.col("origin").is_in(moved))),
            _shape("added", split, added.filter(~pl.col("origin").is_in(moved))),
        ]
    return VersionDiff(first, second, pl.concat(parts), unchanged)


def _numbered(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.int_range(pl.len()).over("text", "text_pair").alias("copy"))


def _shape(kind: str, split: str, rows: pl.DataFrame) -> pl.DataFrame:
    former = [
        pl.col(name) if name in rows.columns else pl.lit(None, dtype=pl.String).alias(name)
        for name in ("text_before", "label_before")
    ]
    return rows.select(
        pl.lit(kind).alias("kind"), pl.lit(split).alias("split"), "origin", "text", "text_pair", "label", *former
    )
