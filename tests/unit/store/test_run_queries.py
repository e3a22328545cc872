"""Listing: filters, orders, pages, totals."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune30.errors import ConflictError, UsageError
from finetune30.store import RunFilter, RunStatus
from finetune30.store.queries import name_key
from finetune30.store.records import SortKey

OWNER = "elsewhere:boot:1:1"


def finish(lab, name: str, accuracy: float | None = None, runtime: float | None = None, **metrics) -> str:
    claim = lab.store.claim(lab.create(name).id, owner=OWNER, lease_seconds=60)
    lab.store.succeed(claim, {"eval_accuracy": accuracy, "train_runtime": runtime, **metrics}, "f" * 64)
    return claim.run_id


def judge(lab, name: str, score_name: str, score: float, *, less: bool = False, data: str | None = None) -> str:
    """Record a run with a score of any kind, on any data."""
    claim = lab.store.claim(lab.create(name).id, owner=OWNER, lease_seconds=60)
    if data:
        lab.store.describe(claim, dataset_digest=data)
    tree = {"score": score, "score_name": score_name, "score_greater_is_better": not less}
    lab.store.succeed(claim, tree, "f" * 64)
    lab.clock.advance(60)
    return claim.run_id


@pytest.fixture
def many(lab):
    """Runs with equal values, missing values, equal moments of creation, and scores of two kinds."""
    for number in range(23):
        accuracy = None if number % 5 == 0 else (number % 4) / 4
        runtime = None if number % 7 == 0 else number % 6 + 0.5
        error = {"eval_mse": number % 4 / 2} if number % 6 == 1 else {}
        finish(lab, f"run {'AaBbé'[number % 5]}{number % 3}", accuracy, runtime, **error)
        if number % 3:
            lab.clock.advance(3600)
    lab.create("Waiting")
    return lab


SORTS: tuple[SortKey, ...] = ("created_at", "name", "train_runtime", "score", "eval_accuracy")


def sort_value(run, key: str):
    if key == "score" and run.score is not None:
        return (run.score_name, run.score if run.score_greater_is_better else -run.score)
    return name_key(run.name) if key == "name" else getattr(run, key)


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort_by", SORTS)
def test_pages_together_are_the_whole_listing_in_order(many, sort_by, descending):
    wanted = RunFilter(sort_by=sort_by, descending=descending, limit=1000)
    whole = many.store.find(wanted)
    assert len({run.id for run in whole}) == 24
    values = [sort_value(run, sort_by) for run in whole]
    with_value = [value for value in values if value is not None]
    assert values == with_value + [None] * (24 - len(with_value))
    assert with_value == sorted(with_value, reverse=descending)
    for limit in (1, 4, 7, 24):
        seen, cursor = [], None
        while True:
            page = many.store.find_page(
                RunFilter(sort_by=sort_by, descending=descending, limit=limit, cursor=cursor, with_config=False)
            )
            seen += [run.id for run in page.runs]
            cursor = page.next_cursor
            if cursor is None:
                break
            assert len(page.runs) == limit
        assert seen == [run.id for run in whole]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.builds(
        RunFilter,
        name=st.none() | st.sampled_from(["RUN", "a1", "é", "1 run", "%", "_", "nothing"]),
        statuses=st.frozensets(st.sampled_from(list(RunStatus)), max_size=2),
        min_score=st.none() | st.sampled_from([0.0, 0.5]),
        max_score=st.none() | st.sampled_from([0.0, 0.5, 1.0]),
        score_name=st.none() | st.sampled_from(["eval_mse", "eval_accuracy", "nothing"]),
        min_accuracy=st.none() | st.sampled_from([0.0, 0.25, 0.6]),
        max_runtime_seconds=st.none() | st.sampled_from([0.1, 2.5, 9.0]),
        start_date=st.none() | st.sampled_from([2, 5]),
        end_date=st.none() | st.sampled_from([4, 9]),
        sort_by=st.sampled_from(SORTS),
        descending=st.booleans(),
        limit=st.just(100),
    )
)
def test_filter_keeps_what_a_plain_reading_of_it_keeps(many, wanted):
    first = min(run.created_at for run in many.store.find(RunFilter()))
    moments = {
        key: None if hours is None else first + timedelta(hours=hours)
        for key, hours in (("start_date", wanted.start_date), ("end_date", wanted.end_date))
    }
    wanted = RunFilter(**{**vars(wanted), **moments})

    def known(value: float | None, otherwise: float) -> float:
        return otherwise if value is None else value

    def keeps(run) -> bool:
        return (
            all(word in name_key(run.name) for word in name_key(wanted.name or "").split())
            and (not wanted.statuses or run.status in wanted.statuses)
            and (wanted.min_score is None or known(run.score, -1) >= wanted.min_score)
            and (wanted.max_score is None or known(run.score, 99) <= wanted.max_score)
            and (wanted.score_name is None or run.score_name == wanted.score_name)
            and (wanted.min_accuracy is None or known(run.eval_accuracy, -1) >= wanted.min_accuracy)
            and (wanted.max_runtime_seconds is None or known(run.train_runtime, 1e9) <= wanted.max_runtime_seconds)
            and (wanted.start_date is None or run.created_at >= wanted.start_date)
            and (wanted.end_date is None or run.created_at < wanted.end_date)
        )

    expected = {run.id for run in many.store.find(RunFilter(limit=1000)) if keeps(run)}
    assert {run.id for run in many.store.find(wanted)} == expected
    assert many.store.count(wanted) == len(expected)


def test_a_page_may_leave_out_what_is_long(lab):
    finish(lab, "done", 0.5)
    whole, lean = (lab.store.find(RunFilter(with_config=full, with_metrics=full))[0] for full in (True, False))
    assert (lean.config, lean.metrics) == ({}, None)
    assert replace(whole, config={}, metrics=None) == lean


def test_min_accuracy_zero_keeps_a_run_with_accuracy_zero(lab):
    run_id = finish(lab, "poor", 0.0, 1.0)
    finish(lab, "none", None, 1.0)
    assert [run.id for run in lab.store.find(RunFilter(min_accuracy=0.0))] == [run_id]


def test_by_score_the_better_of_each_kind_comes_first(lab):
    for name, score_name, score in (
        ("poor", "eval_accuracy", 0.5),
        ("far off", "eval_mse", 4.0),
        ("good", "eval_accuracy", 0.9),
        ("close", "eval_mse", 0.25),
        ("exact", "eval_mse", 0.0),
    ):
        judge(lab, name, score_name, score, less=score_name == "eval_mse")
    lab.create("waiting")

    def names(**wanted) -> list[str]:
        return [run.name for run in lab.store.find(RunFilter(sort_by="score", **wanted))]

    assert names() == ["exact", "close", "far off", "good", "poor", "waiting"]
    assert names(descending=False) == ["poor", "good", "far off", "close", "exact", "waiting"]
    assert names(score_name="eval_mse", max_score=1.0) == ["exact", "close"]
    assert names(score_name="eval_accuracy") == ["good", "poor"]
    assert names(min_score=0.9, score_name="eval_accuracy") == ["good"]


def test_best_is_of_one_data_version_and_one_score(lab):
    judge(lab, "easy", "eval_accuracy", 0.99, data="a" * 64)
    judge(lab, "hard", "eval_accuracy", 0.6, data="b" * 64)
    judge(lab, "hard again", "eval_accuracy", 0.6, data="b" * 64)
    judge(lab, "harder", "eval_accuracy", 0.5, data="b" * 64)
    judge(lab, "error", "eval_mse", 0.5, less=True, data="b" * 64)
    judge(lab, "error less", "eval_mse", 0.25, less=True, data="b" * 64)
    judge(lab, "error more", "eval_mse", 9.0, less=True, data="b" * 64)
    judge(lab, "nobody knows on what", "eval_accuracy", 1.0)
    best = [(run.dataset_digest[0], run.score_name, run.run_name, run.score) for run in lab.store.stats().best]
    assert best == [
        ("b", "eval_mse", "error less", 0.25),
        ("b", "eval_accuracy", "hard again", 0.6),
        ("a", "eval_accuracy", "easy", 0.99),
    ]
    found = lab.store.find(RunFilter(dataset_digest="b" * 64, score_name="eval_mse", sort_by="score", limit=1))
    assert [run.name for run in found] == ["error less"]


def test_cursor_of_another_order_is_refused(many):
    cursor = many.store.find_page(RunFilter(limit=2)).next_cursor
    for wrong in (
        RunFilter(cursor=cursor, sort_by="name"),
        RunFilter(cursor=cursor, descending=False),
        RunFilter(cursor="é"),
        RunFilter(cursor="AAAA"),
        RunFilter(cursor="e30"),
        RunFilter(cursor="W10"),
    ):
        with pytest.raises(UsageError, match="the cursor"):
            many.store.find_page(wrong)


@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda content: base64.urlsafe_b64encode(content).decode()))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cursor_from_nowhere_never_breaks_the_listing(lab, cursor):
    for sort_by in SORTS:
        if cursor:
            with pytest.raises(UsageError, match="the cursor"):
                lab.store.find_page(RunFilter(cursor=cursor, sort_by=sort_by))


def test_new_runs_do_not_disturb_a_listing_under_way(many):
    first = many.store.find_page(RunFilter(limit=5))
    many.clock.advance(1)
    newcomer = many.create("newcomer")
    rest = many.store.find(RunFilter(limit=100, cursor=first.next_cursor))
    assert newcomer.id not in [run.id for run in rest]
    assert len(first.runs) + len(rest) == 24


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_limit_out_of_range_is_refused(lab, limit):
    with pytest.raises(UsageError, match=f"limit {limit} is out of range"):
        lab.store.find(RunFilter(limit=limit))


def test_stats_count_states_and_days(lab):
    for accuracy, runtime in ((0.5, 10.0), (0.75, 30.0), (None, None)):
        finish(lab, "done", accuracy, runtime)
    best = lab.store.find(RunFilter(min_accuracy=0.75))[0].id
    lab.clock.advance(2 * 86400)
    failed = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    lab.store.fail(failed, {"error": "data_error", "message": "", "remedy": ""})
    stats = lab.store.stats()
    assert stats.by_status == {"QUEUED": 0, "RUNNING": 0, "SUCCEEDED": 3, "FAILED": 1, "CANCELLED": 0, "PAUSED": 0}
    assert (stats.total, stats.mean_accuracy, stats.best_accuracy, stats.best_run_id) == (4, 0.625, 0.75, best)
    assert (stats.mean_runtime_seconds, stats.total_runtime_seconds) == (20.0, 40.0)
    assert len(stats.last_30_days) == 30
    assert {day: count for day, count in stats.last_30_days.items() if count} == {"2026-01-02": 3, "2026-01-04": 1}


def test_stats_follow_every_change_at_once(lab):
    totals = []

    def note() -> None:
        stats = lab.store.stats()
        assert lab.store.stats() == stats
        totals.append({state: count for state, count in stats.by_status.items() if count})

    note()
    run = lab.create()
    note()
    claim = lab.store.claim(run.id, owner=OWNER, lease_seconds=60)
    note()
    lab.store.succeed(claim, {"eval_accuracy": 0.5}, "f" * 64)
    note()
    lab.store.delete(run.id, lab.results)
    note()
    assert totals == [{}, {"QUEUED": 1}, {"RUNNING": 1}, {"SUCCEEDED": 1}, {}]


def test_stats_move_on_with_the_day(lab):
    lab.create()
    first = lab.store.stats()
    lab.clock.advance(86400)
    assert list(lab.store.stats().last_30_days)[:-1] == list(first.last_30_days)[1:]


def test_stats_of_an_empty_store(lab):
    stats = lab.store.stats()
    assert (stats.total, stats.mean_accuracy, stats.best_run_id, stats.total_runtime_seconds) == (0, None, None, 0.0)


def test_prefix_of_several_runs_is_ambiguous(lab):
    ids = [lab.create().id for _ in range(17)]
    shared = next(first for first in "0123456789abcdef" if sum(run_id[0] == first for run_id in ids) > 1)
    with pytest.raises(ConflictError, match="fits several runs"):
        lab.store.get(shared)


def test_queue_goes_by_priority_then_by_waiting_time(lab):
    runs = []
    for priority in (0, 5, 0, 5):
        runs.append(lab.create(priority=priority).id)
        lab.clock.advance(1)
    lab.create("local", kind="local")
    order = [runs[1], runs[3], runs[0], runs[2]]
    assert [run.id for run in lab.store.queue()] == order
    assert [lab.store.queue_position(run_id) for run_id in order] == [1, 2, 3, 4]
    lab.store.mark_published(order[:2])
    lab.clock.advance(60)
    assert [run.id for run in lab.store.unpublished(9, lab.clock.moment - timedelta(seconds=90))] == order[2:]
    assert [run.id for run in lab.store.unpublished(9, lab.clock.moment)] == order
    lab.store.claim(order[0], owner=OWNER, lease_seconds=60)
    assert lab.store.queue_position(order[0]) is None
    assert lab.store.queue_position(order[1]) == 1


def test_events_go_on_after_a_number(lab):
    run_id = finish(lab, "done", 0.5, 1.0)
    events = lab.store.events(run_id)
    assert [event.kind for event in events] == ["created", "claimed", "succeeded"]
    assert lab.store.events(run_id, after=events[0].number) == events[1:]
    assert lab.store.events(run_id, limit=1) == events[:1]
