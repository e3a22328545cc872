"""What the registry hands out: versions, aliases and events as plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from finetune30.store.model_names import PROTECTED


class VersionState(StrEnum):
    """CHECKING: whether it answers as its run did is not known yet; REFUSED: it does not.

    READY can be promoted; RETIRED stays on record and can be asked by number, but no alias may lead to it.
    """

    CHECKING = "CHECKING"
    REFUSED = "REFUSED"
    READY = "READY"
    RETIRED = "RETIRED"


@dataclass(frozen=True)
class NewVersion:
    """What a version is made of; the sha256 sums are those of the files that it was made with."""

    run_id: str
    problem_type: str
    manifest_sha256: str
    adapter_sha256: str
    labels_sha256: str
    base_sha256: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class ModelVersion:
    """A version on record; `facts` are what is shown and searched of its run.

    `certificate` says how it answers beside what its run predicted; None where that was not asked yet.
    """

    model: str
    number: int
    run_id: str
    state: VersionState
    manifest_sha256: str
    adapter_sha256: str
    labels_sha256: str
    base_sha256: str
    version_sha256: str
    facts: dict[str, Any]
    certificate: dict[str, Any] | None
    created_at: datetime
    created_by: str

    @property
    def name(self) -> str:
        """The name that always means this version."""
        return f"{self.model}:{self.number}"

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**vars(self), "name": self.name, "created_at": self.created_at.isoformat()}


@dataclass(frozen=True)
class Alias:
    """A movable pointer to a version; `generation` counts its moves."""

    model: str
    alias: str
    number: int
    generation: int
    moved_at: datetime
    moved_by: str

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**vars(self), "moved_at": self.moved_at.isoformat(), "protected": self.alias in PROTECTED}


@dataclass(frozen=True)
class ModelEvent:
    """One change of a model, with who made it and why."""

    number: int
    model: str
    at: datetime
    kind: str
    version: int | None
    from_version: int | None
    alias: str | None
    generation: int | None
    actor: str
    reason: str | None
    detail: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**vars(self), "at": self.at.isoformat()}


@dataclass(frozen=True)
class Model:
    """A model with its versions, the newest first, and its aliases by name."""

    name: str
    problem_type: str
    created_at: datetime
    created_by: str
    versions: tuple[ModelVersion, ...]
    aliases: tuple[Alias, ...]

    def aliases_of(self, number: int) -> list[str]:
        """Return the aliases that lead to a version."""
        return [alias.alias for alias in self.aliases if alias.number == number]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values, each version with the aliases that lead to it."""
        return {
            "name": self.name,
            "problem_type": self.problem_type,
            "created_at": self.created_at.isoformat(),
            "created_by": self.created_by,
            "aliases": [alias.as_dict() for alias in self.aliases],
            "versions": [{**one.as_dict(), "aliases": self.aliases_of(one.number)} for one in self.versions],
        }
