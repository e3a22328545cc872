"""Rows cut into pieces at places that the content decides, so that versions share the pieces they have in common.

A piece ends after a row whose checksum has its lowest bits zero (content-defined chunking as in Muthitacharoen et al.
2001, "A low-bandwidth network file system", section 3.1): inserting, removing or relabelling a row changes the piece
around it and leaves the others as they were.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import polars as pl

from finetune30.data.digests import digest_rows
from finetune30.data.sources.parquet import column_text
from finetune30.data.versions.schema import FIRST_SCHEMA, ORIGIN, Schema

#: A piece ends at a row in this many, on average, and holds at most `MAX_ROWS`.
MEAN_ROWS = 8_192
MAX_ROWS = 32_768


def cut_into_chunks(rows: pl.DataFrame, schema: Schema = FIRST_SCHEMA) -> Iterator[pl.DataFrame]:
    """Yield the rows piece by piece, in order; the first column of text decides where pieces end."""
    first = schema.texts[0].name
    texts = column_text(rows[first], first).fill_null("")
    sums = np.fromiter((zlib.crc32(text.encode()) for text in texts), dtype=np.uint32, count=rows.height)
    ends = np.flatnonzero(sums % MEAN_ROWS == 0) + 1
    start = 0
    for end in [*ends.tolist(), rows.height]:
        while end > start:
            stop = min(end, start + MAX_ROWS)
            yield rows[start:stop]
            start = stop


def digest_chunk(rows: pl.DataFrame, schema: Schema = FIRST_SCHEMA) -> str:
    """Return the content digest of a piece, including where its rows came from."""
    if schema != FIRST_SCHEMA:
        return digest_rows(schema.identity(), schema.names, [rows])
    # Pieces of format 1 are named by two frames, the second with the origin in the place of the text.
    origins = rows.select(pl.col(ORIGIN).alias("text"), pl.lit(None, dtype=pl.String).alias("text_pair"), "label")
    return digest_rows("[]", [column.name for column in schema.content], [rows, origins])
