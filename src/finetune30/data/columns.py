"""Which column holds the text, the second text and the label: as the configuration says, else detected and reported."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from finetune30.data.sources.table import SourceTable
from finetune30.errors import DataFileError

#: Names that data sets give to their columns, most telling first.
PAIR_NAMES = (
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("query", "passage"),
    ("text_a", "text_b"),
)
TEXT_NAMES = ("text", "sentence", "review", "content", "comment", "tweet", "question", "utterance", "body", "document")
LABEL_NAMES = (
    "label", "labels", "category", "class", "target", "sentiment", "intent", "score", "rating", "stars", "topic",
    "coarse_label", "tag", "tags", "y",
)  # fmt: skip
#: Columns that number rows; never text nor label.
_INDEX_NAMES = frozenset({"id", "idx", "index", "row_id", "unnamed_1"})


@dataclass(frozen=True)
class Columns:
    """The chosen columns; `detected` lists those that the configuration did not name."""

    text: str
    label: str
    pair: str | None
    detected: tuple[str, ...]

    def describe(self) -> str:
        """Return one phrase for the log."""
        parts = {"text": self.text, "second text": self.pair, "label": self.label}
        shown = [f"{what} {name!r}" for what, name in parts.items() if name]
        return ", ".join(shown) + (f" (detected: {', '.join(self.detected)})" if self.detected else "")


def detect_columns(
    table: SourceTable, text: str | None = None, pair: str | None = None, label: str | None = None
) -> Columns:
    """Return the columns of `table`: the named ones must exist, the others are told from their names and content.

    Raises DataFileError that lists the columns which exist, with the nearest name.
    """
    available = table.columns
    for key, name in (("text_column", text), ("text_pair_column", pair), ("label_column", label)):
        if name is not None:
            require_column(table, name, key)
    named = {text, pair, label}
    if label is None:
        label = _named(available, LABEL_NAMES, taken=(text, pair)) or _short_column(table, taken=(text, pair))
        if label is None:
            raise _undetected(table, "label", "label_column")
    if text is None and pair is None:
        text, pair = _named_pair(available, label)
    if text is None:
        text = _named(available, TEXT_NAMES, taken=(pair, label)) or _long_column(table, taken=(pair, label))
        if text is None:
            raise _undetected(table, "text", "text_column")
    if label not in named:
        _require_header(table, text, label)
    chosen = (("text_column", text), ("text_pair_column", pair), ("label_column", label))
    detected = tuple(key for key, name in chosen if name is not None and name not in named)
    return Columns(text, label, pair, detected)


def detect_text_columns(table: SourceTable, text: str | None = None, pair: str | None = None) -> tuple[str, str | None]:
    """Return the columns of text and second text of a table that needs no labels.

    Raises DataFileError that lists the columns which exist.
    """
    for key, name in (("text_column", text), ("text_pair_column", pair)):
        if name is not None:
            require_column(table, name, key)
    if text is None and pair is None:
        text, pair = _named_pair(table.columns, "")
    if text is None:
        text = _named(table.columns, TEXT_NAMES, taken=(pair,)) or _long_column(table, taken=(pair,))
    if text is None:
        raise _undetected(table, "text", "text_column")
    return text, pair


def require_column(table: SourceTable, name: str, key: str) -> None:
    """Raise DataFileError naming the columns of `table` where it has no column `name`."""
    if name in table.columns:
        return
    near = difflib.get_close_matches(name.strip(), table.columns, n=1, cutoff=0.5)
    remedy = f"set data.{key} to {near[0]!r}" if near else f"set data.{key} to one of them"
    found = f"there is no column {name!r}; the columns are {_listed(table.columns)}"
    raise DataFileError(table.name, 1, 0, found, remedy)


def _named(available: Sequence[str], names: Sequence[str], taken: Sequence[str | None]) -> str | None:
    by_lower = {name.lower(): name for name in available if name not in taken}
    return next((by_lower[name] for name in names if name in by_lower), None)


def _named_pair(available: Sequence[str], label: str) -> tuple[str | None, str | None]:
    by_lower = {name.lower(): name for name in available if name != label}
    for first, second in PAIR_NAMES:
        if first in by_lower and second in by_lower:
            return by_lower[first], by_lower[second]
    return None, None


def _candidates(table: SourceTable, taken: Sequence[str | None]) -> list[str]:
    return [name for name in table.columns if name not in taken and name.lower() not in _INDEX_NAMES]


def _short_column(table: SourceTable, taken: Sequence[str | None]) -> str | None:
    """Return the label column of a table whose columns have telling contents only: the one that is not the text."""
    candidates = _candidates(table, taken)
    needed = 1 if taken[0] else 2
    if len(candidates) != needed:
        return None
    return min(candidates, key=lambda name: _mean_length(table.frame[name]))


def _long_column(table: SourceTable, taken: Sequence[str | None]) -> str | None:
    candidates = _candidates(table, taken)
    return candidates[0] if len(candidates) == 1 else None


def _mean_length(series: pl.Series) -> float:
    mean = series.head(1000).str.len_chars().mean()
    return float(mean) if isinstance(mean, (int, float)) else 0.0


def _undetected(table: SourceTable, what: str, key: str) -> DataFileError:
    found = f"no column is plainly the {what}; the columns are {_listed(table.columns)}"
    remedy = f"set data.{key} to one of them; if this is a row of data, add a header line above it"
    return DataFileError(table.name, 1, 0, found, remedy)


def _require_header(table: SourceTable, text: str, label: str) -> None:
    """Refuse a table whose first row was taken for its header: the label's name is then a label of other rows.

    A header that stands in the rows once more (both cells are names) is a fault of those rows, not of the table.
    """
    doubtful = table.frame.filter((pl.col(label).str.strip_chars() == label) & (pl.col(text).str.strip_chars() != text))
    if not doubtful.height:
        return
    found = f"the first line looks like a row of data: {label[:60]!r} is also the label of {doubtful.height} rows below"
    remedy = f"add a header line above it, such as text,label; or set data.label_column to {label[:60]!r}"
    raise DataFileError(table.name, 1, 0, found, remedy)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:60]) for name in names[:20]) + (
        f" and {len(names) - 20} more" if len(names) > 20 else ""
    )
