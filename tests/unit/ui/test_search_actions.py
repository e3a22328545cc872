"""What can be done with a search on the page, told by its state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finetune30.ui.views import search_actions, searches
from finetune30.ui.views.search_verdict import LONGEST_LOOK


@pytest.mark.parametrize(("age", "goes_on"), [(timedelta(seconds=5), True), (LONGEST_LOOK, False)])
def test_a_look_that_was_cut_off_does_not_keep_the_test_rows_shut(age: timedelta, goes_on: bool) -> None:
    look = {"opened_at": (datetime.now(UTC) - age).isoformat(), "ended_at": None}
    end: dict[str, Any] = {"sets": ["a", "b"], "verdict": {"verdict": "better"}, "tests": [look], "waits": ""}
    described = {"status": "SUCCEEDED", "counts": {"DONE": 3}, "end": end}
    assert search_actions._may_test(described) is not goes_on
    assert searches._goes_on(described) is goes_on
    look["ended_at"] = look["opened_at"]
    assert search_actions._may_test(described)
