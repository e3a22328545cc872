"""What can be done with a search on the page, told by its state."""

from __future__ import annotations

from typing import Any

import pytest

from finetune30.ui.views import search_actions, searches


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_look_that_was_cut_off_does_not_keep_the_test_rows_shut(goes_on: bool) -> None:
    look = {"ended_at": None, "goes_on": goes_on}
    end: dict[str, Any] = {"sets": ["a", "b"], "verdict": {"verdict": "better"}, "tests": [look], "waits": ""}
    described = {"status": "SUCCEEDED", "counts": {"DONE": 3}, "end": end}
    assert search_actions._may_test(described) is not goes_on
    assert searches._goes_on(described) is goes_on
