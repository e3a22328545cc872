"""The page asks for every word of the API's listing, or says which it leaves out."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace

import pytest

from finetune30.api.routes.experiments import ListQuery
from finetune30.store import RunStatus
from finetune30.ui.states import LIVE, STATUSES
from finetune30.ui.translations import has_text
from finetune30.ui.views import run_actions, run_filters


def test_every_word_of_the_listing_has_a_widget_or_is_left_out() -> None:
    words = set(ListQuery.model_fields)
    assert set(run_filters.WIDGETS) == words - run_filters.LEFT_OUT
    assert words >= run_filters.LEFT_OUT
    placed = [word for row in (run_filters._FIRST, *run_filters._MORE) for word in row]
    assert sorted(placed) == sorted(run_filters.WIDGETS)


def test_a_state_that_something_may_still_become_of_can_be_cancelled() -> None:
    assert set(LIVE) == {str(status) for status in RunStatus if not status.is_final}
    assert run_actions._CANCELLED.keys() == set(LIVE)


def test_states_and_orders_are_those_of_the_api() -> None:
    schema = ListQuery.model_json_schema()["properties"]
    assert list(STATUSES) == schema["status"]["items"]["enum"]
    orders = set(schema["sort_by"]["enum"])
    assert set(run_filters.SORTS) == orders
    assert list(run_filters.ARCHIVED) == schema["archived"]["enum"]
    for language in ("en", "zh"):
        assert all(has_text(language, f"sort.{order}") for order in run_filters.SORTS)


@pytest.mark.parametrize(
    ("zone", "begins"),
    [
        ("Asia/Taipei", "2026-01-01T16:00:00+00:00"),
        ("Nowhere/At-all", "2026-01-02T00:00:00+00:00"),
        (None, "2026-01-02T00:00:00+00:00"),
    ],
)
def test_a_day_begins_where_the_visitor_is(monkeypatch: pytest.MonkeyPatch, zone: str | None, begins: str) -> None:
    monkeypatch.setattr(run_filters, "st", SimpleNamespace(context=SimpleNamespace(timezone=zone)))
    assert run_filters._moment(date(2026, 1, 2)) == begins
