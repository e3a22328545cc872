"""Carrying the runs of a set out in this process, one after the other: no services are needed."""

from __future__ import annotations

from collections.abc import Callable

from finetune30.config import ExperimentConfig
from finetune30.config.loading import validate_tree
from finetune30.errors import CancelledError, Finetune30Error, UsageError
from finetune30.machine.device_locks import held_gpus
from finetune30.service.runs.open_records import Records
from finetune30.service.sets.carrying_out import carry_out_member, is_elsewhere
from finetune30.service.sets.members import Member
from finetune30.service.sets.plans import config_of
from finetune30.settings import Settings
from finetune30.store import Run, RunStatus
from finetune30.store.run_sets import RunSet, runs_of
from finetune30.values import say_count

Log = Callable[[str], None]


def carry_out_here(records: Records, run_set: RunSet, settings: Settings, explicit: frozenset[str], log: Log) -> int:
    """Carry the runs of a set out in this process, one after the other; return how many failed.

    Those that succeeded are left alone, those that were cut off go on from their last checkpoint, those that workers
    have are left to them. Raises CancelledError, and ConflictError where another training holds the GPU.
    """
    config = validate_tree(run_set.config, source=f"the record of set {run_set.id[:8]}")
    with held_gpus(config.training.device):
        return _carry_out_all(records, run_set, settings, explicit, log)


def require_one_process(config: ExperimentConfig) -> None:
    """Raise UsageError for runs of several processes, which are not carried out here."""
    if config.training.processes > 1:
        raise UsageError(
            f"runs of {say_count(config.training.processes, 'processes')} are not carried out here", "leave --here out"
        )


def _carry_out_all(records: Records, run_set: RunSet, settings: Settings, explicit: frozenset[str], log: Log) -> int:
    failed = 0
    for entry in run_set.plan:
        run = runs_of(records.store, run_set).get(entry["number"])
        told = f"run {entry['number']} of {len(run_set.plan)}"
        if run is not None and run.status is RunStatus.SUCCEEDED:
            log(f"{told}: {run.folder} has succeeded")
        elif run is not None and is_elsewhere(run):
            log(f"{told}: {run.folder} is {run.status} elsewhere, and left alone")
            if run.status is RunStatus.QUEUED:
                log(f"  a worker takes it (ft30 worker); to train it here: ft30 runs cancel {run.id[:8]}, then again")
        else:
            places = "".join(f", {key} {entry[key]:g}" for key in ("fold", "share") if key in entry)
            log(f"{told}: seed {entry['seed']}{places}")
            failed += not _carry_out(records, run_set, entry["number"], run, settings, explicit, log)
    return failed


def _carry_out(
    records: Records,
    run_set: RunSet,
    number: int,
    run: Run | None,
    settings: Settings,
    explicit: frozenset[str],
    log: Log,
) -> bool:
    """Make or take up one run and carry it out; tell whether it succeeded."""
    entry = next(entry for entry in run_set.plan if entry["number"] == number)
    own = config_of(validate_tree(run_set.config), entry)
    member = Member(own, explicit, run_set.key_of(number), run_set.submitted_by)
    try:
        carry_out_member(records, member, run, settings, after_row="set.after_run")
    except CancelledError:
        raise
    except Finetune30Error as error:
        log(f"run {number} FAILED: {error.message}")
        return False
    return True
