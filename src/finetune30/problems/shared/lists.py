"""Several labels in one cell: JSON lists, lists as Python writes them, and vectors of 0 and 1."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from finetune30.data.problem import Detected
from finetune30.data.sources.json_values import without_halves
from finetune30.errors import DataError

_SHOWN_CHARACTERS = 60
#: The entries of a vector, as numbers are written in lists.
_BITS = frozenset({"0", "1", "0.0", "1.0"})
#: From this share of lists on, cells that are none are single labels among lists.
_LISTS_SHARE = 0.5


class Number(str):
    """A number of a list, as it was written: unlike a name, it may be a 0 or 1 of a vector."""

    __slots__ = ()


@dataclass(frozen=True)
class ListCells:
    """Which cells are lists.

    `items`: the distinct cells that are lists -> what stands in them. `rows`: cells that are not blank, `list_rows`:
    those that are lists, `python_rows`: those written as Python does. `broken`: the first cell in brackets that is no
    list, `broken_rows`: how many there are. `vector`: the length of the vectors of 0 and 1, where all cells are such;
    `ragged`: the shortest and longest length, where they are not of one.
    """

    items: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rows: int = 0
    list_rows: int = 0
    python_rows: int = 0
    broken: str | None = None
    broken_rows: int = 0
    vector: int | None = None
    ragged: tuple[int, int] | tuple[()] = ()

    @property
    def are_single(self) -> bool:
        """Whether every cell is a list of just one label."""
        return 0 < self.rows == self.list_rows and all(len(items) == 1 for items in self.items.values())

    @property
    def are_lists(self) -> bool:
        """Whether cells are lists on the whole."""
        return 0 < self.list_rows >= self.rows * _LISTS_SHARE

    @property
    def names(self) -> tuple[str, ...]:
        """The classes of vectors: their positions, from 0."""
        return tuple(map(str, range(self.vector or 0)))

    def labels(self, cell: str) -> list[str]:
        """Return the labels of a cell that is a list."""
        items = self.items[cell]
        if self.vector:
            return [name for name, item in zip(self.names, items, strict=True) if item[0] == "1"]
        return [item.strip() for item in items if item.strip()]

    def detected(self) -> tuple[Detected, ...]:
        """Return how the lists were read, where it is not plain."""
        found = []
        if self.vector:
            read = f"labels read as vectors, whose classes are called 0 to {self.vector - 1} by their places"
            because = (
                f"all {self.rows:,} lists have {self.vector} entries, each of them 0 or 1; "
                "write lists of names to give the classes names"
            )
            found.append(Detected(read, because))
        if self.python_rows:
            found.append(Detected("labels read as lists of Python", f"{self.python_rows:,} labels are written so"))
        if 0 < self.list_rows < self.rows:
            because = f"{self.list_rows:,} of {self.rows:,} labels are lists"
            found.append(Detected("labels that are no list read as one label each", because))
        return tuple(found)

    def require_lists(self) -> None:
        """Raise DataError where a cell stands in brackets and is no list, or vectors have different lengths."""
        if self.broken is not None:
            shown = repr(self.broken[:_SHOWN_CHARACTERS])
            raise DataError(
                f"{self.broken_rows:,} labels stand in brackets and are no lists of labels, for example {shown}",
                'write JSON lists such as ["joy", "calm"]; where the brackets belong to the names, set '
                "model.problem_type to single_label_classification",
            )
        if self.ragged:
            shorter, longer = self.ragged
            raise DataError(
                f"the labels are vectors of 0 and 1 of different lengths: some have {shorter} entries, some {longer}",
                "give every row a vector of the same length, or write lists of names",
            )


def read_lists(cells: pl.Series) -> ListCells:
    """Tell which cells are lists of labels, and how they are written."""
    present = cells.drop_nulls()
    bracketed = present.filter(present.str.starts_with("[") & present.str.ends_with("]"))
    counts = dict(bracketed.value_counts().iter_rows())
    parsed = {cell: _parse(cell) for cell in counts}
    items = {cell: found[0] for cell, found in parsed.items() if found is not None}
    broken = [cell for cell in bracketed.unique(maintain_order=True) if cell not in items]
    list_rows = sum(counts[cell] for cell in items)
    lengths = _vector_lengths(items) if 0 < list_rows == len(present) else ()
    return ListCells(
        items,
        rows=len(present),
        list_rows=list_rows,
        python_rows=sum(counts[cell] for cell, found in parsed.items() if found is not None and found[1]),
        broken=broken[0] if broken else None,
        broken_rows=sum(counts[cell] for cell in broken),
        vector=lengths[0] if len(lengths) == 1 else None,
        ragged=(lengths[0], lengths[-1]) if len(lengths) > 1 else (),
    )


def _parse(cell: str) -> tuple[list[str], bool] | None:
    """Return what stands in a list and whether it is written as Python does; None for a cell that is no list."""
    try:
        value, is_python = json.loads(cell, parse_int=Number, parse_float=Number), False
    except (ValueError, RecursionError):
        try:
            value, is_python = ast.literal_eval(cell), True
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None  # whoever asks for lists says so: `ListCells.require_lists`
    if not isinstance(value, list) or any(isinstance(item, (list, dict, tuple, set)) for item in value):
        return None
    present = [item for item in value if item is not None]
    # Truth values for every class are a vector, one alone is a label.
    are_flags = len(present) > 1 and all(isinstance(item, bool) for item in present)
    return [Number(int(item)) if are_flags else _item(item) for item in present], is_python


def _item(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and not isinstance(value, Number):
        return without_halves(value)
    return Number(value)


def _vector_lengths(items: Mapping[str, Sequence[str]]) -> list[int]:
    """Return the different lengths of vectors of 0 and 1; none where the lists hold something else.

    Lists of the ids 0 and 1 look alike, but they name no class twice and have different lengths.
    """
    lists = list(items.values())
    if not all(isinstance(item, Number) and item in _BITS for one in lists for item in one):
        return []
    lengths = sorted({len(one) for one in lists})
    repeats = any(len(one) > len({item[0] for item in one}) for one in lists)
    return lengths if (repeats or len(lengths) == 1) and lengths[-1] > 1 else []
