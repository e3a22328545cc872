"""Cells that a spreadsheet would run: one rule, with two copies, since the page imports nothing of the house."""

from __future__ import annotations

import pytest

from finetune30.ui import display
from finetune30.values import guard_formula, unguard_formula

CELLS = ["", "plain", "=1+1", "  =1+1", "+a", "-a", "@a", "\t=a", "\r=a", "\n=a", "'quoted", "a=b", " plain"]


@pytest.mark.parametrize("cell", CELLS)
def test_both_copies_guard_alike_and_what_was_guarded_can_be_read_back(cell):
    guarded = guard_formula(cell)
    assert display._without_formula(cell) == guarded
    assert unguard_formula(guarded) == cell
    assert not guarded.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
