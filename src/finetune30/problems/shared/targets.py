"""Target cells as texts: what counts as blank, and numbers in one spelling."""

from __future__ import annotations

import polars as pl

INTEGER = r"^[+-]?\d+(?:\.0+)?$"


def normalize_targets(series: pl.Series) -> pl.Series:
    """Return target texts without outer white space; blank is null; whole numbers lose sign plus and `.0`.

    A column counts as whole only if every target in it is a whole number. Among numbers, NaN is no target: that is how
    a table of floating-point numbers says that one is missing.
    """
    stripped = series.str.strip_chars()
    stripped = pl.select(pl.when(stripped.str.len_bytes() > 0).then(stripped)).to_series().rename(series.name)
    numbers = stripped.cast(pl.Float64, strict=False)
    if numbers.null_count() == stripped.null_count() and numbers.is_nan().any() and numbers.is_finite().any():
        stripped = pl.select(pl.when(~numbers.is_nan()).then(stripped)).to_series().rename(series.name)
    present = stripped.drop_nulls().unique()
    if len(present) and present.str.contains(INTEGER).all():
        return stripped.cast(pl.Float64).cast(pl.Int64).cast(pl.String)
    return stripped
