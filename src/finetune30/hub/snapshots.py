"""A repository at a commit: what it holds, and its files, fetched once.

The hub is asked what a name means today; where nobody answers, what it meant when it was asked last counts. A commit
that is named is never asked for again once its files are here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from finetune30.errors import Finetune30Error, HubAnswerError, HubBusyError, HubUnavailableError
from finetune30.hub import cache
from finetune30.hub.asking import Log, ask, list_files
from finetune30.hub.faults import not_a_name, unavailable
from finetune30.hub.fetching import OnTransfer, fetch, remove_damaged
from finetune30.hub.names import Kind, Reference, RemoteFile, is_commit, is_repository_name
from finetune30.hub.reach import hub_reachable


@dataclass(frozen=True)
class Snapshot:
    """A repository at a commit, which is what `revision` stands for; `files` are those it has, by their paths.

    `part` names what of it is wanted; parts are remembered each by itself. `is_listed` is False where the hub never
    said what belongs to the commit: `files` are then those that are here. `fault` is why the hub was not asked; it is
    raised when a file is wanted that is not here.
    """

    reference: Reference
    revision: str | None
    files: Mapping[str, RemoteFile]
    part: str = ""
    is_listed: bool = True
    fault: Finetune30Error | None = field(default=None, compare=False)

    @property
    def folder(self) -> Path:
        """The folder of the files that are here."""
        return cache.snapshot_folder(self.reference)

    def remember(self) -> None:
        """Let this commit be found without the hub from now on: what is needed of it is here."""
        if self.fault is None:
            cache.remember(self.reference, self.revision, self.part)

    def require(self, paths: Collection[str], log: Log, on_transfer: OnTransfer | None = None) -> None:
        """See to it that files are here and are what the hub lists.

        Files that came before (of a download that was cut, by another program) are compared too, once; where the hub is
        out of reach, by their sizes only. Raises what `fetch` raises, and HubUnavailableError.
        """
        here = [path for path in paths if (self.folder / path).is_file()]
        unchecked = cache.find_unchecked(self.reference, here)
        if len(here) == len(paths) and not unchecked:
            return
        if self.fault is None and hub_reachable():
            listed = list_files(self.reference)  # with digests, which the cached listing lacks
            damaged = remove_damaged(self.reference, {path: listed[path] for path in unchecked}, log)
            missing = [path for path in paths if path not in here or path in damaged]
            if missing:
                fetch(self.reference, {path: listed[path] for path in missing}, log, on_transfer)
            cache.note_checked(self.reference, paths)
            return
        if len(here) < len(paths) or any(_is_cut(self.folder / path, self.files[path]) for path in unchecked):
            raise self.fault or unavailable(self.reference.kind, self.reference.asked)


def open_snapshot(kind: Kind, name: str, revision: str | None, log: Log, part: str = "", *also: str) -> Snapshot:
    """Find out what a name means and what the repository holds; nothing is fetched.

    `part` names what of it is wanted (a configuration, say): without the hub, the commit of which that part, or one of
    `also`, was fetched last counts.

    Raises HubUnavailableError (nothing cached and nobody answers), HubNotFoundError, HubAccessError, HubBusyError and
    HubAnswerError.
    """
    if not is_repository_name(name):
        raise not_a_name(kind, name)
    known = _find_cached(kind, name, revision, (part, *also))
    if known is not None and known.is_listed and is_commit(revision):
        return replace(known, part=part)
    try:
        if not hub_reachable():
            raise unavailable(kind, name)
        reference = ask(kind, name, revision, log)
        return Snapshot(reference, revision, cache.cached_listing(reference) or list_files(reference), part)
    except (HubUnavailableError, HubBusyError, HubAnswerError) as error:
        if known is None:
            raise
        if not isinstance(error, HubUnavailableError):
            log(f"WARNING: {error.message}: using what is cached, {known.reference}")
        return replace(known, fault=error, part=part)


def _is_cut(path: Path, listed: RemoteFile) -> bool:
    return path.stat().st_size != listed.size


def _find_cached(kind: Kind, name: str, revision: str | None, parts: Sequence[str]) -> Snapshot | None:
    reference = cache.find_reference(kind, name, revision, parts)
    if reference is None:
        return None
    listing = cache.cached_listing(reference)
    if listing is not None:
        return Snapshot(reference, revision, listing)
    folder = cache.snapshot_folder(reference)
    here = {
        str(path.relative_to(folder)): RemoteFile(path.stat().st_size) for path in folder.rglob("*") if path.is_file()
    }
    return Snapshot(reference, revision, here, is_listed=False)
