"""What of a draft belongs to its data set and goes with it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from finetune30.ui import form
from finetune30.ui.views import data_choice, uploading


class State(dict[str, Any]):
    """A session, by item and by attribute."""

    __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> State:
    made = State()
    for module in (form, data_choice, uploading):
        monkeypatch.setattr(module, "st", SimpleNamespace(session_state=made))
    return made


def test_another_data_set_is_read_without_the_separator_of_the_one_before(state: State) -> None:
    state["draft"] = {"data": {"dataset_name": "a.csv", "label_columns": ["x"], "label_separator": "|"}}
    data_choice._replace_data("b.csv")
    assert state["draft"]["data"]["dataset_name"] == "b.csv"
    assert (state["draft"]["data"]["label_columns"], state["draft"]["data"]["label_separator"]) == (None, None)


def test_a_new_draft_forgets_what_was_read_of_the_data_before(state: State) -> None:
    state["reading"] = {"data": "a.csv"}
    form.start_from("default", {"data": {"dataset_name": "a.csv"}})
    assert "reading" not in state
