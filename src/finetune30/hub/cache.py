"""What the hub's cache on this machine holds: repositories at commits, told by the client's own layout.

https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from finetune30.errors import StorageError
from finetune30.files import save_bytes_atomic, sha256_of
from finetune30.hub.names import Kind, Reference, RemoteFile, canonical_id, is_commit

_LIBRARY = "finetune30"


def hub_folder() -> Path:
    """Return the folder in which the client keeps repositories."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


def snapshot_folder(reference: Reference) -> Path:
    """Return the folder in which the client keeps a repository's files at a commit."""
    return _repository_folder(reference.kind, reference.id) / "snapshots" / reference.commit


def find_reference(kind: Kind, name: str, revision: str | None) -> Reference | None:
    """Return what a name and revision meant when the hub was asked last; None where nothing is cached."""
    for repository in _candidates(kind, name):
        commit = revision if is_commit(revision) else _recorded_commit(kind, repository, revision)
        if commit is None:
            continue
        reference = Reference(kind, name, repository, commit)
        if snapshot_folder(reference).is_dir():
            return reference
    return None


def cached_listing(reference: Reference) -> dict[str, RemoteFile] | None:
    """Return every file that the repository has at the commit, without digests; None where that was never asked."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        files = get_cached_repo_tree(reference.id, repo_type=reference.kind, revision=reference.commit)
    except CachedRepoTreeNotFoundError:
        return None
    return {file.path: RemoteFile(file.size) for file in files}


def remember(reference: Reference, revision: str | None) -> None:
    """Keep what the hub said a name and a revision stand for, so that both are found again without the hub."""
    with suppress(OSError, StorageError):  # a cache that cannot be written only costs asking again
        if reference.id not in (reference.asked, canonical_id(reference.kind, reference.asked)):
            save_bytes_atomic(_note_of(reference.kind, reference.asked), reference.id.encode())
        if not is_commit(revision):
            recorded = _ref(reference.kind, reference.id, revision)
            recorded.parent.mkdir(parents=True, exist_ok=True)
            save_bytes_atomic(recorded, reference.commit.encode())


def is_damaged(path: Path, listed: RemoteFile) -> bool:
    """Return whether a fetched file is not what the hub lists."""
    if path.stat().st_size != listed.size:
        return True
    if listed.sha256 is not None:
        return sha256_of(path) != listed.sha256
    content = path.read_bytes()  # small: the hub keeps large files by sha256
    blob_id = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return listed.blob_id is not None and blob_id != listed.blob_id


def forget(path: Path) -> None:
    """Remove a fetched file, so that it is fetched anew."""
    kept = path.resolve()
    path.unlink(missing_ok=True)
    kept.unlink(missing_ok=True)


def assets_folder(*parts: str) -> Path:
    """Return a folder of ours beside the hub's cache, created where it is missing. Raises OSError."""
    from huggingface_hub import cached_assets_path

    namespace, subfolder = parts
    return cached_assets_path(_LIBRARY, namespace, subfolder)


def _candidates(kind: Kind, name: str) -> Iterator[str]:
    """Yield the repositories that a name may stand for, as far as this machine knows."""
    with suppress(OSError):
        yield _note_of(kind, name).read_text(encoding="utf-8")
    if canonical := canonical_id(kind, name):
        yield canonical
    yield name  # other programs cache one-word names as they are


def _note_of(kind: Kind, name: str) -> Path:
    return assets_folder("names", kind) / name.replace("/", "--")


def _ref(kind: Kind, repository: str, revision: str | None) -> Path:
    return _repository_folder(kind, repository) / "refs" / (revision or "main")


def _recorded_commit(kind: Kind, repository: str, revision: str | None) -> str | None:
    try:
        commit = _ref(kind, repository, revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return commit if is_commit(commit) else None


def _repository_folder(kind: Kind, repository: str) -> Path:
    return hub_folder() / "--".join([f"{kind}s", *repository.split("/")])
