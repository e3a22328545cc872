"""Names of the registry: models, aliases, and how a version is named wherever a run is.

`NAME:7` is a version, `NAME@production` the version under an alias, `NAME@latest` the newest that is READY. No
run can be called so: names of experiments hold neither `@` nor `:`. The bare `NAME` is a run's where one is called so,
else that of the newest version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from finetune30.errors import UsageError

#: The newest version that is READY; computed, so nobody moves it.
LATEST = "latest"
#: Aliases that only the roles promoter and admin move.
PROTECTED = ("staging", "production")

_NAME = re.compile(r"[a-z0-9][a-z0-9._\-]{0,62}")
_LIKE_A_VERSION = re.compile(r"v?\d+")
_REFERENCE = re.compile(r"([^@:/]+)(?:@([^@:/]+)|:(\d{1,9}))")


@dataclass(frozen=True)
class ModelReference:
    """A version as people name it: `number`, else `alias`."""

    model: str
    alias: str | None
    number: int | None

    def __str__(self) -> str:
        return f"{self.model}@{self.alias}" if self.number is None else f"{self.model}:{self.number}"


def parse_reference(text: str) -> ModelReference | None:
    """Return what `NAME@alias` or `NAME:7` names; None for what has another form."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        return None
    number = None if found[3] is None else int(found[3])
    if found[2] is not None and (numbered := _LIKE_A_VERSION.fullmatch(found[2])):  # NAME@v7, as other registries say
        number = int(numbered[0].removeprefix("v"))
    return ModelReference(found[1], None if number is not None else found[2], number)


def require_model_name(name: str) -> str:
    """Return the name if a model may have it: it is also a folder's. Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name[:80]!r} is no name for a model",
            "use 1 to 63 lower-case letters, digits and . _ -, a letter or digit first",
        )
    return name


def require_alias(alias: str) -> str:
    """Return the name if people may move an alias of it. Raises UsageError."""
    if not _NAME.fullmatch(alias):
        raise UsageError(
            f"{alias[:80]!r} is no name for an alias",
            "use 1 to 63 lower-case letters, digits and . _ -, a letter or digit first",
        )
    if alias == LATEST or _LIKE_A_VERSION.fullmatch(alias):
        raise UsageError(
            f"'{alias}' is no alias that can be moved: it is told by the versions themselves",
            "choose another name, such as production, staging or candidate",
        )
    return alias
