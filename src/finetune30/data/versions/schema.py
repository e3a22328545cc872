"""The columns of a version: name, dtype and role of each, in order, as its manifest says them.

Dtypes in a manifest are JSON: "string", "integer" (64 bits, signed), "float" (64 bits), "boolean", {"list": dtype} and
{"struct": {field: dtype}}, to any depth. Every value of every dtype may be null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import polars as pl

from finetune30.data import problem
from finetune30.data.groups import GROUP
from finetune30.errors import DataError

#: text: what a row is told by; target: what a row asks of the model, and what relabelling changes; group: the number of
#: the group that a row belongs to; origin: the id under which the row was first read, no part of what names a version.
Role = Literal["text", "target", "group", "origin"]
ORIGIN = "origin"
#: The former value of column x stands in x_before where two versions are compared.
BEFORE = "_before"

_PLAIN = {"string": pl.String(), "integer": pl.Int64(), "float": pl.Float64(), "boolean": pl.Boolean()}
#: What listings put beside the columns of a row.
_RESERVED = frozenset({"kind", "split", "index"})


@dataclass(frozen=True)
class Column:
    """A column; `dtype` is one of those that manifests know."""

    name: str
    dtype: pl.DataType
    role: Role


@dataclass(frozen=True)
class Schema:
    """Columns in order: one text or more, any number of targets, at most one group and one origin, which is called so.

    Raises DataError for columns that cannot be kept.
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        for name in names:
            if not name or name in _RESERVED or name.endswith(BEFORE):
                raise DataError(f"a version cannot have a column {name!r}", "rename the column")
        if len(set(names)) < len(names):
            raise DataError("two columns of a version have one name", "rename one of them")
        if any((column.role == "origin") != (column.name == ORIGIN) for column in self.columns):
            raise DataError(f"the column {ORIGIN!r} says where a row came from, and nothing else", "rename the column")
        if sum(column.role == "group" for column in self.columns) > 1:
            raise DataError("two columns of a version say which rows belong together", "name one")
        if not self.texts:
            raise DataError("a version needs a column of role text", "name one")

    @property
    def names(self) -> tuple[str, ...]:
        """All columns."""
        return tuple(column.name for column in self.columns)

    @property
    def content(self) -> tuple[Column, ...]:
        """What a version is named by: all columns but the origin."""
        return tuple(column for column in self.columns if column.role != "origin")

    @property
    def texts(self) -> tuple[Column, ...]:
        """Columns of role text."""
        return tuple(column for column in self.columns if column.role == "text")

    @property
    def targets(self) -> tuple[Column, ...]:
        """Columns of role target."""
        return tuple(column for column in self.columns if column.role == "target")

    @property
    def group(self) -> str | None:
        """The column of role group, where there is one."""
        return next((column.name for column in self.columns if column.role == "group"), None)

    def empty(self) -> pl.DataFrame:
        """Return a frame of these columns without rows."""
        return pl.DataFrame(schema={column.name: column.dtype for column in self.columns})

    def conform(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return just these columns of a frame, with these dtypes; no value becomes another.

        Raises DataError where a column is not there, or holds values of another dtype.
        """
        chosen = []
        for column in self.columns:
            if column.name not in rows.columns:
                raise DataError(
                    f"the rows have no column {column.name!r}", f"they have: {', '.join(map(repr, rows.columns))}"
                )
            found = rows.schema[column.name]
            if not _fits(found, column.dtype):
                wanted = describe_dtype(column.dtype)
                raise DataError(f"column {column.name!r} holds {found}, not {wanted}", "convert it before")
            chosen.append(_convert(pl.col(column.name), found, column.dtype).alias(column.name))
        return rows.select(chosen)

    def without_empty_texts(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows without the second and further columns of text in which no row has anything."""
        empty = [c.name for c in self.texts[1:] if rows[c.name].null_count() == rows.height]
        return rows.drop(empty)

    def identity(self) -> str:
        """Return the text that stands for the schema in digests; the order of a struct's fields is no part of it."""
        return json.dumps(self.as_tree(), ensure_ascii=False, sort_keys=True)

    def as_tree(self) -> list[dict[str, Any]]:
        """Return a JSON tree, as manifests hold it."""
        return [{"name": c.name, "dtype": describe_dtype(c.dtype), "role": c.role} for c in self.columns]


#: The columns of every version of format 1.
FIRST_SCHEMA = Schema(
    (
        Column("text", pl.String(), "text"),
        Column("text_pair", pl.String(), "text"),
        Column("label", pl.String(), "target"),
        Column(ORIGIN, pl.String(), "origin"),
    )
)


def schema_of_roles(roles: Sequence[problem.Role], *, grouped: bool = False) -> Schema:
    """Return the columns of rows that a problem has read: texts and targets are texts there, beside the origin.

    `grouped`: rows have the number of their group too.
    """
    columns = [Column(role.name, pl.String(), role.kind) for role in roles]
    columns += [Column(GROUP, pl.Int64(), "group")] if grouped else []
    return Schema((*columns, Column(ORIGIN, pl.String(), "origin")))


def schema_of(rows: pl.DataFrame, roles: Mapping[str, Role]) -> Schema:
    """Return the schema that keeps columns of a frame, in the order of `roles`.

    Raises DataError for a column that is not there or whose dtype a manifest does not know.
    """
    if missing := [name for name in roles if name not in rows.columns]:
        raise DataError(f"the rows have no column {missing[0]!r}", f"they have: {', '.join(map(repr, rows.columns))}")
    return Schema(tuple(Column(name, _widest(rows.schema[name], name), role) for name, role in roles.items()))


def load_schema(tree: Sequence[Mapping[str, Any]]) -> Schema:
    """Read what `Schema.as_tree` gave. Raises ValueError, KeyError or DataError for anything else."""
    for entry in tree:
        if entry["role"] not in get_args(Role):
            raise ValueError(f"there is no role {entry['role']!r}")
    return Schema(tuple(Column(str(entry["name"]), _load_dtype(entry["dtype"]), entry["role"]) for entry in tree))


def describe_dtype(dtype: pl.DataType) -> Any:
    """Return a dtype as JSON."""
    if isinstance(dtype, pl.List):
        return {"list": describe_dtype(_inner(dtype))}
    if isinstance(dtype, pl.Struct):
        return {"struct": {name: describe_dtype(inner) for name, inner in _fields(dtype).items()}}
    return next(name for name, plain in _PLAIN.items() if plain == dtype)


def _load_dtype(tree: Any) -> pl.DataType:
    if isinstance(tree, str) and tree in _PLAIN:
        return _PLAIN[tree]
    if isinstance(tree, dict) and tree.keys() == {"list"}:
        return pl.List(_load_dtype(tree["list"]))
    if isinstance(tree, dict) and tree.keys() == {"struct"} and tree["struct"]:
        return pl.Struct({name: _load_dtype(inner) for name, inner in tree["struct"].items()})
    raise ValueError(f"there is no dtype {tree!r}")


def _widest(dtype: pl.DataType, name: str) -> pl.DataType:
    """Return the dtype that keeps every value of `dtype`."""
    if isinstance(dtype, pl.List):
        return pl.List(_widest(_inner(dtype), name))
    if isinstance(dtype, pl.Struct) and (fields := _fields(dtype)):
        return pl.Struct({field: _widest(inner, name) for field, inner in fields.items()})
    if dtype == pl.Null:  # nothing but nulls, or nothing but empty lists
        return pl.String()
    for plain in _PLAIN.values():
        if _fits(dtype, plain):
            return plain
    raise DataError(f"column {name!r} holds {dtype}, which a version cannot keep", "convert it to text or numbers")


def _fits(found: pl.DataType, wanted: pl.DataType) -> bool:
    if found in (wanted, pl.Null):
        return True
    if isinstance(found, pl.List) and isinstance(wanted, pl.List):
        return _fits(_inner(found), _inner(wanted))
    if isinstance(found, pl.Struct) and isinstance(wanted, pl.Struct):
        known = _fields(wanted)
        return all(name in known and _fits(inner, known[name]) for name, inner in _fields(found).items())
    if wanted == pl.Int64:
        return found.is_integer() and found not in (pl.UInt64, pl.Int128, pl.UInt128)
    return wanted == pl.Float64 and found.is_float()


def _convert(value: pl.Expr, found: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    """Return an expression that gives values of a dtype that fits as those of the wanted one; fields go by name."""
    if found == wanted:
        return value
    if isinstance(found, pl.List) and isinstance(wanted, pl.List):
        return value.list.eval(_convert(pl.element(), _inner(found), _inner(wanted)))
    if isinstance(found, pl.Struct) and isinstance(wanted, pl.Struct):
        there = _fields(found)
        fields = [
            (_convert(value.struct.field(name), there[name], inner) if name in there else pl.lit(None, inner)).alias(
                name
            )
            for name, inner in _fields(wanted).items()
        ]
        return pl.when(value.is_not_null()).then(pl.struct(fields))
    return value.cast(wanted)


def _inner(dtype: pl.List) -> pl.DataType:
    return _instance(dtype.inner)


def _fields(dtype: pl.Struct) -> dict[str, pl.DataType]:
    return {field.name: _instance(field.dtype) for field in dtype.fields}


def _instance(dtype: Any) -> pl.DataType:
    """Return an instance where polars has the class."""
    made: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return made
