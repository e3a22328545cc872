"""Which column holds the text, the second text and the label: as the configuration says, else detected and reported."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from finetune30.config.data import DataConfig
from finetune30.data.flags import flag_columns
from finetune30.data.problem import Role
from finetune30.data.sources.table import VERSION, SourceTable
from finetune30.errors import DataFileError
from finetune30.values import say_count

#: Names that data sets give to a first and a second text, in small letters and without `_`, `-` and spaces.
PAIR_NAMES = (
    ("text", "textpair"),
    *((name + one, name + two) for name in ("text", "sentence", "sent", "question") for one, two in ("12", "ab")),
    ("s1", "s2"),
    ("q1", "q2"),
    ("premise", "hypothesis"),
    ("claim", "evidence"),
    *(("question", second) for second in ("sentence", "answer", "context", "passage", "document")),
    *(("query", second) for second in ("document", "doc", "passage", "text", "title", "product")),
)
#: Rows that are looked at to tell texts; what texts have at least: words and letters, and different ones of all.
_LOOKED_AT, _LEAST_WORDS, _LEAST_LETTERS, _LEAST_DISTINCT = 1000, 3.0, 10, 0.5
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
        first, second = find_pair(table, taken=chosen.values())
        chosen |= {texts[0].name: first, texts[1].name: second}
    for role in texts:
        chosen[role.name] = chosen[role.name] or _named(table.columns, role.names, chosen.values())
    chosen[texts[0].name] = chosen[texts[0].name] or _long_column(table, chosen.values())
    if missing := [role for role in texts if chosen[role.name] is None and not role.is_optional]:
        raise _undetected(table, missing[0], pairs=len(texts) > 1)
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


def find_pair(table: SourceTable, taken: Collection[str | None]) -> tuple[str | None, str | None]:
    """Return the two columns that are called as pairs of texts usually are, None and None where there are none.

    Raises DataFileError where several columns may be the second text.
    """
    by_name = {plain_name(name): name for name in reversed(table.columns) if name not in taken}
    found = [(by_name[first], by_name[second]) for first, second in PAIR_NAMES if {first, second} <= by_name.keys()]
    rivals = [second for first, second in found if first == found[0][0]]
    if len(rivals) > 1 and rivals[0] != by_name.get("textpair"):
        several = " or ".join(map(repr, rivals))
        said = f"{found[0][0]!r} may be paired with {several}; the columns are {_listed(table.columns)}"
        remedy = f"set data.text_pair_column to one of them, or data.text_column to {found[0][0]!r} to read it alone"
        raise DataFileError(table.name, 1, 0, said, remedy)
    return found[0] if found else (None, None)


def plain_name(name: str) -> str:
    """Return a column's name as `PAIR_NAMES` spell it."""
    return re.sub(r"[\s_-]", "", name.lower())


def unread_texts(table: SourceTable, columns: Columns, roles: Sequence[Role]) -> list[str]:
    """Return the columns that hold texts as the one that is read does, where a second text could be read and is not."""
    texts = [role for role in roles if role.kind == "text"]
    if len(texts) < 2 or columns.chosen[texts[1].name] is not None or texts[1].key not in DataConfig.model_fields:
        return []
    taken = columns.chosen.values()
    main = _mean_words(table.frame[str(columns.chosen[texts[0].name])])
    return [name for name in _candidates(table, taken) if _reads_as_text(table.frame[name], main)]


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


def _mean_words(series: pl.Series) -> float:
    mean = series.head(_LOOKED_AT).drop_nulls().str.strip_chars().str.count_matches(r"\s+").mean()
    return 1.0 + float(mean) if isinstance(mean, (int, float)) else 0.0


def _reads_as_text(series: pl.Series, words_of_main: float) -> bool:
    """Tell whether cells read as texts: of several words, or as long as Chinese texts are, and hardly ever the same."""
    cells = series.head(_LOOKED_AT).drop_nulls()
    cells = cells.filter(cells.str.strip_chars() != "")
    if not len(cells) or cells.n_unique() < _LEAST_DISTINCT * len(cells):
        return False
    if (cells.str.contains(r"^\s*(https?://\S+|[\[{].*[\]}])\s*$")).mean() == 1.0:  # addresses and JSON
        return False
    words, letters = _mean_words(cells), cells.str.count_matches(r"\p{L}").mean()
    long_enough = isinstance(letters, (int, float)) and letters >= _LEAST_LETTERS
    return long_enough and words >= min(_LEAST_WORDS, words_of_main)


def _undetected(table: SourceTable, role: Role, *, pairs: bool = False) -> DataFileError:
    found = f"no column is plainly the {ROLE_WORDS.get(role.name, role.name)}; the columns are {_listed(table.columns)}"
    remedy = f"set data.{role.key} to one of them; if this is a row of data, add a header line above it"
    if role.kind == "target" and role.key == "label_column" and (flags := _flags(table)):
        remedy = f"if the columns of 0 and 1 are the classes, set data.label_columns to {flags}; else {remedy}"
    if pairs and role.key == "text_column":
        remedy = (
            "set data.text_column to one of them, and data.text_pair_column to another where texts are pairs; if "
            "this is a row of data, add a header line above it"
        )
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
    found = (
        f"the first line looks like a row of data: {shown} is also the {role.name} of {say_count(count, 'rows')} below"
    )
    remedy = f"add a header line above it, such as text,{role.name}; or set data.{role.key} to {shown}"
    if role.key not in DataConfig.model_fields:
        remedy = f"add a header line above it, such as text,{role.name}"
    raise DataFileError(table.name, 1, 0, found, remedy)


def _flags(table: SourceTable) -> list[str]:
    return [name for name in flag_columns(table) if not is_index(name)]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:60]) for name in names[:20]) + (
        f" and {len(names) - 20} more" if len(names) > 20 else ""
    )
