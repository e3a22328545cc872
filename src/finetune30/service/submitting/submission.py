"""Handing a run over to the workers: the row first, which makes it durable, then the message, which only hurries it.

Whatever happens to the message, the row is found by the reconciler. So a submission also succeeds while Redis is down.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from finetune30 import failpoints
from finetune30.config import ExperimentConfig
from finetune30.config.loading import config_error, dump_config
from finetune30.errors import ServiceUnavailableError, StorageError, UsageError
from finetune30.files import disk_errors, save_bytes_atomic
from finetune30.service.runs.open_records import Records
from finetune30.service.submitting.named_files import results_fault
from finetune30.service.submitting.start_weights import pin_start_adapter
from finetune30.settings import Settings
from finetune30.store import Run, RunStatus, RunStore

PRIORITIES = range(-100, 101)
KEPT_CONFIGURATIONS = 100

_TEMPORARY_NAME = re.compile(r"temp_[0-9a-f]{32}\.yaml")


class Publisher(Protocol):
    """Tells the workers that a run waits."""

    def publish(self, run_id: str) -> None:
        """Send the message within 2 s, or raise ServiceUnavailableError."""
        ...


@dataclass(frozen=True)
class Submission:
    """A run that is durably queued (or was, under the same idempotency key).

    `queue_position` counts from 1, None once the run is no longer QUEUED. `published` False means that the run starts
    with the next look of a reconciler. `notes` tell people what went less than well.
    """

    run: Run
    queue_position: int | None
    published: bool
    notes: tuple[str, ...] = ()


def submit(
    store: RunStore,
    config: ExperimentConfig,
    settings: Settings,
    *,
    publisher: Publisher,
    explicit: frozenset[str] = frozenset(),
    priority: int = 0,
    idempotency_key: str | None = None,
    request_sha256: str | None = None,
    submitted_by: str | None = None,
    origin: Mapping[str, str] | None = None,
    pause_at: float | None = None,
) -> Submission:
    """Record the run, tell the workers, and keep its configuration as temp_{task_id}.yaml.

    `explicit` names the dotted keys that were given, as for `ft30 train`. `priority` is -100 to 100, higher first;
    `origin` tells which run this one repeats, `pause_at` at which share of its steps it pauses.
    Raises ConfigError for a results folder of its own and a `training.start_adapter` that names nothing, UsageError for
    a priority out of range, IdempotencyError, StorageError.
    """
    _require_shared_results(config, settings)
    if priority not in PRIORITIES:
        raise UsageError(f"priority {priority} is out of range", "use -100 to 100; higher is earlier")
    config = pin_start_adapter(config, Records(store, settings.results_folder))
    failpoints.reach("submit.before_row")
    run = store.create(
        config,
        kind="queued",
        results_root=settings.results_folder,
        priority=priority,
        idempotency_key=idempotency_key,
        request_sha256=request_sha256,
        submitted_by=submitted_by,
        explicit=explicit,
        origin=origin,
        pause_at=pause_at,
    )
    failpoints.reach("submit.after_row")
    notes = _keep_configuration(run, settings.submitted_folder)
    position = store.queue_position(run.id, settings.max_running_runs)  # before a worker hears of it
    failpoints.reach("submit.before_message")
    published, trouble = _publish(store, run, publisher)
    return Submission(run, position, published, (*notes, *trouble))


def retry_task(store: RunStore, reference: str, *, publisher: Publisher, most_running: int | None = None) -> Submission:
    """Queue a FAILED or CANCELLED run again, for any worker; it goes on from its last checkpoint.

    Raises NotFoundError, ConflictError for another state.
    """
    run = store.retry(store.get(reference).id, kind="queued")
    position = store.queue_position(run.id, most_running)
    published, notes = _publish(store, run, publisher)
    return Submission(run, position, published, notes)


def digest_request(tree: Mapping[str, Any]) -> str:
    """Return the sha256 by which two requests under one idempotency key are told apart: key order does not count."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _require_shared_results(config: ExperimentConfig, settings: Settings) -> None:
    if fault := results_fault(config.training.output_dir, settings, "submission"):
        raise config_error([fault])


def _publish(store: RunStore, run: Run, publisher: Publisher) -> tuple[bool, tuple[str, ...]]:
    if run.status is not RunStatus.QUEUED:
        return False, ()
    try:
        publisher.publish(run.id)
    except ServiceUnavailableError as error:
        return False, (f"{error.message}; the run is recorded, and a worker takes it from the database",)
    failpoints.reach("submit.after_message")
    try:
        store.mark_published([run.id])
    except StorageError as error:  # another message will follow, which does no harm
        return True, (f"the message was sent but not noted: {error.message}",)
    return True, ()


def _keep_configuration(run: Run, folder: Path) -> tuple[str, ...]:
    """Write temp_{task_id}.yaml and remove the oldest beyond the newest 100; return what went wrong."""
    path = folder / f"temp_{run.id}.yaml"
    if path.exists():
        return ()
    again = f"ft30 train --config {shlex.quote(path.as_posix())}"
    header = f"Submitted as run {run.id}; carried out here again with:\n\n  {again}"
    config = ExperimentConfig.model_validate(run.config)
    try:
        with disk_errors(f"cannot keep {path}"):
            folder.mkdir(parents=True, exist_ok=True)
            save_bytes_atomic(path, dump_config(config, header).encode(), durable=False)
            _remove_oldest(folder)
    except StorageError as error:
        return (error.message,)
    return ()


def _remove_oldest(folder: Path) -> None:
    with os.scandir(folder) as entries:
        kept = [entry for entry in entries if _TEMPORARY_NAME.fullmatch(entry.name)]
    if len(kept) <= KEPT_CONFIGURATIONS:
        return
    ages = []
    for entry in kept:
        try:
            ages.append((entry.stat().st_mtime_ns, entry.name))
        except FileNotFoundError:
            continue  # another submission removed it
    for _, name in sorted(ages)[:-KEPT_CONFIGURATIONS]:
        (folder / name).unlink(missing_ok=True)
