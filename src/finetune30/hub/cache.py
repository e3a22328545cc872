"""What the hub's cache on this machine holds: repositories at commits, told by the client's own layout.

https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from finetune30.errors import StorageError
from finetune30.files import load_json, save_bytes_atomic, save_json_atomic, sha256_of
from finetune30.hub.names import Kind, Reference, RemoteFile, canonical_id, is_commit, well_known_name

_LIBRARY = "finetune30"


def hub_folder() -> Path:
    """Return the folder in which the client keeps repositories."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


def snapshot_folder(reference: Reference) -> Path:
    """Return the folder in which the client keeps a repository's files at a commit."""
    return _repository_folder(reference.kind, reference.id) / "snapshots" / reference.commit


def find_reference(kind: Kind, name: str, revision: str | None, parts: Sequence[str] = ("",)) -> Reference | None:
    """Return what a name and revision stood for when one of the parts was fetched last; None where nothing is cached.

    Without such a note, other programs' meaning of the revision counts.
    """
    for repository in _candidates(kind, name):
        notes = [_read_commit(_note_of_part(kind, repository, revision, part)) for part in parts]
        commits = [revision] if is_commit(revision) else [*notes, _read_commit(_ref(kind, repository, revision))]
        for commit in commits:
            if commit is None:
                continue
            reference = Reference(kind, name, repository, commit)
            if snapshot_folder(reference).is_dir():
                return reference
    return None


def cached_repositories(kind: Kind) -> list[tuple[str, Path]]:
    """Return name (the well-known one, if any) and newest snapshot folder of every repository that lies here."""
    found = []
    for folder in sorted(hub_folder().glob(f"{kind}s--*")):
        snapshots = [path for path in (folder / "snapshots").glob("*") if path.is_dir()]
        if snapshots:
            repository = "/".join(folder.name.split("--")[1:])
            newest = max(snapshots, key=lambda path: path.stat().st_mtime)
            found.append((well_known_name(kind, repository) or repository, newest))
    return found


def cached_listing(reference: Reference) -> dict[str, RemoteFile] | None:
    """Return every file that the repository has at the commit, without digests; None where that was never asked."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        files = get_cached_repo_tree(reference.id, repo_type=reference.kind, revision=reference.commit)
    except CachedRepoTreeNotFoundError:
        return None
    return {file.path: RemoteFile(file.size) for file in files}


def remember(reference: Reference, revision: str | None, part: str) -> None:
    """Keep what the hub said a name and a revision stand for, so that this part is found again without the hub.

    The client's own note (`refs/`) is left alone: it would move for what else other parts hold.
    """
    with suppress(OSError, StorageError):  # a cache that cannot be written only costs asking again
        if reference.id not in (reference.asked, canonical_id(reference.kind, reference.asked)):
            save_bytes_atomic(_note_of(reference.kind, reference.asked), reference.id.encode())
        if not is_commit(revision):
            note = _note_of_part(reference.kind, reference.id, revision, part)
            save_bytes_atomic(note, reference.commit.encode())


def find_unchecked(reference: Reference, paths: Collection[str]) -> list[str]:
    """Return which of the files that are here were never compared with what the hub lists, or changed since."""
    checked = _load_checked(reference)
    folder = snapshot_folder(reference)
    return [path for path in paths if checked.get(path) != _state_of(folder / path)]


def note_checked(reference: Reference, paths: Collection[str]) -> None:
    """Keep that files are what the hub lists."""
    folder = snapshot_folder(reference)
    states = {path: _state_of(folder / path) for path in paths}
    with suppress(OSError, StorageError):  # they are compared again the next time
        save_json_atomic(_checked_file(reference), {**_load_checked(reference), **states})


def _load_checked(reference: Reference) -> dict[str, list[int]]:
    try:
        found: dict[str, list[int]] | None = load_json(_checked_file(reference))
    except (OSError, StorageError):
        return {}
    return found or {}


def _checked_file(reference: Reference) -> Path:
    return assets_folder("checked", reference.kind) / f"{_flat(reference.id)}--{reference.commit}.json"


def _state_of(path: Path) -> list[int]:
    """Return size and time of change, by which a file is known again."""
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def is_damaged(path: Path, listed: RemoteFile) -> bool:
    """Return whether a fetched file is not what the hub lists."""
    if path.stat().st_size != listed.size:
        return True
    if listed.sha256 is not None:
        return sha256_of(path) != listed.sha256
    content = path.read_bytes()  # small: the hub keeps large files by sha256
    blob_id = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return listed.blob_id is not None and blob_id != listed.blob_id


def is_known_absent(reference: Reference, path: str) -> bool:
    """Return whether the client once asked for a file of the commit that does not exist."""
    return (_repository_folder(reference.kind, reference.id) / ".no_exist" / reference.commit / path).is_file()


def forget(path: Path) -> None:
    """Remove a fetched file, so that it is fetched anew."""
    kept = path.resolve()
    path.unlink(missing_ok=True)
    kept.unlink(missing_ok=True)


def assets_folder(namespace: str, subfolder: str) -> Path:
    """Return a folder of ours beside the hub's cache; it need not exist.

    https://huggingface.co/docs/huggingface_hub/guides/manage-cache#caching-assets
    """
    from huggingface_hub import constants

    return Path(constants.HF_ASSETS_CACHE).expanduser() / _LIBRARY / namespace / subfolder


def _candidates(kind: Kind, name: str) -> Iterator[str]:
    """Yield the repositories that a name may stand for, as far as this machine knows."""
    with suppress(OSError):
        yield _note_of(kind, name).read_text(encoding="utf-8")
    if canonical := canonical_id(kind, name):
        yield canonical
    yield name  # other programs cache one-word names as they are


def _note_of(kind: Kind, name: str) -> Path:
    return assets_folder("names", kind) / _flat(name)


def _note_of_part(kind: Kind, repository: str, revision: str | None, part: str) -> Path:
    return assets_folder("commits", kind) / "--".join([_flat(repository), _flat(revision or "main"), _flat(part)])


def _ref(kind: Kind, repository: str, revision: str | None) -> Path:
    return _repository_folder(kind, repository) / "refs" / (revision or "main")


def _read_commit(note: Path) -> str | None:
    try:
        commit = note.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return commit if is_commit(commit) else None


def _flat(name: str) -> str:
    return name.replace("/", "--")


def _repository_folder(kind: Kind, repository: str) -> Path:
    return hub_folder() / "--".join([f"{kind}s", *repository.split("/")])
