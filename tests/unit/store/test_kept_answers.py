"""What the store keeps between questions is brought up to date, or derived anew where that is not enough."""

from __future__ import annotations

import pytest

from finetune30.store import RunStore, event_tail, places
from finetune30.store.event_tail import look, look_again
from finetune30.store.kept_stats import KeptStats
from support.run_store_lab import Lab


def is_fresh(lab: Lab) -> bool:
    anew = RunStore(lab.store.engine, lab.clock)
    kept = list(lab.store.queue_places(2).items()), lab.store.stats()
    return kept == (list(anew.queue_places(2).items()), anew.stats())


def test_more_events_than_are_looked_at_one_by_one(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_tail, "MOST_EVENTS", 2)
    assert is_fresh(lab)
    for count in (1, 2, 3, 4):
        for _ in range(count):
            lab.create()
        assert is_fresh(lab)


def test_a_run_that_comes_before_many_others(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST_MOVED", 3)
    for number, priority in enumerate((0, 0, 5, 0, 9, 7, 3, 9, -5, 0)):
        lab.clock.advance(1)
        lab.create(f"run {number}", priority=priority, submitted_by="ann" if number % 4 else "bob")
        lab.create(f"local {number}", kind="local")  # waits for no worker
        assert is_fresh(lab)


def test_runs_of_one_moment_stand_in_the_order_of_their_ids(lab: Lab) -> None:
    for _ in range(12):
        lab.create()
        assert is_fresh(lab)


def test_totals_that_events_tell_are_not_counted_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lab.store.stats()

    def refuse(*_: object) -> None:
        raise AssertionError("counted anew")

    monkeypatch.setattr(KeptStats, "_count", refuse)
    run = lab.create()
    claim = lab.store.claim(run.id, owner="elsewhere:boot:1:1", lease_seconds=60)
    assert claim is not None
    lab.store.fail(claim, {"error": "data_error", "message": "", "remedy": ""})
    lab.store.retry(run.id)
    lab.store.request_cancel(run.id)
    after = lab.store.stats()
    assert (before.total, after.total) == (0, 1)
    assert {state: count for state, count in after.by_status.items() if count} == {"CANCELLED": 1}
    assert list(after.last_30_days.values()) == [0] * 29 + [1]
    lab.store.delete(run.id, lab.results)  # what it added to other totals is not told by the event
    with pytest.raises(AssertionError, match="counted anew"):
        lab.store.stats()


def test_a_number_that_never_comes_is_looked_for_for_a_while_only(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL a change that was taken back leaves one."""
    lab.create()
    with lab.store.engine.connect() as connection:
        seen = event_tail.Seen(look(connection).last - 3, {})
        seen, events = look_again(connection, seen)
        assert events is not None
        assert len(events) == 1
        assert sorted(seen.gaps) == [seen.last - 2, seen.last - 1]
        assert look_again(connection, seen) == (seen, [])
        monkeypatch.setattr(event_tail, "GAP_SECONDS", 0.0)
        assert look_again(connection, seen)[0].gaps == {}
