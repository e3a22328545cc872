"""What the texts of a configuration name: something within, a file, something of the hub, a column, or nothing.

Every text of the schema carries one of these marks. Who takes configurations from elsewhere reads the marks, not the
names of keys, so that a new key that names a file is guarded from the day it stands in the schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


class Holds(StrEnum):
    """What a text names. MODEL and DATASET are names of the hub, names of our own, or files and folders here, ADAPTER a
    run, a version of a model, or a folder here.
    """

    NAME = "name"
    PATH = "path"
    RESULTS = "folder of all runs"
    MODEL = "model"
    ADAPTER = "adapter"
    DATASET = "data set"
    REVISION = "revision"
    COLUMN = "column"
    TEXT = "text"


class HeldText(NamedTuple):
    """One text of a configuration: its dotted key, what it names, and itself."""

    key: str
    holds: Holds
    text: str


def marks_of(field: FieldInfo) -> set[Holds | None]:
    """Return the marks of every text that a field may hold; None stands for one without, or for a type without bounds.

    Texts of which the schema lists every value (Literal) need no mark.
    """
    return set(_marks(field.annotation, _mark_in(field.metadata)))


@cache
def _marked_fields(kind: type[BaseModel]) -> tuple[tuple[str, set[Holds | None]], ...]:
    return tuple((name, marks_of(field)) for name, field in kind.model_fields.items())


def held_texts(section: BaseModel, prefix: str = "") -> Iterator[HeldText]:
    """Yield every text of a configuration, whatever its sections are, with what it names.

    A text with several marks, or without one, counts as a path: what is not known to be harmless is not let through.
    """
    for name, marks in _marked_fields(type(section)):
        value = getattr(section, name)
        holds = next(iter(marks)) if len(marks) == 1 else Holds.PATH
        for key, found in _leaves(value, f"{prefix}{name}"):
            if isinstance(found, BaseModel):
                yield from held_texts(found, f"{key}.")
            elif marks and isinstance(found, str | PurePath):
                yield HeldText(key, holds or Holds.PATH, str(found))


def _marks(kind: Any, mark: Holds | None) -> Iterator[Holds | None]:
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *metadata = get_args(kind)
        yield from _marks(inner, _mark_in(metadata) or mark)
    elif kind in (str, Any, object) or (isinstance(kind, type) and issubclass(kind, PurePath)):
        yield mark
    elif origin is not Literal:
        for part in get_args(kind):
            yield from _marks(part, mark)


def _mark_in(metadata: list[Any]) -> Holds | None:
    return next((entry for entry in metadata if isinstance(entry, Holds)), None)


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield key, name
            yield from _leaves(below, f"{key}.{name}")
    elif isinstance(value, list | tuple | set | frozenset):
        for below in value:
            yield from _leaves(below, key)
    else:
        yield key, value
