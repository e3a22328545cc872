"""The folder of versions.

    <data folder>/
    ├── chunks/<2 hex>/<digest>.parquet   rows, named by their content: versions share what they have in common
    ├── versions/<digest>.json            manifest, written last: a version is there whole or not at all
    ├── tags/<tag>                        the digest a tag points at
    └── .lock                             shared by creators, exclusive for gc

Writers race without harm: a piece or manifest that is already there is the same one.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from finetune30.data.digests import digest_rows
from finetune30.data.problem import label_names
from finetune30.data.sources.parquet import cast_to_text, number_rows
from finetune30.data.sources.table import VERSION, SourceTable
from finetune30.data.versions.chunks import cut_into_chunks, digest_chunk
from finetune30.data.versions.held_back import TEST, HeldBackRows, digest_test_rows
from finetune30.data.versions.manifest import (
    DIGEST,
    FORMAT,
    TAG,
    WITH_GROUPS_FORMAT,
    WITH_TEST_FORMAT,
    Chunk,
    Manifest,
    VersionIndex,
    load_manifest,
)
from finetune30.data.versions.schema import FIRST_SCHEMA, ORIGIN, Schema
from finetune30.errors import ConflictError, DataError, NotFoundError, StorageError, UsageError
from finetune30.files import create_file, disk_errors, save_bytes_atomic
from finetune30.values import say_count

#: Splits in the order in which they are hashed.
SPLITS = ("train", "evaluation")


def utc_now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


class VersionStore:
    """Versions under one data folder; the folder is made by the first write."""

    def __init__(
        self, folder: Path, index: VersionIndex | None = None, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.folder, self._index, self._clock = folder, index, clock

    def create(
        self,
        splits: Mapping[str, pl.DataFrame],
        *,
        problem_type: str,
        source: dict[str, Any],
        targets: Mapping[str, Any],
        schema: Schema = FIRST_SCHEMA,
        recipe: Sequence[dict[str, Any]] = (),
        statistics: dict[str, Any] | None = None,
        parent: str | None = None,
        note: str = "",
        held_back: HeldBackRows | None = None,
    ) -> tuple[Manifest, bool]:
        """Store rows (columns of `schema` by split) and return the manifest and whether it is new.

        `targets` is what the problem knows about them (see `Manifest`), `held_back` are test rows beside them.
        Rows that are stored already are the version that holds them: its manifest is returned unchanged.
        Raises DataError where rows have other columns than the schema.
        """
        splits = {split: schema.conform(splits[split]) for split in SPLITS if split in splits}
        digest = _digest_splits(targets, schema, splits, None if held_back is None else held_back.digest)
        with self._lock(exclusive=False):
            if not self._manifest_path(digest).exists():
                manifest = Manifest(
                    digest,
                    self._clock(),
                    problem_type,
                    dict(targets),
                    {split: tuple(self._save_chunks(rows, schema)) for split, rows in splits.items()}
                    | ({} if held_back is None else {TEST: self._chunks_of(held_back, schema)}),
                    source,
                    tuple(recipe),
                    statistics or {},
                    parent if parent != digest else None,
                    note,
                    schema,
                    _format_of(schema, held_back),
                    None if held_back is None else held_back.digest,
                )
                created = create_file(self._manifest_path(digest), manifest.dump())
            else:
                created = False
        manifest = self.get(digest)
        if self._index is not None:
            self._index.record(manifest)
        return manifest, created

    def get(self, name: str) -> Manifest:
        """Return the manifest of a digest, a unique beginning of one, or a tag. Raises NotFoundError."""
        digest = self.resolve(name)
        return load_manifest(self._manifest_path(digest).read_text(encoding="utf-8"), name)

    def resolve(self, name: str) -> str:
        """Return the digest that a digest, a unique beginning (4 digits or more) or a tag stands for."""
        if DIGEST.match(name) and self._manifest_path(name).exists():
            return name
        tagged = self.tags().get(name)
        if tagged is not None:
            return tagged
        near = [digest for digest in self.digests() if len(name) >= 4 and digest.startswith(name)]
        if len(near) == 1:
            return near[0]
        if near:
            raise UsageError(
                f"{say_count(len(near), 'versions begin')} with {name!r}", "write more digits of the digest"
            )
        raise NotFoundError(f"there is no dataset version {name!r}", "list them with: ft30 data versions list")

    def digests(self) -> list[str]:
        """Return the digests of all versions."""
        folder = self.folder / "versions"
        return sorted(path.stem for path in folder.glob("*.json") if DIGEST.match(path.stem))

    def list_all(self) -> list[Manifest]:
        """Return all manifests, newest first."""
        found = [self.get(digest) for digest in self.digests()]
        return sorted(found, key=lambda manifest: (manifest.created_at, manifest.digest), reverse=True)

    def load_rows(self, manifest: Manifest, split: str) -> pl.DataFrame:
        """Return the rows of a split (columns of the manifest's schema). Raises StorageError for a lost piece."""
        frames = [self._load_chunk(chunk, manifest.schema) for chunk in manifest.chunks.get(split, ())]
        return pl.concat([manifest.schema.empty(), *frames])

    def held_back(self, name: str) -> HeldBackRows | None:
        """Return the test rows of a version, unread, to go into another one; None where it has none."""
        manifest = self.get(name)
        if manifest.test_digest is None:
            return None
        return HeldBackRows(manifest.test_digest, manifest.rows[TEST], chunks=manifest.chunks[TEST])

    def load_tables(self, name: str) -> dict[str, list[SourceTable]]:
        """Return a version as tables for training, under the splits train and validation; every cell is text there.

        Test rows are never among them.
        """
        manifest = self.get(name)
        tables: dict[str, list[SourceTable]] = {}
        for split, called in (("train", "train"), ("evaluation", "validation")):
            if not manifest.rows.get(split):
                continue
            name = f"version:{manifest.short}/{called}"
            rows = manifest.schema.without_empty_texts(self.load_rows(manifest, split).drop(ORIGIN, strict=False))
            table = SourceTable(
                name,
                VERSION,
                number_rows(cast_to_text(rows, name)),
                label_order={target.name: manifest.label_names for target in manifest.schema.targets},
                facts={"version": manifest.digest},
                group_column=manifest.schema.group,
            )
            tables[called] = [table]
        return tables

    def tags(self) -> dict[str, str]:
        """Return every tag with the digest it points at."""
        folder = self.folder / "tags"
        if not folder.is_dir():
            return {}
        paths = sorted(path for path in folder.iterdir() if TAG.match(path.name))
        return {path.name: path.read_text(encoding="utf-8").strip() for path in paths}

    def tag(self, tag: str, name: str, *, move: bool = False) -> Manifest:
        """Let `tag` point at a version. Raises ConflictError where it points elsewhere and `move` is false."""
        require_tag_name(tag)
        manifest = self.get(name)
        present = self.tags().get(tag)
        if present not in (None, manifest.digest) and not move:
            raise ConflictError(
                f"the tag {tag!r} points at version {str(present)[:12]}",
                f"move it with: ft30 data versions tag {tag} {manifest.short} --move (in a request: move=true)",
            )
        path = self.folder / "tags" / tag
        save_bytes_atomic(path, f"{manifest.digest}\n".encode())
        if self._index is not None:
            self._index.record_tag(tag, manifest.digest)
        return manifest

    def untag(self, tag: str) -> None:
        """Remove a tag. Raises NotFoundError."""
        if tag not in self.tags():
            raise NotFoundError(f"there is no tag {tag!r}", "list them with: ft30 data versions list")
        (self.folder / "tags" / tag).unlink()
        if self._index is not None:
            self._index.record_tag(tag, None)

    def verify(self, name: str) -> list[str]:
        """Hash every row of a version again; return what is wrong (nothing: all is well)."""
        manifest = self.get(name)
        faults: list[str] = []
        splits: dict[str, pl.DataFrame] = {}
        for split, chunks in manifest.chunks.items():
            frames = []
            for chunk in chunks:
                try:
                    frame = self._load_chunk(chunk, manifest.schema)
                except StorageError as error:
                    faults.append(error.message)
                    continue
                if digest_chunk(frame, manifest.schema) != chunk.digest:
                    faults.append(f"{split}: piece {chunk.digest[:12]} holds other rows than it did")
                frames.append(frame)
            splits[split] = pl.concat([manifest.schema.empty(), *frames])
        kept = splits.get(TEST)
        tested = None if kept is None or faults else digest_test_rows(kept, manifest.schema)
        if tested != manifest.test_digest and not faults:
            faults.append("the manifest does not belong to these test rows")
        if not faults and _digest_splits(manifest.targets, manifest.schema, splits, tested) != manifest.digest:
            faults.append("the manifest does not belong to these rows")
        return faults

    def collect_garbage(self, *, keep_days: float, dry_run: bool) -> dict[str, list[str]]:
        """Remove versions that no run, tag or kept version refers to and pieces that belong to no version.

        Only versions older than `keep_days` go. Returns the digests of `versions` and `chunks` removed (or, in a dry
        run, that would be), and left-over temporary `files`. Raises StorageError where no index says what runs need.
        """
        if self._index is None:
            raise StorageError(
                "without the database nobody knows which versions runs need", "run it as: ft30 data versions gc"
            )
        with self._lock(exclusive=True):
            manifests = {manifest.digest: manifest for manifest in self.list_all()}
            kept = self._needed(manifests, self._index.referenced(), keep_days)
            gone = sorted(manifests.keys() - kept)
            used = {chunk.digest for digest in kept for chunks in manifests[digest].chunks.values() for chunk in chunks}
            loose = sorted(path for path in self.folder.glob("chunks/*/*.parquet") if path.stem not in used)
            leftovers = sorted(path for path in self.folder.rglob(".*") if path.is_file() and path.name != ".lock")
            if not dry_run:
                for digest in gone:  # manifests first: a version without its pieces must never be seen
                    self._manifest_path(digest).unlink()
                    self._index.remove(digest)
                for path in [*loose, *leftovers]:
                    path.unlink()
        return {
            "versions": gone,
            "chunks": [path.stem for path in loose],
            "files": [str(path.relative_to(self.folder)) for path in leftovers],
        }

    def _needed(self, manifests: Mapping[str, Manifest], referenced: frozenset[str], keep_days: float) -> set[str]:
        now = self._clock()
        young = {m.digest for m in manifests.values() if (now - m.created_at).total_seconds() < keep_days * 86_400}
        return (young | referenced | set(self.tags().values())) & manifests.keys()

    def _chunks_of(self, held_back: HeldBackRows, schema: Schema) -> tuple[Chunk, ...]:
        return held_back.chunks if held_back.rows is None else tuple(self._save_chunks(held_back.rows, schema))

    def _save_chunks(self, rows: pl.DataFrame, schema: Schema) -> Iterator[Chunk]:
        for frame in cut_into_chunks(rows, schema):
            digest = digest_chunk(frame, schema)
            path = self._chunk_path(digest)
            if not path.exists():
                content = io.BytesIO()
                frame.write_parquet(content)
                save_bytes_atomic(path, content.getvalue())
            yield Chunk(digest, frame.height, path.stat().st_size)

    def _load_chunk(self, chunk: Chunk, schema: Schema) -> pl.DataFrame:
        try:
            return schema.conform(pl.read_parquet(self._chunk_path(chunk.digest)))
        except (OSError, pl.exceptions.PolarsError, DataError) as error:
            message = f"piece {chunk.digest[:12]} with {say_count(chunk.rows, 'rows')} is missing or cannot be read"
            raise StorageError(message, "restore chunks/ from a backup, or create the version again") from error

    def _manifest_path(self, digest: str) -> Path:
        return self.folder / "versions" / f"{digest}.json"

    def _chunk_path(self, digest: str) -> Path:
        return self.folder / "chunks" / digest[:2] / f"{digest}.parquet"

    @contextmanager
    def _lock(self, *, exclusive: bool) -> Iterator[None]:
        """Hold the folder's lock: creators share it, gc has it alone. What the disk refuses is a StorageError."""
        import fcntl

        with disk_errors("cannot write a dataset version"):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / ".lock").open("a") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
                yield


def _format_of(schema: Schema, held_back: HeldBackRows | None) -> int:
    if schema.group is not None:
        return WITH_GROUPS_FORMAT
    return FORMAT if held_back is None else WITH_TEST_FORMAT


def require_tag_name(tag: str) -> None:
    """Raise UsageError for what cannot be the name of a tag."""
    if not TAG.match(tag) or DIGEST.match(tag):
        raise UsageError(f"{tag!r} is no tag", "use letters, digits, dots, dashes and underscores, at most 80")


def digest_version(
    targets: Mapping[str, Any],
    splits: Mapping[str, pl.DataFrame],
    schema: Schema = FIRST_SCHEMA,
    held_back: HeldBackRows | None = None,
) -> str:
    """Return the digest of rows by split, in order, of test rows beside them, and of what is asked of them.

    It is that of format 1 where the columns are those of format 1. Where rows came from is no part of it.
    """
    conformed = {split: schema.conform(splits[split]) for split in SPLITS if split in splits}
    return _digest_splits(targets, schema, conformed, None if held_back is None else held_back.digest)


def _digest_splits(
    targets: Mapping[str, Any], schema: Schema, splits: Mapping[str, pl.DataFrame], test_digest: str | None
) -> str:
    """Return the digest of rows that have the columns of `schema`; without test rows it is that of formats before."""
    has_names_only = targets.keys() <= {"label_names"}
    head = json.dumps(label_names(targets) if has_names_only else targets, ensure_ascii=False, sort_keys=True)
    head += "" if schema == FIRST_SCHEMA else schema.identity()
    columns = [column.name for column in schema.content]
    digest = digest_rows(head, columns, [splits.get(split, schema.empty()) for split in SPLITS])
    return digest if test_digest is None else hashlib.sha256(f"{digest}:{test_digest}".encode()).hexdigest()
