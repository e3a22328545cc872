"""Compare: the names of columns and lines."""

from __future__ import annotations

import pytest

from finetune30.ui.views import compare

LONG = "n" * 78


@pytest.mark.parametrize(
    "names", [("a", "b"), ("a", "a"), (LONG + "01", LONG + "02"), (LONG, LONG), ("x" * 50, "x" * 51), ("a", "a\u202e")]
)
def test_runs_are_told_apart_by_what_is_shown_of_their_names(names: tuple[str, str]) -> None:
    shown = compare._name_runs([{"id": str(place) * 32, "name": name} for place, name in enumerate(names)])
    assert len(set(shown)) == 2
    assert all(len(name) <= 60 for name in shown)
