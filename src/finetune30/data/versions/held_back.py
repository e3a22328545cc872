"""Test rows of a version: part of its digest, in pieces of their own that nothing reads before a test."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from finetune30.data.digests import digest_rows
from finetune30.data.versions.manifest import Chunk
from finetune30.data.versions.schema import Schema

#: What manifests call the split.
TEST = "test"


@dataclass(frozen=True)
class HeldBackRows:
    """Test rows: either `rows` as a version stores them, or, unread, the `chunks` in which a version has them."""

    digest: str
    count: int
    rows: pl.DataFrame | None = None
    chunks: tuple[Chunk, ...] = ()


def hold_back(rows: pl.DataFrame, schema: Schema) -> HeldBackRows:
    """Return rows (columns of `schema`) as test rows. Raises DataError where they have other columns."""
    rows = schema.conform(rows)
    return HeldBackRows(digest_test_rows(rows, schema), rows.height, rows)


def digest_test_rows(rows: pl.DataFrame, schema: Schema) -> str:
    """Return the digest of test rows, order-sensitive; where they came from is no part of it."""
    return digest_rows(f"{TEST}:{schema.identity()}", [column.name for column in schema.content], [rows])
