"""What fields of the configuration are made of: kinds of text with their bounds, and the base of every section."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from finetune30.config.holds import Holds
from finetune30.config.problem_types import require_problem_type
from finetune30.config.text_encodings import TEXT_ENCODINGS, require_encoding

Name = Annotated[str, Holds.NAME]
FilePath = Annotated[str, Holds.PATH]
Adapter = Annotated[str, Holds.ADAPTER]
ProblemType = Annotated[str, Holds.NAME, AfterValidator(require_problem_type)]
Device = Annotated[str, Holds.NAME, Field(pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$")]
#: The hub's client makes a path of a revision, so it must not lead anywhere else.
Revision = Annotated[
    str,
    Holds.REVISION,
    Field(
        max_length=200,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_\-]*(\.[A-Za-z0-9_\-]+)*(/[A-Za-z0-9_\-]+(\.[A-Za-z0-9_\-]+)*)*$",
    ),
]
Column = Annotated[str, Holds.COLUMN, Field(min_length=1, max_length=500)]
Encoding = Annotated[
    str,
    Holds.NAME,
    Field(min_length=1, max_length=50),
    AfterValidator(require_encoding),
    WithJsonSchema({"type": "string", "enum": list(TEXT_ENCODINGS)}),
]


def _write_day(value: Any) -> Any:
    """Return a day that YAML read as a date as text."""
    return value.isoformat() if isinstance(value, date) else value


def _require_day(value: str) -> str:
    date.fromisoformat(value)
    return value


#: A day as YYYY-MM-DD.
Day = Annotated[
    str,
    Holds.NAME,
    Field(pattern=r"^\d{4}-\d{2}-\d{2}$"),
    BeforeValidator(_write_day),
    AfterValidator(_require_day),
    WithJsonSchema({"type": "string", "format": "date"}),
]

ENCODINGS = "an encoding that Python knows, such as utf-8, big5, gb18030, cp1252 or utf-16; or null"
REVISIONS = "a branch, tag or commit of the hub: letters, digits, underscores, with . - / between them; or null"


class Section(BaseModel):
    """A section of the configuration: frozen, without keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


def without_old_key(tree: Any, key: str, *values: Any) -> Any:
    """Return a section without a key of earlier versions that decides nothing, where it holds one of the values."""
    if not isinstance(tree, dict) or key not in tree or tree[key] not in values:
        return tree
    return {name: value for name, value in tree.items() if name != key}
