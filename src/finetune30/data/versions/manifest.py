"""The manifest of a version: what it holds, where it came from, how it was made.

Format 2 says the columns (`schema`) and what the problem knows about them (`targets`). In format 1 the columns were
always text, text_pair, label and origin, and the class names stood at the top; its digests are those of format 2.
Format 3 is that of versions with test rows, whose own digest (`test_digest`) is part of theirs, format 4 that of
versions that say which rows belong together, with test rows or without.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Protocol

from finetune30.data.problem import label_names
from finetune30.data.versions.schema import FIRST_SCHEMA, Schema, load_schema
from finetune30.errors import DataError, StorageError

FORMAT = 2
#: The format of versions with test rows, which packages before it could not verify.
WITH_TEST_FORMAT = 3
#: The format of versions with a column of role group, which packages before it do not know.
WITH_GROUPS_FORMAT = 4
#: Digits of a digest that names and listings show.
SHORT_DIGITS = 12
DIGEST = re.compile(r"^[0-9a-f]{64}$")
TAG = re.compile(r"^[\w][\w.+-]{0,79}$")


@dataclass(frozen=True)
class Chunk:
    """A stored piece of rows: its content digest, its rows and its size on disk."""

    digest: str
    rows: int
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """Everything about a version but its rows.

    `chunks` maps train, evaluation and, where rows are kept for a test, test to pieces in order; `test_digest` is the
    digest of the latter alone. `targets` is a JSON tree that belongs to the problem; where
    rows have classes, `label_names` in it are their names, the index is the class id. `format` is that of the file.
    """

    digest: str
    created_at: datetime
    problem_type: str
    targets: dict[str, Any]
    chunks: dict[str, tuple[Chunk, ...]]
    source: dict[str, Any]
    recipe: tuple[dict[str, Any], ...] = ()
    statistics: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    note: str = ""
    schema: Schema = FIRST_SCHEMA
    format: int = FORMAT
    test_digest: str | None = None

    @property
    def label_names(self) -> tuple[str, ...]:
        """Class names in order; `()` where rows have no classes."""
        return label_names(self.targets)

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
        names = ("digest", "problem_type", "targets", "label_names", "rows", "size_bytes")
        chunks = {split: [asdict(chunk) for chunk in chunks] for split, chunks in self.chunks.items()}
        return {
            "format": self.format,
            **{name: getattr(self, name) for name in names},
            "created_at": self.created_at.isoformat(),
            "schema": self.schema.as_tree(),
            "chunks": chunks,
            "source": self.source,
            "recipe": list(self.recipe),
            "statistics": self.statistics,
            "parent": self.parent,
            "note": self.note,
            **({} if self.test_digest is None else {"test_digest": self.test_digest}),
        }

    def dump(self) -> str:
        """Return the manifest as JSON text."""
        return json.dumps(self.as_dict(), ensure_ascii=False, indent=2) + "\n"


def load_manifest(text: str, name: str) -> Manifest:
    """Read a manifest. Raises StorageError where it is damaged or of a newer format."""
    try:
        tree: Mapping[str, Any] = json.loads(text)
        if tree["format"] > WITH_GROUPS_FORMAT:
            message = f"the version {name} was written by a newer finetune30 (format {tree['format']})"
            raise StorageError(message, "update finetune30")
        is_first = tree["format"] == 1
        return Manifest(
            digest=tree["digest"],
            created_at=datetime.fromisoformat(tree["created_at"]),
            problem_type=tree["problem_type"],
            targets={"label_names": list(tree["label_names"])} if is_first else dict(tree["targets"]),
            chunks={
                split: tuple(Chunk(**{key: chunk[key] for key in ("digest", "rows", "size_bytes")}) for chunk in chunks)
                for split, chunks in tree["chunks"].items()
            },
            source=tree["source"],
            recipe=tuple(tree["recipe"]),
            statistics=tree["statistics"],
            parent=tree["parent"],
            note=tree["note"],
            schema=FIRST_SCHEMA if is_first else load_schema(tree["schema"]),
            format=tree["format"],
            test_digest=tree.get("test_digest"),
        )
    except (ValueError, KeyError, TypeError, AttributeError, DataError) as error:
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
