"""When an answer is not sure."""

from __future__ import annotations

import pytest

pytest.importorskip("streamlit", reason="Streamlit is not installed")
from finetune30.ui.views.try_model import is_unsure


@pytest.mark.parametrize(
    ("shares", "unsure"),
    [
        ([0.52, 0.48], True),
        ([0.56, 0.44], False),
        ([0.071, 0.069, *[0.86 / 75] * 75], True),  # 77 names
        ([0.6, *[0.4 / 76] * 76], False),
        ([0.9, 0.8, 0.02], False),  # names apart: both are said
        ([0.9, 0.47, 0.02], True),
        ([1.0], False),
        ([], False),
    ],
)
def test_a_small_lead_is_not_sure(shares: list[float], unsure: bool) -> None:
    assert is_unsure(shares) == unsure
