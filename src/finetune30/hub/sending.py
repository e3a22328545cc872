"""What is sent to the hub: the files of a model's repository, in one commit that is there whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from finetune30.errors import (
    ConflictError,
    HubAccessError,
    HubAnswerError,
    HubBusyError,
    HubError,
    HubNotFoundError,
    HubUnavailableError,
)
from finetune30.files import sha256_of
from finetune30.hub.asking import Log, ask_info, list_files, open_client
from finetune30.hub.faults import hub_faults, no_hub, not_a_name, unavailable
from finetune30.hub.names import Reference, RemoteFile, is_repository_name
from finetune30.hub.reach import hub_reachable
from finetune30.hub.snapshots import open_snapshot

#: Seconds without a byte, or without an answer to a commit, after which the hub counts as gone.
_PATIENCE_SECONDS = 300.0
#: What the hub itself puts into a new repository.
HUBS_OWN = frozenset({".gitattributes"})
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Outgoing:
    """A file as it is to stand on the hub: its content, or the file that holds it; bytes and both of its digests."""

    content: bytes | Path
    size: int
    sha256: str
    #: The sha1 by which git knows the content.
    blob_id: str

    def is_there(self, remote: RemoteFile | None) -> bool:
        """Tell whether the hub has just this content."""
        return remote is not None and (remote.sha256 == self.sha256 or remote.blob_id == self.blob_id)


def weigh(content: bytes | Path) -> Outgoing:
    """Return a content with its size and digests."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    if isinstance(content, bytes):
        blob.update(content)
        return Outgoing(content, size, hashlib.sha256(content).hexdigest(), blob.hexdigest())
    with content.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            blob.update(block)
    return Outgoing(content, size, sha256_of(content), blob.hexdigest())


@dataclass(frozen=True)
class Repository:
    """A model's repository as it stands on the hub."""

    reference: Reference
    is_private: bool
    files: Mapping[str, RemoteFile]

    def read(self, paths: Collection[str], log: Log) -> Path:
        """Fetch files and return the folder that has them. Raises one of the errors of the hub."""
        snapshot = open_snapshot("model", self.reference.id, self.reference.commit, log)
        snapshot.require(paths, log)
        return snapshot.folder


def find_repository(name: str, log: Log) -> Repository | None:
    """Return a model's repository as it is now; None where there is none that this machine's token may see.

    Raises HubUnavailableError (nobody answers) and the other errors of the hub.
    """
    if not is_repository_name(name) or "/" not in name:
        raise not_a_name("model", name)
    if not hub_reachable():
        raise unavailable("model", name)
    try:
        info = ask_info("model", name, None, log)
    except HubNotFoundError:
        return None
    assert info.sha is not None  # noqa: S101 - `ask_info` looked
    reference = Reference("model", name, info.id, info.sha)
    return Repository(reference, bool(info.private), list_files(reference))


def send(
    name: str,
    found: Repository | None,
    files: Mapping[str, Outgoing],
    removed: Collection[str],
    message: str,
    log: Log,
    *,
    private: bool,
    sent: Callable[[str], None] = lambda _: None,
) -> str:
    """Put files into a repository, take others out, in one commit; return that commit.

    `found` is what `find_repository` gave: None makes a repository, `private` or for everybody; else the commit goes on
    top of what was seen, or not at all. An answer that is lost, or that a fault on the way takes the place of, is no
    failure where the hub has the files afterwards. `sent` hears of the commit as soon as it is known, before it is
    held against what was sent.
    Raises ConflictError where somebody else was faster, HubAccessError (no token, or one that may not write there) and
    the other errors of the hub.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, get_token
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    if not get_token():
        raise HubAccessError("there is no token of the hub", "set HF_TOKEN to one with write access")
    disable_progress_bars()
    api, _ = open_client(_PATIENCE_SECONDS)
    if found is None:
        with _sending_faults(name, "another account has a repository of this name, which this token cannot see"):
            api.create_repo(name, private=private, exist_ok=False)
        log(f"made the {'private' if private else 'public'} repository {name}")
    parent = find_repository(name, log) if found is None else found
    if parent is None:
        raise no_hub(f"it made {name!r} and does not know it")
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(path, file.content if isinstance(file.content, bytes) else str(file.content))
        for path, file in files.items()
        if not file.is_there(parent.files.get(path))
    ]
    operations += [CommitOperationDelete(path) for path in removed]
    open_client(_PATIENCE_SECONDS)
    try:
        with _sending_faults(name, "somebody else changed it at this moment"):
            commit = api.create_commit(
                name, operations, commit_message=message, parent_commit=parent.reference.commit
            ).oid
    except (HubUnavailableError, HubAnswerError, HubBusyError, ConflictError) as error:
        log(f"{error.message}; asking the hub whether it has the files all the same")
        found_commit = _find_sent(name, parent.reference.commit, files, removed, log)
        if found_commit is None:
            raise
        commit = found_commit
    sent(commit)
    _require_sent(Reference("model", name, name, commit), files, removed)
    return commit


def _require_sent(reference: Reference, files: Mapping[str, Outgoing], removed: Collection[str]) -> None:
    """Raise HubError where a commit does not hold what was sent."""
    if wrong := _find_wrong(list_files(reference), files, removed):
        raise HubError(
            f"{reference.id} at {reference.commit} does not hold what was sent: {', '.join(sorted(wrong))}",
            "look at the repository on the hub, then push again",
        )


def _find_sent(name: str, parent: str, files: Mapping[str, Outgoing], removed: Collection[str], log: Log) -> str | None:
    """Return the commit that has what was sent, where the hub made it although its answer was another one."""
    try:
        after = find_repository(name, log)
    except HubError as error:
        log(f"that is not known: {error.message}")
        return None
    if after is None or after.reference.commit == parent or _find_wrong(after.files, files, removed):
        return None
    return after.reference.commit


def _find_wrong(there: Mapping[str, RemoteFile], files: Mapping[str, Outgoing], removed: Collection[str]) -> list[str]:
    wrong = [path for path, file in files.items() if not file.is_there(there.get(path))]
    return wrong + [path for path in removed if path in there]


@contextmanager
def _sending_faults(name: str, conflict: str) -> Iterator[None]:
    """Tell what the hub refuses to one who writes; everything else is told as to one who reads.

    `conflict`: what it means when the hub's state is another one than was supposed.
    """
    import httpx2
    from huggingface_hub import errors

    try:
        with hub_faults("model", name, None):
            try:
                yield
            except RuntimeError as error:  # the client's threads wrap what happened to a file
                if isinstance(error.__cause__, httpx2.HTTPError):
                    raise error.__cause__ from None
                raise
            except ValueError as error:
                if "README.md" in str(error):
                    raise HubError(f"the hub does not take README.md: {' '.join(str(error).split())}") from error
                raise
            except errors.HfHubHTTPError as error:
                if refused := _explain_refusal(name, conflict, error):
                    raise refused from error
                raise
    except HubNotFoundError as error:
        raise _may_not_write(name) from error


def _explain_refusal(name: str, conflict: str, error: Exception) -> ConflictError | HubAccessError | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (409, 412):
        return ConflictError(f"{name!r} on the hub: {conflict}", "look at it there, or choose another name")
    return _may_not_write(name) if status == 403 else None


def _may_not_write(name: str) -> HubAccessError:
    return HubAccessError(
        f"the hub does not let this token write to {name!r}",
        "set HF_TOKEN to a token with write access, of an account that the namespace belongs to",
    )
