"""Searches on the real queue: killed anywhere, on any number of workers, the same trials and the same end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune30.config import ExperimentConfig
from finetune30.config.search_loading import validate_search
from finetune30.errors import ConflictError, DataError
from finetune30.service.runs.open_records import Records
from finetune30.service.searches.advancing import advance
from finetune30.service.searches.changing import begin_search, delete_search, resume_search, stop_search, write_search
from finetune30.service.searches.ending import SUPERSEDED
from finetune30.service.searches.plans import SearchPlan
from finetune30.service.searches.repeats import runs_of_end
from finetune30.service.searches.space import Space
from finetune30.service.searches.standing import load_standing
from finetune30.service.searches.suggesting import Past, suggest
from finetune30.service.searches.summary import describe_search
from finetune30.service.searches.verifying import verify_search
from finetune30.store import RunStatus
from finetune30.store.run_sets import list_sets
from finetune30.store.search_ends import SearchEnd, list_ends, load_end
from finetune30.store.searches import (
    Search,
    SearchStatus,
    TrialState,
    finish_trial,
    list_searches,
    list_trials,
)
from support.drill import drill_variables, score_of
from support.patience import wait_until
from support.services import Services, running_services

pytestmark = pytest.mark.integration

PARAMETERS = {
    "training.learning_rate": {"low": 1e-5, "high": 2e-3, "scale": "log"},
    "lora.r": {"values": [4, 8, 16, 32]},
    "lora.lora_alpha": {"times": "lora.r", "values": [1, 2]},
}
CONFIG = ExperimentConfig.model_validate({"experiment_name": "sought", "training": {"max_steps": 1}})


DRILLED: dict[str, Any] = drill_variables(0.01, scored=True)


def plan(**search: Any) -> SearchPlan:
    spec = validate_search({"seed": 7, "window": 3, "parameters": PARAMETERS, "confirm": {"seeds": 0}, **search})
    return SearchPlan(CONFIG, frozenset(), "0" * 64, spec, "eval_accuracy", greater_is_better=True)


def begin(services: Services, wanted: SearchPlan) -> Search:
    search = write_search(services.store, wanted, kind="queued")
    begin_search(services.store, search, services.settings, services.publisher)
    return search


def expect(wanted: SearchPlan) -> list[tuple[dict[str, Any], str, float | None]]:
    """Return values, state and value of every trial, computed without any queue, one after the other."""
    space, spec = Space(wanted.config, wanted.search), wanted.search
    past: list[Past] = []
    found: list[tuple[dict[str, Any], str, float | None]] = []
    for number in range(spec.trials or 0):
        if number == 0:
            labels, values = space.labels_of_base(), dict[str, Any]()
        else:
            suggested = suggest(space, spec, number, past, greater_is_better=True)
            assert suggested is not None
            labels, values = suggested.labels, space.settle(suggested.labels)
        identity = space.identify(values)
        try:
            value = score_of(space.apply(values, number))
        except DataError:
            past.append(Past(number, labels, identity, "failed"))
            found.append((values, "FAILED", None))
        else:
            past.append(Past(number, labels, identity, "done", value))
            found.append((values, "DONE", value))
    return found


def found_in(services: Services, search: Search) -> list[tuple[dict[str, Any], str, float | None]]:
    return [(one.parameters, str(one.state), one.value) for one in list_trials(services.store, search.id)]


def status_of(services: Services, search: Search) -> SearchStatus:
    return load_standing(services.store, search.id).search.status


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with running_services(tmp_path) as started:
        yield started


def test_trials_are_the_same_however_often_workers_and_reconcilers_are_killed(services: Services) -> None:
    wanted = plan(sampler="tpe", trials=13, limits={"failed_in_a_row": 13})
    search = begin(services, wanted)
    assert [len(list_trials(services.store, search.id)), len(services.store.queue())] == [3, 3], "a window of trials"
    for point in ("search.before_result:2", "search.after_trial:1", "search.after_run:1", "search.before_trial:2"):
        worker = services.start_worker(drill=None, **DRILLED, FT30_FAILPOINT=point)
        assert worker.wait(120) == -9, point
        services.workers.clear()
    for name in ("one", "two"):
        services.start_worker(name, drill=None, **DRILLED)
    wait_until(lambda: len(list_trials(services.store, search.id)) >= 9, 120, "trials go on")
    services.kill_worker("one")  # in the midst of a trial, or between two
    wait_until(lambda: status_of(services, search) is SearchStatus.SUCCEEDED, 120, "the search ends")
    assert found_in(services, search) == expect(wanted)
    standing = load_standing(services.store, search.id, all_runs=True)
    assert len({run.id for run in standing.runs.values()}) == 13
    assert "optuna" in standing.trials[12].versions
    assert verify_search(standing) == {"checked": 13, "differ": [], "not_checked": []}


def test_a_search_is_stopped_resumed_for_more_trials_and_deleted_whole(services: Services) -> None:
    search = begin(services, plan(trials=2))
    stop_search(services.store, search, now=True)
    assert {run.status for run in load_standing(services.store, search.id).runs.values()} == {RunStatus.CANCELLED}
    services.start_worker(drill=None, **DRILLED)
    services.wait_for_worker()
    with pytest.raises(ConflictError, match="is STOPPED, and suggests nothing more"):
        stop_search(services.store, search)
    assert [one.state for one in list_trials(services.store, search.id)] == [TrialState.OPEN] * 2
    resume_search(services.store, search, trials=4)
    wait_until(lambda: status_of(services, search) is SearchStatus.SUCCEEDED, 120, "the search ends")
    assert found_in(services, search) == expect(plan(trials=4, limits={"failed_in_a_row": 9}))
    with pytest.raises(ConflictError, match="has made all its trials"):
        resume_search(services.store, search)
    run = next(iter(load_standing(services.store, search.id, all_runs=True).runs.values()))
    results = services.settings.results_folder
    with pytest.raises(ConflictError, match=r"is a trial of search .* and cannot be deleted alone"):
        services.store.delete(run.id, results)
    assert delete_search(Records(services.store, results), search) == []
    assert (services.store.stats().total, list_searches(services.store)) == (0, [])


def test_three_failures_in_a_row_end_it_and_what_waits_is_not_trained(services: Services) -> None:
    ranks = {"lora.r": {"values": [32]}, "training.learning_rate": PARAMETERS["training.learning_rate"]}
    search = begin(services, plan(trials=20, window=5, parameters=ranks))
    services.start_worker(drill=None, **DRILLED)
    wait_until(lambda: status_of(services, search) is SearchStatus.FAILED, 120, "the search ends")
    standing = load_standing(services.store, search.id, all_runs=True)
    assert standing.search.reason.startswith("trials 1, 2, 3 failed one after the other: drill.csv:1:1: rank 32 fails")
    assert len(standing.trials) <= 9
    wait_until(lambda: not services.store.stats().by_status.get("QUEUED"), 30, "nothing waits")


def end_of(services: Services, search: Search) -> SearchEnd:
    end = load_end(services.store, search.id)
    assert end is not None
    return end


def test_the_best_and_the_default_are_repeated_and_judged_however_often_workers_are_killed(services: Services) -> None:
    rates = {"training.learning_rate": {"values": [3e-4, 1e-4]}}
    wanted = plan(trials=3, sampler="grid", parameters=rates, confirm={"seeds": 2})
    search = begin(services, wanted)
    for point in ("search.after_end:1", "search.before_verdict:1", "search.after_verdict:1"):
        worker = services.start_worker(drill=None, **DRILLED, FT30_FAILPOINT=point)
        assert worker.wait(120) == -9, point
        services.workers.clear()
    services.start_worker(drill=None, **DRILLED)
    wait_until(lambda: end_of(services, search).left_unopened is not None, 120, "it is judged, and has no test rows")
    end = end_of(services, search)
    runs = runs_of_end(services.store, end)
    assert sorted((run.name, run.config["training"]["seed"]) for run in runs) == [
        ("sought-trial0-seed43", 43),
        ("sought-trial0-seed44", 44),
        ("sought-trial1-seed43", 43),
        ("sought-trial1-seed44", 44),
    ]
    assert {run.priority for run in runs} == {-10}
    verdict = end.verdict or {}
    assert (end.tried, end.best, verdict["verdict"], verdict["best"]) == (3, 1, "better", 1)
    assert verdict["message"].startswith("better than the default (trial 1: +")
    assert verdict["near"]["compared"] == 3
    with pytest.raises(ConflictError, match="has made all its trials"):
        resume_search(services.store, search)
    shown = describe_search(services.store, search)["end"]
    assert (shown["runs"], shown["verdict"], shown["tests"]) == ({"SUCCEEDED": 4}, verdict, [])
    results = services.settings.results_folder
    assert delete_search(Records(services.store, results), search) == []
    assert (services.store.stats().total, list_sets(services.store), load_end(services.store, search.id)) == (
        0,
        [],
        None,
    )


def test_an_end_is_stopped_and_goes_on_and_more_trials_come_after_it(services: Services) -> None:
    rates = {"training.learning_rate": {"values": [3e-4, 1e-4, 2e-4]}}
    search = begin(services, plan(trials=2, sampler="grid", parameters=rates, confirm={"seeds": 2}))
    for number, one in enumerate(list_trials(services.store, search.id)):
        finish_trial(services.store, one, TrialState.DONE, number / 2)
    for _ in range(2):  # it is over, then its repeats are handed in
        advance(services.store, search.id, services.settings, services.publisher)
    with pytest.raises(ConflictError, match="cannot be deleted"):
        delete_search(Records(services.store, services.settings.results_folder), search)
    stop_search(services.store, search, now=True)
    assert {run.status for run in runs_of_end(services.store, end_of(services, search))} == {RunStatus.CANCELLED}
    advance(services.store, search.id, services.settings, services.publisher)
    resume_search(services.store, search)
    resume_search(services.store, search, trials=4)
    services.start_worker(drill=None, **DRILLED)
    wait_until(lambda: end_of(services, search).tried == 4, 120, "another end")
    wait_until(lambda: end_of(services, search).judged_at is not None, 120, "it is judged")
    said = [one.verdict or {} for one in list_ends(services.store, search.id)]
    assert (said[0], said[1]["rows"]) == (SUPERSEDED, 80)
