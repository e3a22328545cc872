"""Questions to the hub about a repository: what a name means today, and which files it has."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from finetune30 import __version__
from finetune30.errors import HubAnswerError, HubBusyError
from finetune30.hub.faults import hub_faults, no_hub
from finetune30.hub.names import WORDS, Kind, Reference, RemoteFile, is_commit

if TYPE_CHECKING:
    from huggingface_hub import DatasetInfo, HfApi, ModelInfo

#: Longest pause between two questions that a hub under load is granted.
_LONGEST_PAUSE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 1.0
_TRIES = 3
#: Answers from here on are faults of the server, which often pass.
_SERVER_FAULTS = 500

Log = Callable[[str], None]


def ask(kind: Kind, name: str, revision: str | None, log: Log) -> Reference:
    """Ask what a name and revision mean now; raises what `ask_info` raises."""
    info = ask_info(kind, name, revision, log)
    assert info.sha is not None  # noqa: S101 - `ask_info` looked
    return Reference(kind, name, info.id, info.sha)


def ask_info(kind: Kind, name: str, revision: str | None, log: Log) -> ModelInfo | DatasetInfo:
    """Return what the hub says of a repository (with `id`, `sha` and `private`).

    Asked again after a pause where the hub is busy or stumbles. Raises one of the errors of the hub.
    """
    pause = _FIRST_PAUSE_SECONDS
    for tries_left in reversed(range(_TRIES)):
        try:
            return _ask_once(kind, name, revision)
        except (HubBusyError, HubAnswerError) as error:
            pause = error.details.get("retry_after_seconds", pause)
            stumbles = isinstance(error, HubBusyError) or error.details.get("status", 0) >= _SERVER_FAULTS
            if not tries_left or not stumbles or pause > _LONGEST_PAUSE_SECONDS:
                raise
            log(f"{WORDS[kind]}: {error.message}; asking again in {pause:.0f} s")
            time.sleep(pause)
            pause *= 2
    raise AssertionError("the last try returns or raises")


def _ask_once(kind: Kind, name: str, revision: str | None) -> ModelInfo | DatasetInfo:
    with hub_faults(kind, name, revision):
        api, seconds = open_client()
        info = (api.model_info if kind == "model" else api.dataset_info)(name, revision=revision, timeout=seconds)
        if not is_commit(info.sha):
            raise no_hub(f"it names no commit for {name!r}")
    return info


def list_files(reference: Reference) -> dict[str, RemoteFile]:
    """Return the files of a commit by their paths, with digests."""
    from huggingface_hub.hf_api import RepoFile

    with hub_faults(reference.kind, reference.asked, reference.commit):
        api, _ = open_client()
        entries = api.list_repo_tree(reference.id, repo_type=reference.kind, revision=reference.commit, recursive=True)
        return {
            entry.path: RemoteFile(entry.size, sha256=entry.lfs.sha256)
            if entry.lfs
            else RemoteFile(entry.size, blob_id=entry.blob_id)
            for entry in entries
            if isinstance(entry, RepoFile)
        }


def open_client(seconds: float | None = None) -> tuple[HfApi, float]:
    """Return the hub's client and the seconds that it waits for an answer; by itself it would wait for ever."""
    from huggingface_hub import HfApi, constants, get_session

    seconds = float(constants.HF_HUB_ETAG_TIMEOUT) if seconds is None else seconds
    get_session().timeout = seconds  # for what takes no limit of its own
    return HfApi(library_name="finetune30", library_version=__version__), seconds
