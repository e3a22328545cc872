"""Fetching files of the hub: room on the disk first, bytes counted on the way, every file checked at the end."""

from __future__ import annotations

import glob
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from finetune30.errors import HubAnswerError, HubDownloadError, HubUnavailableError, StorageError, first_line
from finetune30.hub import cache
from finetune30.hub.faults import hub_faults
from finetune30.hub.names import WORDS, Reference, RemoteFile

_LOOK_SECONDS = 0.2
#: Room that is left on the disk for everything else.
_RESERVE_BYTES = 200_000_000
#: The client writes what comes in parts of this size: a slow download shows, and one that is cut loses little.
_PART_BYTES = 1 << 16
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Transfer:
    """How far a download is, in bytes."""

    name: str
    done_bytes: int
    total_bytes: int


#: Told several times a second while something is fetched; what it raises ends the download.
OnTransfer = Callable[[Transfer], None]


class _AbandonedError(Exception):
    """Raised in the client's threads when nobody waits for the files any more."""


def fetch(
    reference: Reference,
    files: Mapping[str, RemoteFile],
    log: Callable[[str], None],
    on_transfer: OnTransfer | None = None,
) -> None:
    """Bring files of a repository, by their paths, into the hub's cache.

    Files that are complete stay when it ends early; nothing half-fetched is ever seen. Raises HubDownloadError (the
    connection broke off), HubAnswerError (an answer that is no file), StorageError (the disk) and what the hub answers.
    """
    total, word = sum(file.size for file in files.values()), WORDS[reference.kind]
    _require_room(total)
    log(f"{word}: fetching {len(files)} {'file' if len(files) == 1 else 'files'} ({_bytes(total)}) of {reference}")
    started = time.monotonic()
    counter = _Counter()
    with _client_warnings.heard_by(log):
        _watch(_Download(reference, list(files), counter), reference, total, counter, on_transfer)
    _check(reference, files, log)
    log(f"{word}: fetched and checked in {time.monotonic() - started:.1f} s")


class _Counter:
    """Bytes that have come, and whether anybody still wants them."""

    def __init__(self) -> None:
        self.bars: list[Any] = []
        self.abandoned = threading.Event()

    @property
    def done(self) -> int:
        """Bytes of the bar that is ahead: the client keeps one for what came and one for what was written."""
        return max((bar.n for bar in self.bars if bar.counts_bytes), default=0)

    def bar_class(self) -> type[Any]:
        """Return a class that the client takes for its progress bars and that shows nothing."""
        from tqdm import tqdm

        counter = self

        class SilentBar(tqdm):  # type: ignore[misc]
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **{**options, "disable": True})
                self.n = options.get("initial") or 0
                self.counts_bytes = options.get("unit") == "B"
                counter.bars.append(self)

            def update(self, n: float | None = 1) -> bool | None:
                if counter.abandoned.is_set():
                    raise _AbandonedError
                self.n += n or 0
                return None

        return SilentBar


class _Download(threading.Thread):
    """The client at work, in a thread, so that whoever waits can look at the progress and can give up."""

    def __init__(self, reference: Reference, paths: list[str], counter: _Counter) -> None:
        super().__init__(name=f"fetch {reference.id}", daemon=True)
        self._reference, self._paths, self._counter = reference, paths, counter
        self.error: BaseException | None = None

    def run(self) -> None:
        from huggingface_hub import constants, snapshot_download

        constants.DOWNLOAD_CHUNK_SIZE = _PART_BYTES
        try:
            snapshot_download(
                self._reference.id,
                repo_type=self._reference.kind,
                revision=self._reference.commit,
                allow_patterns=[glob.escape(path) for path in self._paths],
                tqdm_class=self._counter.bar_class(),
            )
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            self.error = error


def _watch(
    download: _Download, reference: Reference, total: int, counter: _Counter, on_transfer: OnTransfer | None
) -> None:
    tell = on_transfer or (lambda _: None)
    tell(Transfer(reference.id, 0, total))
    download.start()
    try:
        while download.is_alive():
            download.join(_LOOK_SECONDS)
            tell(Transfer(reference.id, min(counter.done, total), total))
    finally:
        counter.abandoned.set()  # means nothing to a download that is through
    if download.error is not None:
        _raise_as_ours(download.error, reference, counter.done, total)


def _raise_as_ours(error: BaseException, reference: Reference, done: int, total: int) -> None:
    kind, name = reference.kind, reference.asked
    try:
        with hub_faults(kind, name, reference.commit):
            raise error
    except HubUnavailableError as silence:
        raise _broken_off(reference, done, total, first_line(error)) from silence
    except OSError as problem:
        if problem.errno is not None:
            raise StorageError(
                f"cannot keep what the hub sends: {problem.strerror} ('{problem.filename}')",
                "free space or mend the folder; HF_HOME names another one",
            ) from error
        raise _broken_off(reference, done, total, first_line(problem)) from error


def _broken_off(reference: Reference, done: int, total: int, why: str) -> HubDownloadError:
    return HubDownloadError(
        f"the download of {WORDS[reference.kind]} {reference.asked!r} broke off after {_bytes(done)} of "
        f"{_bytes(total)}: {why}",
        "try again when the network is back: files that are complete are kept",
    )


def remove_damaged(reference: Reference, files: Mapping[str, RemoteFile], log: Callable[[str], None]) -> frozenset[str]:
    """Compare files that are here with what the hub lists; remove those that differ and return them."""
    folder = cache.snapshot_folder(reference)
    damaged = [path for path, listed in files.items() if cache.is_damaged(folder / path, listed)]
    for path in damaged:
        cache.forget(folder / path)
        log(f"{WORDS[reference.kind]}: {path} in the cache is not what the hub lists: removed")
    return frozenset(damaged)


def _check(reference: Reference, files: Mapping[str, RemoteFile], log: Callable[[str], None]) -> None:
    if damaged := remove_damaged(reference, files, log):
        raise HubAnswerError(
            f"what came as {', '.join(sorted(damaged)[:3])} of {WORDS[reference.kind]} {reference.asked!r} is not what "
            "the hub lists; it was removed",
            "try again; if it stays so, a proxy or mirror on the way changes files: see HF_ENDPOINT and HTTPS_PROXY",
        )


def _require_room(total: int) -> None:
    from huggingface_hub import constants

    folder = next(path for path in (cache.hub_folder(), *cache.hub_folder().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if free < total + _RESERVE_BYTES:
        raise StorageError(
            f"fetching needs {_bytes(total)} beside {_bytes(_RESERVE_BYTES)} kept free, and {_bytes(free)} are free in "
            f"{constants.HF_HUB_CACHE}",
            "free space, or name a folder on a larger disk in HF_HOME",
        )


class _ThroughLogs(logging.Handler):
    """Lets warnings of the client (a download taken up again, say) come out where the lines of those who fetch do."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._logs: list[Callable[[str], None]] = []
        self._logs_lock = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        for log in list(self._logs):
            log(f"hub: {' '.join(record.getMessage().split())[:300]}")

    @contextmanager
    def heard_by(self, log: Callable[[str], None]) -> Iterator[None]:
        """Send warnings to a log too; the client's threads do not tell for whom they work, so all logs get all."""
        client = logging.getLogger("huggingface_hub")
        with self._logs_lock:
            self._logs.append(log)
            client.handlers, client.propagate = [self], False
        try:
            yield
        finally:
            with self._logs_lock:
                self._logs.remove(log)


_client_warnings = _ThroughLogs()


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= _MEGABYTE else f"{size / 1e3:,.1f} kB"
