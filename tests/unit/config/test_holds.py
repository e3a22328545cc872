"""Every text of the schema says what it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from finetune30.config import ExperimentConfig
from finetune30.config.holds import Holds, held_texts, marks_of
from finetune30.config.problem_types import AUTO


def _unmarked(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _unmarked(field.annotation, f"{prefix}{name}.")
        elif None in (marks := marks_of(field)) or len(marks) > 1:
            yield prefix + name


def test_every_text_of_the_schema_is_marked_once() -> None:
    assert list(_unmarked(ExperimentConfig)) == []


def test_text_without_a_mark_is_found_wherever_it_stands() -> None:
    class Part(BaseModel):
        bare: str = ""
        listed: list[str] | None = None
        keyed: dict[Annotated[str, Holds.NAME], str] = {}
        anything: Any = None
        file: Path | None = None
        bounded: Annotated[str, Field(max_length=3)] | None = None
        two: Annotated[str, Holds.NAME] | Annotated[list[str], Holds.PATH] | None = None
        marked: Annotated[str, Holds.TEXT] | None = None
        below: Annotated[list[str], Holds.PATH] | Literal["auto"] = "auto"
        number: int = 0

    class Whole(BaseModel):
        part: Part = Part()

    assert list(_unmarked(Whole)) == [
        f"part.{name}" for name in ("bare", "listed", "keyed", "anything", "file", "bounded", "two")
    ]


def test_texts_come_with_key_and_mark_and_unmarked_ones_count_as_paths() -> None:
    class Part(BaseModel):
        bare: str = "a"
        files: Annotated[list[str], Holds.PATH] = ["b", "c"]
        word: Literal["x", "y"] = "x"

    class Whole(BaseModel):
        parts: list[Part] = [Part()]
        named: Annotated[str, Holds.NAME] | None = "d"

    assert list(held_texts(Whole())) == [
        ("parts.bare", Holds.PATH, "a"),
        ("parts.files", Holds.PATH, "b"),
        ("parts.files", Holds.PATH, "c"),
        ("named", Holds.NAME, "d"),
    ]


def test_default_configuration_names_what_it_did() -> None:
    held = {key: (holds, text) for key, holds, text in held_texts(ExperimentConfig())}
    assert held["model.name"] == (Holds.MODEL, "distilbert-base-uncased")
    assert held["data.dataset_name"] == (Holds.DATASET, "glue")
    assert held["model.problem_type"] == (Holds.NAME, AUTO)
