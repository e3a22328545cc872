"""Which column holds the text, the second text and the label: as the configuration says, else detected and reported."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from finetune30.config.schema import DataConfig
from finetune30.data.flags import flag_columns
from finetune30.data.problem import Role
from finetune30.data.sources.table import VERSION, SourceTable
from finetune30.errors import DataFileError

#: Names that data sets give to a first and a second text, most telling first.
PAIR_NAMES = (
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("query", "passage"),
    ("text_a", "text_b"),
)
#: Columns that number rows; never text nor target. The last are pandas' names for an index that was written and read.
_INDEX_NAME = re.compile(r"id|idx|index|row_id|unnamed_1|unnamed: \d+(\.\d+)*")


@dataclass(frozen=True)
class Columns:
    """The chosen columns.

    `chosen`: role -> column of the file, None where the file has none. `target`: the role that is the target, None
    where the problem has none. `detected` lists the keys of those that the configuration did not name.
    """

    chosen: Mapping[str, str | None]
    target: str | None
    detected: tuple[str, ...]

    @property
    def target_column(self) -> str | None:
        """The file's column of the target."""
        return None if self.target is None else self.chosen[self.target]

    def describe(self) -> str:
        """Return one phrase for the log."""
        shown = [f"{ROLE_WORDS.get(role, role)} {name!r}" for role, name in self.chosen.items() if name]
        return ", ".join(shown) + (f" (detected: {', '.join(self.detected)})" if self.detected else "")


#: Roles whose name is no word.
ROLE_WORDS = {"text_pair": "second text"}


def detect_columns(table: SourceTable, roles: Sequence[Role], named: Mapping[str, str | None]) -> Columns:
    """Return the columns of `table` for the roles of a problem.

    `named`: key below `data` -> column, as configured; those must exist, the others are told from their names and
    content; in a stored version, a column that is called like a role is that role's. Raises DataFileError that lists
    the columns which exist, with the nearest name.
    """
    for role in roles:
        if (name := named.get(role.key)) is not None:
            require_column(table, name, role.key, taken=named.values())
    chosen = {role.name: named.get(role.key) for role in roles}
    target = next((role for role in roles if role.kind == "target"), None)
    texts = [role for role in roles if role.kind == "text"]
    if table.format == VERSION:
        own = {role.name for role in roles if chosen[role.name] is None} & {*table.columns} - {*chosen.values()}
        chosen |= {name: name for name in own}
    if target is not None and chosen[target.name] is None:
        chosen[target.name] = _detect_target(table, target, taken=[chosen[role.name] for role in texts])
    if len(texts) > 1 and not texts[1].names and not any(chosen[role.name] for role in texts):
        first, second = _named_pair(table.columns, taken=chosen.values())
        chosen |= {texts[0].name: first, texts[1].name: second}
    for role in texts:
        chosen[role.name] = chosen[role.name] or _named(table.columns, role.names, chosen.values())
    chosen[texts[0].name] = chosen[texts[0].name] or _long_column(table, chosen.values())
    if missing := [role for role in texts if chosen[role.name] is None and not role.is_optional]:
        raise _undetected(table, missing[0])
    if target is not None and named.get(target.key) is None and chosen[target.name] is not None:
        _require_header(table, str(chosen[texts[0].name]), target, str(chosen[target.name]))
    detected = tuple(r.key for r in roles if chosen[r.name] is not None and chosen[r.name] not in named.values())
    return Columns(chosen, None if target is None else target.name, detected)


def _detect_target(table: SourceTable, role: Role, taken: Sequence[str | None]) -> str | None:
    found = _named(table.columns, role.names, taken) or _short_column(table, taken)
    if found is None and not role.is_optional:
        raise _undetected(table, role)
    return found


def require_column(
    table: SourceTable, name: str, key: str, *, taken: Collection[str | None] = (), is_first: bool = True
) -> None:
    """Raise DataFileError naming the columns of `table` where it has no column `name`.

    Columns that are `taken` by other keys are not proposed. One key names the column of all files, so where this is not
    the first one, it is the file that has to change.
    """
    if name in table.columns:
        return
    free = [column for column in table.columns if column not in taken]
    near = difflib.get_close_matches(name.strip(), free, n=1, cutoff=0.5)
    remedy = f"set data.{key} to {near[0]!r}" if near else f"set data.{key} to one of them"
    if key not in DataConfig.model_fields or not is_first:
        remedy = f"name the column {name!r}, as in the first file"
    found = f"there is no column {name!r}; the columns are {_listed(table.columns)}"
    raise DataFileError(table.name, 1, 0, found, remedy)


def _named(available: Sequence[str], names: Sequence[str], taken: Collection[str | None]) -> str | None:
    by_lower = {name.lower(): name for name in available if name not in taken}
    return next((by_lower[name] for name in names if name in by_lower), None)


def _named_pair(available: Sequence[str], taken: Collection[str | None]) -> tuple[str | None, str | None]:
    by_lower = {name.lower(): name for name in available if name not in taken}
    for first, second in PAIR_NAMES:
        if first in by_lower and second in by_lower:
            return by_lower[first], by_lower[second]
    return None, None


def is_index(name: str) -> bool:
    """Say whether a column by its name numbers the rows."""
    return _INDEX_NAME.fullmatch(name.lower()) is not None


def _candidates(table: SourceTable, taken: Collection[str | None]) -> list[str]:
    return [name for name in table.columns if name not in taken and not is_index(name)]


def _short_column(table: SourceTable, taken: Sequence[str | None]) -> str | None:
    """Return the target column of a table whose columns have telling contents only: the one that is not the text."""
    candidates = _candidates(table, taken)
    needed = 1 if taken[0] else 2
    if len(candidates) != needed:
        return None
    return min(candidates, key=lambda name: _mean_length(table.frame[name]))


def _long_column(table: SourceTable, taken: Collection[str | None]) -> str | None:
    candidates = _candidates(table, taken)
    return candidates[0] if len(candidates) == 1 else None


def _mean_length(series: pl.Series) -> float:
    mean = series.head(1000).str.len_chars().mean()
    return float(mean) if isinstance(mean, (int, float)) else 0.0


def _undetected(table: SourceTable, role: Role) -> DataFileError:
    found = f"no column is plainly the {ROLE_WORDS.get(role.name, role.name)}; the columns are {_listed(table.columns)}"
    remedy = f"set data.{role.key} to one of them; if this is a row of data, add a header line above it"
    if role.kind == "target" and role.key == "label_column" and (flags := _flags(table)):
        remedy = f"if the columns of 0 and 1 are the classes, set data.label_columns to {flags}; else {remedy}"
    if role.key not in DataConfig.model_fields:
        remedy = f"name a column {' or '.join(map(repr, role.names or (role.name,)))}"
    return DataFileError(table.name, 1, 0, found, remedy)


def _require_header(table: SourceTable, text: str, role: Role, target: str) -> None:
    """Refuse a table whose first row was taken for its header: the target's name is then a target of other rows.

    A header that stands in the rows once more (both cells are names) is a fault of those rows, not of the table.
    """
    repeated = (pl.col(target).str.strip_chars() == target) & (pl.col(text).str.strip_chars() != text)
    count = table.frame.filter(repeated).height
    if not count:
        return
    shown = repr(target[:60])
    found = f"the first line looks like a row of data: {shown} is also the {role.name} of {count} rows below"
    remedy = f"add a header line above it, such as text,{role.name}; or set data.{role.key} to {shown}"
    if role.key not in DataConfig.model_fields:
        remedy = remedy.partition("; or set")[0]
    raise DataFileError(table.name, 1, 0, found, remedy)


def _flags(table: SourceTable) -> list[str]:
    return [name for name in flag_columns(table) if not is_index(name)]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:60]) for name in names[:20]) + (
        f" and {len(names) - 20} more" if len(names) > 20 else ""
    )
