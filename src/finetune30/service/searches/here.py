"""Carrying the trials of a search out in this process, one after the other: no services are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from finetune30.config.loading import validate_tree
from finetune30.errors import CancelledError, ConfigError, ConflictError, Finetune30Error, first_line
from finetune30.machine.device_locks import held_gpus
from finetune30.service.runs.open_records import Records
from finetune30.service.searches.advancing import (
    RUNNING,
    decide,
    member_of,
    settle_run,
    settle_trials,
    suggest_trials,
)
from finetune30.service.searches.ending import carry_out_end
from finetune30.service.searches.keeping import remove_beaten
from finetune30.service.searches.opening import open_test_rows_once
from finetune30.service.searches.rungs import settle_rungs
from finetune30.service.searches.standing import Standing, load_standing
from finetune30.service.sets.carrying_out import carry_out_member, is_elsewhere
from finetune30.service.sets.here import carry_out_here as carry_set_out_here
from finetune30.settings import Settings
from finetune30.store import RunStatus, RunStore
from finetune30.store.searches import Search, Trial, TrialState, finish_trial, list_trials, runs_of_trials

Log = Callable[[str], None]


def carry_out_here(records: Records, search: Search, settings: Settings, log: Log) -> Standing:
    """Carry the trials out in the order of their numbers, until the search ends, then its end; return how it stands.

    The trials are those that workers would make. A trial that was cut off goes on from its last checkpoint. Raises
    CancelledError, and ConflictError where another training holds the GPU.
    """
    with held_gpus(validate_tree(search.config).training.device):
        while True:
            standing = _advance(records, search)
            trial = next(iter(standing.open), None)
            if trial is None or standing.search.status is not RUNNING:
                break
            _carry_out(records, standing, trial, settings, log)
    carry_out_end(
        records, standing, lambda run_set, explicit: carry_set_out_here(records, run_set, settings, explicit, log)
    )
    open_test_rows_once(records, standing, settings, log, by=search.submitted_by)
    return standing


def _advance(records: Records, search: Search) -> Standing:
    """Settle trials whose runs succeeded or are shared, and suggest; what was cut off is no result."""
    store = records.store
    standing = load_standing(store, search.id)
    finished = {
        number: run
        for number, run in standing.runs.items()
        if run.status in (RunStatus.SUCCEEDED, RunStatus.PAUSED) or standing.is_stopped(number)
    }
    settled = replace(standing, runs=finished)
    remove_beaten(store, settle_trials(store, settled, records.results_root), records.results_root)
    return suggest_trials(store, decide(store, load_standing(store, search.id)))


def _carry_out(records: Records, standing: Standing, trial: Trial, settings: Settings, log: Log) -> None:
    store, run = records.store, standing.runs.get(trial.number)
    if run is not None and is_elsewhere(run):
        raise ConflictError(f"trial {trial.number} is carried out elsewhere: {run.folder}", "wait until it has ended")
    tried = ", ".join(f"{key} {value}" for key, value in trial.parameters.items()) or "the configuration as it is"
    log(f"trial {trial.number}: {tried}")
    try:
        member = member_of(standing, trial)
        run = carry_out_member(records, member, run, settings, after_row="search.after_run")
    except (CancelledError, ConflictError) as error:  # no result: somebody stopped it, or has it
        if error.details.get("reason") != "paused":
            raise
        _decide(records, standing, trial, log)
        return
    except Finetune30Error as error:
        message = first_line(error) if isinstance(error, ConfigError) else error.message
        finish_trial(store, trial, TrialState.FAILED, reason=message)
    else:
        settle_run(store, standing, trial, run, records.results_root)
    _tell_end(store, standing, trial, log)


def _decide(records: Records, standing: Standing, trial: Trial, log: Log) -> None:
    """Decide on a trial that has paused; one that is promoted is the next that is carried out."""
    store, search = records.store, standing.search
    run = runs_of_trials(store, search, [trial.number])[trial.number]
    if settle_rungs(store, standing, trial, run, records.results_root):
        _tell_end(store, standing, trial, log)
    else:
        log(f"trial {trial.number} is not clearly worse at {run.pause_at:.0%} of its steps, and goes on")


def _tell_end(store: RunStore, standing: Standing, trial: Trial, log: Log) -> None:
    ended = list_trials(store, standing.search.id)[trial.number]
    value = f"{standing.search.metric} {ended.value:.4f}" if ended.value is not None else ended.reason
    log(f"trial {trial.number} {ended.state}: {value}")
