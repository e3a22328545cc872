"""Making the runs of a set: handed in to the workers, or carried out here one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from finetune30 import failpoints
from finetune30.config.loading import validate_tree
from finetune30.errors import CancelledError, Finetune30Error, UsageError
from finetune30.service.runs.open_records import Records
from finetune30.service.sets.planning import Plan, config_of
from finetune30.service.submitting.submission import Publisher, digest_request, submit
from finetune30.settings import Settings
from finetune30.store import Run, RunStatus, RunStore
from finetune30.store.run_sets import RunSet, record_set, runs_of

Log = Callable[[str], None]


def write_set(store: RunStore, plan: Plan, submitted_by: str = "") -> RunSet:
    """Write the set before any of its runs; one that the same plan gave before is returned."""
    failpoints.reach("set.before_row")
    found = record_set(
        store,
        name=plan.config.experiment_name,
        purpose=plan.purpose,
        request_sha256=digest_request(plan.as_request()),
        config=plan.config.as_tree(),
        dataset_digest=plan.dataset_digest,
        plan=plan.entries,
        submitted_by=submitted_by,
    )
    failpoints.reach("set.after_row")
    return found


def hand_in(
    store: RunStore,
    run_set: RunSet,
    settings: Settings,
    explicit: frozenset[str],
    *,
    publisher: Publisher,
    priority: int = 0,
) -> list[Run]:
    """Queue every planned run that is not there yet and return all of them in the order of the plan.

    May be repeated after it was cut off at any point: each run has a key of its own. Raises what `submit` raises.
    """
    config = validate_tree(run_set.config, source=f"the record of set {run_set.id[:8]}")
    known, found = runs_of(store, run_set), []
    for entry in run_set.plan:
        run = known.get(entry["number"])
        if run is None:
            own = config_of(config, entry)
            run = submit(
                store,
                own,
                settings,
                publisher=publisher,
                explicit=explicit,
                priority=priority,
                idempotency_key=run_set.key_of(entry["number"]),
                request_sha256=digest_request(own.as_tree()),
                submitted_by=run_set.submitted_by or None,
            ).run
            failpoints.reach("set.after_run")
        found.append(run)
    return found


def carry_out_here(records: Records, run_set: RunSet, settings: Settings, explicit: frozenset[str], log: Log) -> int:
    """Carry the runs of a set out in this process, one after the other; return how many failed.

    Those that succeeded are left alone, those that were cut off go on from their last checkpoint, those that workers
    have are left to them. Raises CancelledError, and UsageError where a run needs several processes.
    """
    config = validate_tree(run_set.config, source=f"the record of set {run_set.id[:8]}")
    if config.training.processes > 1:
        raise UsageError(f"runs of {config.training.processes} processes are not carried out here", "leave --here out")
    failed = 0
    for entry in run_set.plan:
        run = runs_of(records.store, run_set).get(entry["number"])
        told = f"run {entry['number']} of {len(run_set.plan)}"
        if run is not None and run.status is RunStatus.SUCCEEDED:
            log(f"{told}: {run.folder} has succeeded")
        elif run is not None and _is_elsewhere(run):
            log(f"{told}: {run.folder} is {run.status} elsewhere, and left alone")
        else:
            log(f"{told}: seed {entry['seed']}" + (f", fold {entry['fold']}" if "fold" in entry else ""))
            failed += not _carry_out(records, run_set, entry["number"], run, settings, explicit, log)
    return failed


def _is_elsewhere(run: Run) -> bool:
    """Tell whether a process carries the run out, or workers are about to."""
    return run.status is RunStatus.RUNNING or (run.kind == "queued" and not run.status.is_final)


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
    from finetune30.service.execution.local import carry_out_locally

    entry = next(entry for entry in run_set.plan if entry["number"] == number)
    own = config_of(validate_tree(run_set.config), entry)
    if run is None:
        run = records.store.create(
            own,
            kind="local",
            results_root=Path(records.results_root),
            idempotency_key=run_set.key_of(number),
            request_sha256=digest_request(own.as_tree()),
            submitted_by=run_set.submitted_by or None,
            explicit=explicit,
        )
        failpoints.reach("set.after_run")
    elif run.status.is_final:
        run = records.store.retry(run.id, kind="local")
    try:
        carry_out_locally(records, run, settings, explicit)
    except CancelledError:
        raise
    except Finetune30Error as error:
        log(f"run {number} FAILED: {error.message}")
        return False
    return True
