"""Searches and trials in the database: written once, whoever is faster."""

from __future__ import annotations

from typing import Any

from finetune30.store import RunStore
from finetune30.store.search_ends import (
    close_test,
    hold_test,
    is_untested,
    leave_unopened,
    list_ends,
    list_tests,
    load_end,
    open_test,
    record_end,
    write_verdict,
)
from finetune30.store.searches import (
    Search,
    SearchStatus,
    Trial,
    TrialState,
    change_search,
    find_search,
    finish_trial,
    list_driven,
    list_trials,
    record_search,
    record_trial,
    remove_search,
)
from support.run_store_lab import Lab

RATE = 1.0000000000000001e-05


def make(store: RunStore, **values: Any) -> Search:
    plain = {
        "name": "sought",
        "kind": "queued",
        "request_sha256": "a" * 64,
        "submitted_by": "",
        "priority": -10,
        "config": {},
        "explicit_keys": [],
        "dataset_digest": "b" * 64,
        "spec": {"trials": 3},
        "metric": "eval_accuracy",
        "greater_is_better": True,
    }
    return record_search(store, plain | values)


def write(store: RunStore, search: Search, number: int, **values: Any) -> bool:
    plain: dict[str, Any] = {"labels": {"training.learning_rate": RATE, "lora.r": 1}, "parameters": {}, "versions": {}}
    return record_trial(store, search.id, number, **plain | values)


def trial(store: RunStore, search: Search, number: int) -> Trial:
    return list_trials(store, search.id)[number]


def test_a_search_and_each_trial_are_written_once(lab: Lab) -> None:
    store = lab.store
    search = make(store)
    assert make(store, priority=3) == search == find_search(store, "a" * 64)
    assert make(store, submitted_by="somebody").id != search.id
    assert [write(store, search, 0, labels=None), write(store, search, 1), write(store, search, 1)] == [
        True,
        True,
        False,
    ]
    assert [one.labels for one in list_trials(store, search.id)] == [
        None,
        {"training.learning_rate": RATE, "lora.r": 1},
    ]
    first = trial(store, search, 0)
    assert finish_trial(store, first, TrialState.DONE, 0.1 + 0.2)
    assert not finish_trial(store, first, TrialState.FAILED, reason="later")
    assert (trial(store, search, 0).state, trial(store, search, 0).value) == (TrialState.DONE, 0.1 + 0.2)


def test_a_search_that_was_stopped_gets_no_trial_and_its_cancelled_ones_stay_open(lab: Lab) -> None:
    store = lab.store
    search = make(store)
    write(store, search, 0)
    assert change_search(store, search.id, SearchStatus.RUNNING, status=SearchStatus.STOPPED, reason="it was stopped")
    assert not change_search(store, search.id, SearchStatus.RUNNING, status=SearchStatus.FAILED)
    assert not write(store, search, 1)
    assert not finish_trial(store, trial(store, search, 0), TrialState.CANCELLED, going=True)
    assert [one.id for one in list_driven(store)] == [search.id], "a trial is open"
    assert change_search(store, search.id, SearchStatus.STOPPED, status=SearchStatus.RUNNING, reason="")
    assert finish_trial(store, trial(store, search, 0), TrialState.CANCELLED, going=True)
    found = find_search(store, "a" * 64)
    assert found is not None
    assert (found.status, found.finished_at) == (SearchStatus.RUNNING, None)
    change_search(store, search.id, SearchStatus.RUNNING, status=SearchStatus.SUCCEEDED)
    assert list_driven(store) == []
    remove_search(store, search.id)
    assert (find_search(store, "a" * 64), list_trials(store, search.id)) == (None, [])


def test_an_end_its_verdict_and_each_opening_of_test_rows_are_written_once(lab: Lab) -> None:
    store = lab.store
    search = make(store)
    assert load_end(store, search.id) is None
    record_end(store, search.id, 3, 1, "a" * 32, "b" * 32)
    record_end(store, search.id, 3, 2, None, None)
    end = load_end(store, search.id)
    assert end is not None
    assert (end.tried, end.best, end.sets, end.verdict) == (3, 1, ["a" * 32, "b" * 32], None)
    assert change_search(store, search.id, SearchStatus.RUNNING, status=SearchStatus.SUCCEEDED, reason="")
    assert [one.id for one in list_driven(store)] == [search.id]
    assert not is_untested(store, end)
    assert [write_verdict(store, end, {"p": 0.1 + 0.2}), write_verdict(store, end, {"p": 1})] == [True, False]
    assert [one.id for one in list_driven(store)] == [search.id], "its test rows are to be opened"
    judged = load_end(store, search.id)
    assert judged is not None
    assert is_untested(store, judged)
    first = open_test(store, end, "somebody", lease_seconds=60, count=1)
    assert list_driven(store) == []
    assert not is_untested(store, judged)
    assert first is not None
    assert open_test(store, end, lease_seconds=60) is None, "it goes on"
    lab.clock.advance(59)
    hold_test(store, first, 60)
    lab.clock.advance(59)
    assert open_test(store, end, lease_seconds=60, count=2) is None, "and says so"
    lab.clock.advance(2)
    assert open_test(store, end, lease_seconds=60, count=1) is None, "it died, and counts"
    second = open_test(store, end, lease_seconds=60)
    assert second is not None
    close_test(store, second, result={"verdict": "better"})
    close_test(store, second, error={"message": "later"})
    told = [(one.count, one.opened_by, one.result, one.error) for one in list_tests(store, search.id)]
    assert told == [(1, "somebody", None, None), (2, "", {"verdict": "better"}, None)]
    record_end(store, search.id, 5, 0, None, None)
    later = load_end(store, search.id)
    assert later is not None
    assert open_test(store, later, lease_seconds=60, count=1) is None, "they were opened for an earlier end"
    third = open_test(store, later, lease_seconds=60, count=3)
    assert third is not None
    assert (third.count, third.tried) == (3, 5)
    assert [(one.tried, one.verdict) for one in list_ends(store, search.id)] == [(3, {"p": 0.1 + 0.2}), (5, None)]
    remove_search(store, search.id)
    assert (list_ends(store, search.id), list_tests(store, search.id)) == ([], [])


def test_test_rows_that_cannot_be_opened_are_left_and_the_reason_stays(lab: Lab) -> None:
    store = lab.store
    search = make(store)
    record_end(store, search.id, 3, 1, "a" * 32, "b" * 32)
    end = load_end(store, search.id)
    assert end is not None
    change_search(store, search.id, SearchStatus.RUNNING, status=SearchStatus.SUCCEEDED, reason="")
    write_verdict(store, end, {"verdict": "better"})
    leave_unopened(store, end, "the model of a repeat is gone")
    leave_unopened(store, end, "something else")
    left = load_end(store, search.id)
    assert left is not None
    assert (left.left_unopened, list_driven(store)) == ("the model of a repeat is gone", [])
    record_end(store, search.id, 5, 1, "c" * 32, "d" * 32)
    more = load_end(store, search.id)
    assert more is not None
    write_verdict(store, more, {"verdict": None}, left_unopened="nothing to compare")
    assert list_driven(store) == []
