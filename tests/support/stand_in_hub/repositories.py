"""Repositories of the stand-in hub on disk: contents by their hash, commits that stay, branches and tags that move."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from threading import RLock
from typing import Literal
from uuid import uuid4

Kind = Literal["models", "datasets"]
#: Paths in a repository with their contents; None takes a file away (in commits).
Changes = Mapping[str, bytes | Path | None]

#: What the hub's standard .gitattributes hands to LFS, as far as these repositories have it.
LFS_ENDINGS = frozenset(
    ".arrow .bin .ckpt .gz .h5 .model .msgpack .onnx .ot .parquet .pt .pth .safetensors .zip".split()
)
_FIRST_COMMIT = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Repository:
    """What a test asks for: a repository with the files of its first commit (a mapping, or a folder)."""

    kind: Kind
    id: str
    files: Mapping[str, bytes | Path] | Path
    private: bool = False
    gated: Literal["auto", "manual", False] = False
    disabled: bool = False
    #: Older names that answer with a redirect: the one-word names of the hub's first years.
    aliases: Sequence[str] = ()
    #: Name of a branch (also "refs/pr/1") and what its one commit changes on top of the first.
    branches: Mapping[str, Changes] = field(default_factory=dict)
    #: Names for the first commit.
    tags: Sequence[str] = ()


@dataclass(frozen=True)
class StoredFile:
    """One file of a commit; `oid` is its git blob, for LFS files that of the pointer."""

    path: str
    size: int
    sha256: str
    oid: str
    #: None: the file stands in git itself.
    pointer_size: int | None = None

    @property
    def etag(self) -> str:
        return self.oid if self.pointer_size is None else self.sha256


@dataclass(frozen=True)
class Commit:
    sha: str
    title: str
    date: str
    files: Mapping[str, StoredFile]


@dataclass(frozen=True)
class StoredRepository:
    """A repository as it stands now. Commits are never forgotten."""

    kind: Kind
    id: str
    private: bool
    gated: Literal["auto", "manual", False]
    disabled: bool
    aliases: tuple[str, ...]
    commits: Mapping[str, Commit]
    #: Full names ("refs/heads/main", "refs/tags/v1", "refs/pr/1") and the commits they stand for.
    refs: Mapping[str, str]

    def resolve(self, revision: str) -> Commit | None:
        """Return the commit that a branch, a tag, a full reference or a full commit hash names."""
        if revision in self.commits:
            return self.commits[revision]
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if name in self.refs:
                return self.commits[self.refs[name]]
        return None


class RepositoryStore:
    """All repositories below one folder. Contents are never rewritten, so folders may share them by hard links."""

    def __init__(self, folder: Path, *, lfs_over_bytes: int = 10_000_000) -> None:
        self._blobs = folder / "blobs"
        self._manifests = folder / "repositories"
        self._lfs_over_bytes = lfs_over_bytes
        self._lock = RLock()
        self._known: dict[tuple[Kind, str], StoredRepository] = {}
        self._names: dict[tuple[Kind, str], str] = {}
        for made in (self._blobs, self._manifests):
            made.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._manifests.glob("*.json")):
            self._remember(_read_manifest(path))

    def add(self, wanted: Repository) -> StoredRepository:
        """Store a repository; one of the same name is replaced."""
        files = _files_of(wanted.files)
        first = self._build_commit(wanted.id, 0, None, files, "initial commit")
        commits = {first.sha: first}
        refs = {"refs/heads/main": first.sha, **{f"refs/tags/{tag}": first.sha for tag in wanted.tags}}
        for name, changes in wanted.branches.items():
            commit = self._build_commit(wanted.id, len(commits), first, changes, f"Changes of {name}")
            commits[commit.sha] = commit
            refs[_full_branch(name)] = commit.sha
        stored = StoredRepository(
            kind=wanted.kind, id=wanted.id, private=wanted.private, gated=wanted.gated, disabled=wanted.disabled,
            aliases=tuple(wanted.aliases), commits=commits, refs=refs,
        )  # fmt: skip
        return self._save(stored)

    def commit(self, kind: Kind, name: str, changes: Changes, title: str, branch: str) -> str:
        """Put a commit on a branch (a new one starts at main); return its hash."""
        with self._lock:
            stored = self._need(kind, name)
            parent = stored.resolve(branch) or stored.resolve("main")
            commit = self._build_commit(stored.id, len(stored.commits), parent, changes, title)
            refs = {**stored.refs, _full_branch(branch): commit.sha}
            self._save(replace(stored, commits={**stored.commits, commit.sha: commit}, refs=refs))
        return commit.sha

    def tag(self, kind: Kind, name: str, tag: str, revision: str) -> None:
        with self._lock:
            stored = self._need(kind, name)
            commit = stored.resolve(revision)
            if commit is None:
                raise KeyError(f"{name} has no revision {revision}")
            self._save(replace(stored, refs={**stored.refs, f"refs/tags/{tag}": commit.sha}))

    def find(self, kind: Kind, name: str) -> StoredRepository | None:
        """Return the repository of this name or alias."""
        return self._known.get((kind, self._names.get((kind, name), name)))

    def all(self) -> list[StoredRepository]:
        return list(self._known.values())

    def read(self, file: StoredFile, start: int = 0, length: int | None = None) -> bytes:
        """Return a stretch of a file's content."""
        with (self._blobs / file.sha256).open("rb") as content:
            content.seek(start)
            return content.read(-1 if length is None else length)

    def is_large(self, path: str, size: int) -> bool:
        """Tell whether a file goes to large storage."""
        return PurePosixPath(path).suffix in LFS_ENDINGS or size > self._lfs_over_bytes

    def holds(self, sha256: str) -> bool:
        return (self._blobs / sha256).exists()

    def keep(self, sha256: str, data: bytes) -> bool:
        """Keep a content that came for a commit to be; False where it is another one."""
        if hashlib.sha256(data).hexdigest() != sha256:
            return False
        _write_whole(self._blobs / sha256, data)
        return True

    def read_kept(self, sha256: str) -> bytes:
        return (self._blobs / sha256).read_bytes()

    def _need(self, kind: Kind, name: str) -> StoredRepository:
        if (stored := self.find(kind, name)) is None:
            raise KeyError(f"no {kind} repository {name}")
        return stored

    def _build_commit(self, name: str, number: int, parent: Commit | None, changes: Changes, title: str) -> Commit:
        files = dict(parent.files) if parent else {}
        for path, content in changes.items():
            if content is None:
                del files[path]
            else:
                files[path] = self._store_file(path, content)
        files = dict(sorted(files.items()))
        described = [name, number, parent.sha if parent else "", title, [(f.path, f.oid) for f in files.values()]]
        sha = hashlib.sha1(json.dumps(described).encode(), usedforsecurity=False).hexdigest()
        return Commit(sha, title, _written(_FIRST_COMMIT + timedelta(hours=number)), files)

    def _store_file(self, path: str, content: bytes | Path) -> StoredFile:
        data = content if isinstance(content, bytes) else content.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        if not (self._blobs / sha256).exists():
            _write_whole(self._blobs / sha256, data)
        if not self.is_large(path, len(data)):
            return StoredFile(path, len(data), sha256, git_oid("blob", data))
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(data)}\n".encode()
        return StoredFile(path, len(data), sha256, git_oid("blob", pointer), len(pointer))

    def _save(self, stored: StoredRepository) -> StoredRepository:
        name = f"{stored.kind}--{stored.id.replace('/', '--')}.json"
        _write_whole(self._manifests / name, json.dumps(asdict(stored), indent=1).encode())
        self._remember(stored)
        return stored

    def _remember(self, stored: StoredRepository) -> None:
        with self._lock:
            self._known[stored.kind, stored.id] = stored
            for alias in stored.aliases:
                self._names[stored.kind, alias] = stored.id


def link_folder(source: Path, target: Path) -> Path:
    """Give a store a folder of its own with the repositories of another; contents are shared, commits are not."""
    shutil.copytree(source, target, copy_function=os.link)
    return target


def git_oid(kind: str, data: bytes) -> str:
    """Return the hash that git gives an object."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


def _files_of(files: Mapping[str, bytes | Path] | Path) -> Mapping[str, bytes | Path]:
    if not isinstance(files, Path):
        return files
    return {path.relative_to(files).as_posix(): path for path in sorted(files.rglob("*")) if path.is_file()}


def _full_branch(name: str) -> str:
    return name if name.startswith("refs/") else f"refs/heads/{name}"


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _write_whole(path: Path, data: bytes) -> None:
    """Write under another name and rename: a hard link elsewhere keeps what it has, and nobody reads half a file."""
    part = path.with_name(f".{path.name}.{uuid4().hex}")
    part.write_bytes(data)
    part.replace(path)


def _read_manifest(path: Path) -> StoredRepository:
    tree = json.loads(path.read_text(encoding="utf-8"))
    commits = {
        sha: Commit(**{**commit, "files": {name: StoredFile(**file) for name, file in commit["files"].items()}})
        for sha, commit in tree["commits"].items()
    }
    return StoredRepository(**{**tree, "commits": commits, "aliases": tuple(tree["aliases"])})
