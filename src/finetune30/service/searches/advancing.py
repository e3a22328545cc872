"""Taking a search one look further: what has ended is written, what may be suggested is, what waits is handed in.

Every step is a row that is written once, and any number of processes may take them at the same moment: all compute the
same. Whoever is killed between two steps leaves a search that the next look takes further.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from finetune30 import failpoints
from finetune30.errors import ConfigError, ConflictError, first_line
from finetune30.service.searches.ending import advance_end, plan_end
from finetune30.service.searches.keeping import remove_beaten
from finetune30.service.searches.rungs import choose_pause, settle_rungs
from finetune30.service.searches.standing import Standing, load_standing, value_of
from finetune30.service.searches.suggesting import suggest, uses_optuna
from finetune30.service.searches.tpe import optuna_versions
from finetune30.service.sets.members import Member, hand_in_member
from finetune30.service.submitting.submission import Publisher
from finetune30.settings import Settings
from finetune30.store import Run, RunFolder, RunStatus, RunStore
from finetune30.store.records import utc_now
from finetune30.store.search_members import key_of_trial
from finetune30.store.searches import (
    SearchStatus,
    Trial,
    TrialState,
    change_search,
    finish_trial,
    record_trial,
)
from finetune30.values import say_count

RUNNING = SearchStatus.RUNNING


def advance(store: RunStore, search_id: str, settings: Settings, publisher: Publisher) -> None:
    """Take a search one look further.

    Raises StorageError, and UsageError where Optuna is needed and missing.
    """
    standing = settle_trials(store, load_standing(store, search_id), settings.results_folder)
    remove_beaten(store, standing, settings.results_folder)
    standing = suggest_trials(store, decide(store, load_standing(store, search_id)))
    if standing.search.status is not RUNNING:
        advance_end(store, standing, settings, publisher)
        return
    for trial in standing.open if not find_limit(standing) else []:
        if trial.reused_from is None and trial.number not in standing.runs:
            _hand_in(store, standing, trial, settings, publisher)


def settle_trials(store: RunStore, standing: Standing, results: Path) -> Standing:
    """Write what came of open trials whose run has ended; a run that a stop cancelled is left to be taken up again.

    `results` is the folder of the runs. Returns the search as it stands then.
    """
    for trial in standing.open:
        failpoints.reach("search.before_result")
        if trial.reused_from is not None:
            source = standing.trials[trial.reused_from]
            if source.state is not TrialState.OPEN:
                finish_trial(store, trial, source.state, source.value, source.reason, stopped_at=source.stopped_at)
        elif (run := standing.runs.get(trial.number)) is not None:
            settle_run(store, standing, trial, run, results)
    return load_standing(store, standing.search.id) if standing.open else standing


def settle_run(store: RunStore, standing: Standing, trial: Trial, run: Run, results: Path) -> None:
    """Decide on a trial at its rungs, or write what came of it where its run has ended."""
    if settle_rungs(store, standing, trial, run, results):
        return
    size = RunFolder(results / run.folder).size_bytes() if run.status.is_final else None
    if run.status is RunStatus.SUCCEEDED:
        value = value_of(run, standing.search.metric)
        if value is None:
            known = sorted(name for name in run.metrics or {} if value_of(run, name) is not None)
            reason = f"the run has no number as {standing.search.metric}; it has {', '.join(known) or 'none'}"
            finish_trial(store, trial, TrialState.FAILED, reason=reason, size_bytes=size)
        else:
            finish_trial(store, trial, TrialState.DONE, value, size_bytes=size)
    elif run.status is RunStatus.FAILED:
        reason = str((run.error or {}).get("message", "the run failed"))
        finish_trial(store, trial, TrialState.FAILED, reason=reason, size_bytes=size)
    elif run.status is RunStatus.CANCELLED:
        finish_trial(store, trial, TrialState.CANCELLED, reason="the run was cancelled", going=True)


def decide(store: RunStore, standing: Standing) -> Standing:
    """End a search that has made its trials, failed too often or used its hours; return it as it stands then.

    One that a limit ends waits for the trials that are under way, so that its best is judged too.
    """
    search = standing.search
    if search.status is not RUNNING:
        return standing
    if failed := _find_failures(standing):
        numbers = ", ".join(str(trial.number) for trial in failed)
        reason = f"trials {numbers} failed one after the other: {failed[-1].reason}"
        if change_search(store, search.id, RUNNING, status=SearchStatus.FAILED, reason=reason):
            cancel_waiting(store, standing)
    elif standing.ended == len(standing.trials) and len(standing.trials) >= standing.planned:
        plan_end(store, standing)
        change_search(store, search.id, RUNNING, status=SearchStatus.SUCCEEDED, reason="")
    elif (reason := find_limit(standing)) and not _list_under_way(standing):
        plan_end(store, standing)
        change_search(store, search.id, RUNNING, status=SearchStatus.STOPPED, reason=reason)
    else:
        return standing
    return load_standing(store, search.id)


def find_limit(standing: Standing) -> str:
    """Return which limit ends a search, hours or gigabytes, "" where none does: nothing more is suggested or begun."""
    limits = standing.spec.limits
    if limits.hours is not None and (used := hours_of(standing, utc_now())) >= limits.hours:
        return f"{used:.3g} of {limits.hours:g} hours were used after {say_count(len(standing.trials), 'trials')}"
    if limits.disk_gb is not None and (taken := standing.size_bytes / 1e9) >= limits.disk_gb:
        return f"{taken:.3g} of {limits.disk_gb:g} GB were taken after {say_count(len(standing.trials), 'trials')}"
    return ""


def suggest_trials(store: RunStore, standing: Standing) -> Standing:
    """Write the trials that may be suggested now, each before it trains; return the search as it stands then."""
    while standing.search.status is RUNNING and standing.may_suggest and not find_limit(standing):
        failpoints.reach("search.before_trial")
        number = len(standing.trials)
        if number == 0:
            written: dict[str, Any] = {"labels": standing.space.labels_of_base(), "parameters": {}, "versions": {}}
        else:
            past, spec, space = standing.past(number), standing.spec, standing.space
            found = suggest(space, spec, number, past, greater_is_better=standing.search.greater_is_better)
            if found is None or (spec.trials is None and not found.is_new):
                return _end_of_space(store, standing)
            parameters = space.settle(found.labels)
            same = [one.number for one in past if one.identity == space.identify(parameters)]
            versions = optuna_versions() if uses_optuna(spec, number) else {}
            written = {"labels": found.labels, "parameters": parameters, "versions": versions}
            written["reused_from"] = _own_run(standing, same[0]) if same else None
        record_trial(store, standing.search.id, number, **written)
        failpoints.reach("search.after_trial")
        standing = load_standing(store, standing.search.id)
        if len(standing.trials) == number:  # it was stopped in this moment
            break
    return standing


def member_of(standing: Standing, trial: Trial) -> Member:
    """Return what the run of a trial is made of. Raises ConfigError where its values clash."""
    search = standing.search
    config = standing.space.apply(trial.parameters, trial.number)
    explicit = frozenset(search.explicit_keys) | trial.parameters.keys()
    pause_at = choose_pause(standing, trial.number)
    return Member(config, explicit, key_of_trial(search.id, trial.number), search.submitted_by, pause_at)


def cancel_waiting(store: RunStore, standing: Standing, *, running_too: bool = False) -> None:
    """Cancel the runs of open trials that wait, or also those that train; `resume` takes them up again."""
    wanted = {RunStatus.QUEUED, RunStatus.PAUSED} | ({RunStatus.RUNNING} if running_too else set())
    own = (standing.runs.get(trial.number) for trial in standing.open)
    cancel_runs(store, [run for run in own if run is not None], wanted)


def cancel_runs(store: RunStore, runs: Iterable[Run], wanted: Container[RunStatus]) -> None:
    """Cancel those of the runs that have one of the statuses."""
    for run in runs:
        if store.get(run.id).status in wanted:
            with suppress(ConflictError):  # it ended in this moment
                store.request_cancel(run.id)


def hours_of(standing: Standing, now: datetime) -> float:
    """Return how long the runs of a search have trained, in hours: of each its last attempt, and those that paused."""
    before = sum(row.seconds for row in standing.rungs.values() if row.verdict == "promoted")
    begun = [run for run in standing.runs.values() if run.status is not RunStatus.QUEUED]
    last = sum(((run.finished_at or now) - run.started_at).total_seconds() for run in begun if run.started_at)
    return (before + last) / 3600


def _hand_in(store: RunStore, standing: Standing, trial: Trial, settings: Settings, publisher: Publisher) -> None:
    try:
        member = member_of(standing, trial)
    except ConfigError as error:
        finish_trial(store, trial, TrialState.FAILED, reason=first_line(error))
        return
    hand_in_member(store, member, settings, publisher=publisher, priority=standing.search.priority)
    failpoints.reach("search.after_run")


def _list_under_way(standing: Standing) -> list[Trial]:
    """Return the open trials that go on by themselves: workers have their runs, or are about to."""
    if standing.search.kind == "local":
        return []
    return [trial for trial in standing.open if standing.run_of(trial) is not None]


def _find_failures(standing: Standing) -> list[Trial]:
    """Return the first trials, among those before the first open one, that failed so often in a row."""
    counted = standing.trials[standing.search.failures_from : standing.ended]
    for failed, group in groupby(counted, key=lambda trial: trial.state is TrialState.FAILED):
        members = list(group)
        if failed and len(members) >= standing.spec.limits.failed_in_a_row:
            return members[: standing.spec.limits.failed_in_a_row]
    return []


def _own_run(standing: Standing, number: int) -> int:
    """Return the trial whose run a trial has: its own number, or that of the one it shares."""
    source = standing.trials[number].reused_from
    return number if source is None else source


def _end_of_space(store: RunStore, standing: Standing) -> Standing:
    """End a search that finds no configuration it has not tried, once its open trials have ended."""
    if not standing.open:
        plan_end(store, standing)
        reason = "no configuration was found that has not been tried"
        change_search(store, standing.search.id, RUNNING, status=SearchStatus.SUCCEEDED, reason=reason)
    return load_standing(store, standing.search.id)
