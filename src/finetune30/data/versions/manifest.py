"""The manifest of a version: what it holds, where it came from, how it was made."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Protocol

from finetune30.errors import StorageError

FORMAT = 1
#: Digits of a digest that names and listings show.
SHORT_DIGITS = 12
DIGEST = re.compile(r"^[0-9a-f]{64}$")
TAG = re.compile(r"^[\w][\w.+-]{0,79}$")
#: Row columns of a stored version; `origin` is the row id under which a row was first read.
ROW_COLUMNS = ("text", "text_pair", "label", "origin")


@dataclass(frozen=True)
class Chunk:
    """A stored piece of rows: its content digest, its rows and its size on disk."""

    digest: str
    rows: int
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """Everything about a version but its rows. `chunks` maps train and evaluation to pieces in order."""

    digest: str
    created_at: datetime
    problem_type: str
    label_names: tuple[str, ...]
    chunks: dict[str, tuple[Chunk, ...]]
    source: dict[str, Any]
    recipe: tuple[dict[str, Any], ...] = ()
    statistics: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    note: str = ""

    @property
    def targets(self) -> dict[str, Any]:
        """What the rows ask of a model."""
        return {"label_names": list(self.label_names)} if self.label_names else {}

    @property
    def rows(self) -> dict[str, int]:
        """Number of rows by split."""
        return {split: sum(chunk.rows for chunk in chunks) for split, chunks in self.chunks.items()}

    @property
    def size_bytes(self) -> int:
        """Bytes of all pieces, shared or not."""
        return sum(chunk.size_bytes for chunks in self.chunks.values() for chunk in chunks)

    @property
    def short(self) -> str:
        """The first digits of the digest."""
        return self.digest[:SHORT_DIGITS]

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON tree."""
        schema = dict.fromkeys(ROW_COLUMNS, "string")
        tree = asdict(self) | {"created_at": self.created_at.isoformat(), "rows": self.rows, "schema": schema}
        return {"format": FORMAT, **tree}

    def dump(self) -> str:
        """Return the manifest as JSON text."""
        return json.dumps(self.as_dict(), ensure_ascii=False, indent=2) + "\n"


def load_manifest(text: str, name: str) -> Manifest:
    """Read a manifest. Raises StorageError where it is damaged or of a newer format."""
    try:
        tree: Mapping[str, Any] = json.loads(text)
        if tree["format"] > FORMAT:
            message = f"the version {name} was written by a newer finetune30 (format {tree['format']})"
            raise StorageError(message, "update finetune30")
        return Manifest(
            digest=tree["digest"],
            created_at=datetime.fromisoformat(tree["created_at"]),
            problem_type=tree["problem_type"],
            label_names=tuple(tree["label_names"]),
            chunks={
                split: tuple(Chunk(**{key: chunk[key] for key in ("digest", "rows", "size_bytes")}) for chunk in chunks)
                for split, chunks in tree["chunks"].items()
            },
            source=tree["source"],
            recipe=tuple(tree["recipe"]),
            statistics=tree["statistics"],
            parent=tree["parent"],
            note=tree["note"],
        )
    except (ValueError, KeyError, TypeError) as error:
        message = f"the manifest of version {name} is damaged ({error})"
        raise StorageError(message, "restore it from a backup, or create the version again") from error


class VersionIndex(Protocol):
    """What the database knows about versions; the folder stays the truth, so every call may be repeated."""

    def record(self, manifest: Manifest) -> None:
        """Add or refresh the entry of a version."""

    def record_tag(self, tag: str, digest: str | None) -> None:
        """Let a tag point at a version; None removes it."""

    def remove(self, digest: str) -> None:
        """Remove the entry of a version that is gone."""

    def referenced(self) -> frozenset[str]:
        """Return the digests that runs refer to."""
