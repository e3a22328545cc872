"""The run folder: what a person sees at its top, and how attempts write it without disturbing each other.

An attempt writes under `attempts/<n>/` only. What it wants to show is put into its outbox and renamed from there to the
top. The next attempt first makes its own folder and then takes the outboxes of all attempts before it away, so an
attempt that was paused and comes back finds nothing left that it could rename: it ends with StaleAttemptError.

Publishing: fsync every staged file, write the manifest (sha256 and size of each) beside them, rename everything to the
top, the manifest last. Killed at any point, the next attempt either finds a complete outbox or a complete top and
adopts it, or trains on; `adopt` decides by the manifest.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune30 import failpoints
from finetune30.errors import NotFoundError, StaleAttemptError
from finetune30.files import (
    disk_errors,
    encode_json,
    load_json,
    save_bytes_atomic,
    save_json_atomic,
    sha256_of,
    sync_file,
    sync_folder,
)
from finetune30.store.published_files import (
    HISTORY,
    LOGS,
    MANIFEST,
    MANIFEST_FORMAT,
    ORIGIN,
    REPLAY,
    REVEAL,
    describe_file,
    describe_synced,
    find_faults,
    load_usable_manifest,
)

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV, errno.EMLINK})
#: Why the finished model is not there any more; no part of what is published.
MODEL_REMOVED = "model_removed.json"
_OUTBOX = "outbox"
_INHERITED = "inherited"


@dataclass(frozen=True)
class Published:
    """A complete result at the top of a run folder."""

    manifest: dict[str, Any]
    manifest_sha256: str
    metrics: dict[str, Any]


class RunFolder:
    """Names and rules of one run's folder; making the object touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / LOGS
        self.origin = path / ORIGIN
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.json"
        self.history = path / HISTORY
        self.data_report = path / "data_report.json"
        self.quarantine = path / "quarantine.jsonl"
        self.predictions = path / "predictions.parquet"
        self.replay = path / REPLAY
        self.manifest = path / MANIFEST
        self.artifacts = path / "artifacts"
        self.final_model = path / "artifacts" / "final_model"
        self.model_removed = path / MODEL_REMOVED
        self.attempts = path / "attempts"

    def open_attempt(self, number: int) -> AttemptFolder:
        """Make the folder of a newly claimed attempt, disarm those before it and show its logs at the top.

        Raises StaleAttemptError when a newer attempt is there already, StorageError.
        """
        with disk_errors(f"cannot open attempt {number} in {self.path.name}"):
            attempt = AttemptFolder(self, number)
            attempt.path.mkdir(parents=True, exist_ok=True)
            attempt.require_newest()
            self._disarm_before(attempt)
            attempt.outbox.mkdir(exist_ok=True)
            attempt.checkpoints.mkdir(exist_ok=True)
            attempt.start_records()
            sync_folder(self.attempts)
        return attempt

    def live_logs(self) -> Path:
        """Return the log being written: the newest attempt's, which the top shows too where links are possible."""
        return self._live(LOGS)

    def live_history(self) -> Path:
        """Return the history that is being written, like `live_logs`."""
        return self._live(HISTORY)

    def attempt_numbers(self) -> list[int]:
        """Return the numbers of all attempts that opened their folder, oldest first."""
        if not self.attempts.is_dir():
            return []
        return sorted(int(entry.name) for entry in self.attempts.iterdir() if entry.name.isdigit())

    def earlier_attempts(self, number: int) -> list[AttemptFolder]:
        """Return the attempts before `number`, newest first: where checkpoints and history may be found."""
        return [AttemptFolder(self, n) for n in reversed(self.attempt_numbers()) if n < number]

    def load_published(self) -> Published | None:
        """Return the published result if it is complete and every file is as the manifest says, else None."""
        manifest = load_json(self.manifest) if not self.verify() else None
        return None if manifest is None else self._published(manifest)

    def verify(self, below: str = "") -> list[str]:
        """Re-hash every published file (`below` a folder) and return what is wrong: nothing is the empty list."""
        manifest = load_usable_manifest(self.manifest)
        if manifest is None:
            return [f"{MANIFEST} is missing or broken"]
        files = {name: entry for name, entry in self._without_removed(manifest).items() if name.startswith(below)}
        return find_faults({"files": files}, [self.path])

    def verify_model(self) -> list[str]:
        """Re-hash the files of the finished model and return what is wrong."""
        if self.model_removed.is_file():
            return [str((load_json(self.model_removed) or {}).get("reason", "its model was removed"))]
        return self.verify(self.final_model.relative_to(self.path).as_posix())

    def count_files(self) -> int:
        """Return how many published files there are to be, without those of a model that was removed."""
        return len(self.list_kept())

    def list_kept(self) -> dict[str, Any]:
        """Return what the manifest says of each published file, without those of a model that was removed.

        Raises NotFoundError, StorageError.
        """
        return self._without_removed(self.load_manifest())

    def remove_model(self, reason: str) -> None:
        """Remove the finished model to save its space; what was published stays on record, and so does the reason."""
        with disk_errors(f"cannot remove {self.final_model}"):
            save_json_atomic(self.model_removed, {"reason": reason})
            failpoints.reach("model.before_removal")
            if self.final_model.is_dir():
                shutil.rmtree(self.final_model)

    def size_bytes(self) -> int:
        """Return how much all files of the run take; one with several names counts once."""
        with disk_errors(f"cannot look at {self.path}"):
            seen = {(status.st_dev, status.st_ino): status.st_size for status in self._statuses()}
        return sum(seen.values())

    def _statuses(self) -> Iterator[os.stat_result]:
        for path in self.path.rglob("*"):
            with suppress(FileNotFoundError):  # an attempt tidies up
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield status

    def _without_removed(self, manifest: dict[str, Any]) -> dict[str, Any]:
        model = self.final_model.relative_to(self.path).as_posix() if self.model_removed.is_file() else None
        return {name: entry for name, entry in manifest["files"].items() if not model or not name.startswith(model)}

    def load_manifest(self) -> dict[str, Any]:
        """Return the manifest as it stands, unchecked. Raises NotFoundError, StorageError."""
        manifest: dict[str, Any] | None = load_json(self.manifest)
        if manifest is None:
            raise NotFoundError(f"{self.path.name} has no published result", "only a run that SUCCEEDED has one")
        return manifest

    def artifact(self, name: str) -> Path:
        """Return the path of a published file by its name in the manifest; other names do not exist.

        Raises NotFoundError also for a file that became a link or went missing.
        """
        path = self.path / name
        known = name in self.load_manifest()["files"] and path.resolve() == self.path.resolve() / name
        if not known or not path.is_file():
            raise NotFoundError(f"{self.path.name} has no published file {name!r}", "see manifest.json for the names")
        return path

    def prune(self) -> None:
        """Remove the working state of all attempts (checkpoints, outboxes); their logs and histories stay."""
        for number in self.attempt_numbers():
            attempt = AttemptFolder(self, number)
            for working in (attempt.checkpoints, attempt.outbox, attempt.inherited, *attempt.path.glob("replaced-*")):
                shutil.rmtree(working, ignore_errors=True)

    def _live(self, name: str) -> Path:
        attempts = [self.attempts / str(number) / name for number in reversed(self.attempt_numbers())]
        return next((path for path in attempts if path.is_file()), self.path / name)

    def _disarm_before(self, attempt: AttemptFolder) -> None:
        for earlier in self.earlier_attempts(attempt.number):
            for box in (earlier.outbox, earlier.inherited):
                if not box.is_dir():
                    continue
                if not attempt.inherited.exists() and (box / MANIFEST).is_file():
                    box.rename(attempt.inherited)
                else:
                    grave = attempt.path / f"replaced-{earlier.number}-{box.name}"
                    box.rename(grave)
                    shutil.rmtree(grave)

    def _published(self, manifest: dict[str, Any]) -> Published:
        return Published(manifest, sha256_of(self.manifest), load_json(self.metrics) or {})


class AttemptFolder:
    """The folder of one attempt: its logs, history, checkpoints and outbox."""

    def __init__(self, run: RunFolder, number: int) -> None:
        self.run = run
        self.number = number
        self.path = run.attempts / str(number)
        self.logs = self.path / LOGS
        self.history = self.path / HISTORY
        self.checkpoints = self.path / "checkpoints"
        self.outbox = self.path / _OUTBOX
        self.inherited = self.path / _INHERITED

    def require_newest(self) -> None:
        """Raise StaleAttemptError when a newer attempt has opened its folder."""
        newest = self.run.attempt_numbers()[-1:]
        if newest and newest[0] > self.number:
            raise StaleAttemptError(
                f"attempt {self.number} in {self.run.path.name} was replaced by attempt {newest[0]}",
                "leave the run to that attempt",
            )

    def start_records(self) -> None:
        """Begin logs.txt with the lines of the attempt before, history.jsonl empty, and show both at the top."""
        if not self.logs.exists():
            before = next((a.logs for a in self.run.earlier_attempts(self.number) if a.logs.is_file()), None)
            save_bytes_atomic(self.logs, before.read_bytes() if before else b"")
        self.history.touch()
        self._show(self.logs)
        self._show(self.history)

    def reveal(self, name: str, content: bytes) -> Path:
        """Write a file of this attempt (config.yaml, data_report.json …) and show it at the top at once.

        It becomes part of what `publish` publishes. Raises StaleAttemptError, StorageError.
        """
        path = self.path / name
        save_bytes_atomic(path, content)
        self._show(path)
        return path

    def adopt(self) -> Published | None:
        """Complete and return a result that an earlier attempt published, or was publishing, when it was lost.

        None when there is none or it is damaged: then train. Raises StaleAttemptError, StorageError.
        """
        with disk_errors(f"cannot adopt the result in {self.run.path.name}"):
            inherited = load_usable_manifest(self.inherited / MANIFEST)
            manifest = inherited or load_usable_manifest(self.run.manifest)
            if manifest is None:
                return None
            publisher = AttemptFolder(self.run, manifest["attempt"])
            if not publisher.history.is_file() or find_faults(
                manifest, [self.inherited, self.run.path], history=publisher.history
            ):
                return None
            if publisher.number != self.number:
                shutil.copyfile(publisher.history, self.history)
                sync_file(self.history)
            self._show_records()
            if inherited:
                self._move_to_top(self.inherited)
            return self.run.load_published()

    def publish(self, facts: dict[str, Any]) -> Published:
        """Publish what lies in the outbox, what was revealed, the logs and the history; return the result.

        `facts` (versions, digests, run id …) become part of the manifest. Raises StaleAttemptError when a newer attempt
        is there, StorageError.
        """
        with disk_errors(f"cannot publish the result in {self.run.path.name}"):
            try:
                self._stage_own_files()
                entries = describe_synced(self.outbox)
                for record in (self.logs, self.history):
                    sync_file(record)
                    entries[record.name] = describe_file(record)
                manifest = {
                    **facts,
                    "format": MANIFEST_FORMAT,
                    "attempt": self.number,
                    "files": dict(sorted(entries.items())),
                }
                failpoints.reach("publish.before_manifest")
                save_bytes_atomic(self.outbox / MANIFEST, encode_json(manifest))
                failpoints.reach("publish.after_manifest")
                self.require_newest()
                self._show_records()
                self._move_to_top(self.outbox)
            except FileNotFoundError:
                self.require_newest()  # a newer attempt took the outbox away
                raise
        return self.run._published(manifest)

    def _show(self, path: Path) -> None:
        """Hard-link a file of this attempt to the top, replacing what is there in one step."""
        passing = self.outbox / REVEAL / path.name
        with disk_errors(f"cannot show {path.name} at the top of {self.run.path.name}"):
            self.outbox.mkdir(exist_ok=True)
            passing.parent.mkdir(exist_ok=True)
            passing.unlink(missing_ok=True)
            _link_or_copy(path, passing)
            self.require_newest()
            try:
                passing.replace(self.run.path / path.name)
                passing.unlink(missing_ok=True)  # renaming onto another link of the same file leaves both
            except FileNotFoundError:
                self.require_newest()
                raise

    def _show_records(self) -> None:
        """Bring the top's log and history up to date where the file system has no hard links."""
        for record in (self.logs, self.history):
            shown = self.run.path / record.name
            if not shown.exists() or not shown.samefile(record):
                self._show(record)

    def _stage_own_files(self) -> None:
        for file in sorted(self.path.iterdir()):
            if file.is_file() and file.name not in (LOGS, HISTORY) and not file.name.startswith("."):
                staged = self.outbox / file.name
                if not staged.exists():
                    _link_or_copy(file, staged)

    def _move_to_top(self, box: Path) -> None:
        top = self.run.path
        self.run.manifest.unlink(missing_ok=True)
        for entry in sorted(box.iterdir()):
            if entry.name in (MANIFEST, REVEAL):
                continue
            target = top / entry.name
            if target.is_dir():
                target.rename(self.path / f"replaced-{os.urandom(4).hex()}-{entry.name}")
            entry.replace(target)
            failpoints.reach("publish.after_each_move")
        sync_folder(top)
        failpoints.reach("publish.before_last_move")
        (box / MANIFEST).replace(self.run.manifest)
        sync_folder(top)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        shutil.copyfile(source, target)
        sync_file(target)
