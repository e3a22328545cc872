"""Which places in the queue the form offers."""

from __future__ import annotations

import pytest

from finetune30.ui.views.submit_bar import offered_priorities


@pytest.mark.parametrize(
    ("highest", "offered"),
    [
        (100, [-100, -10, 0, 10, 100]),
        (99, [-100, -10, 0, 10]),
        (10, [-100, -10, 0, 10]),
        (0, [-100, -10, 0]),
        (-5, [-100, -10, -5]),
        (-10, [-100, -10]),
        (-100, [-100]),
    ],
)
def test_nothing_is_offered_that_the_api_would_refuse(highest: int, offered: list[int]) -> None:
    assert offered_priorities(highest) == offered
