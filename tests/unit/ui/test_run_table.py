"""What the table of runs says in its cells."""

from __future__ import annotations

import pytest

from finetune30.ui.session import t
from finetune30.ui.views import run_table

streamlit = pytest.importorskip("streamlit", reason="Streamlit is not installed")


def test_the_name_of_a_run_says_what_stands_in_whatever_columns_are_shown() -> None:
    runs = [
        {"id": "1", "name": "as told", "status": "SUCCEEDED", "replaced": {}},
        {"id": "2", "name": "elsewhere", "status": "SUCCEEDED", "replaced": {"distilbert-base-uncased": "starter"}},
    ]
    frame, _ = run_table.build_frame(runs, [], frozenset())
    pair = t("stand_ins.pair", wanted="distilbert-base-uncased", used="starter")
    told, replaced = frame[t("column.name")]
    assert told == "as told"
    assert replaced == f"elsewhere · {t('stand_ins.short', pairs=pair)}"
