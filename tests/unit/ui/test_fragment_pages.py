"""A fragment that a browser asks for from the page before is drawn on the page that the session shows."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="Streamlit is not installed")

from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData

from finetune30.ui.fragment_pages import keep_pages, stay


def test_a_fragment_stays_and_a_page_goes_where_it_is_asked_to() -> None:
    fragment = RerunData(query_string="name=x", page_script_hash="table", page_name="t", fragment_id_queue=["side"])
    moved = stay(fragment, "run", "run=7")
    assert (moved.page_script_hash, moved.page_name, moved.query_string) == ("run", "", "run=7")
    assert moved.fragment_id_queue == ["side"]
    for same in (stay(fragment, "table", "run=7"), stay(fragment, "", "")):
        assert same is fragment
    page = RerunData(page_script_hash="table")
    assert stay(page, "run", "run=7") is page


def test_every_script_runner_keeps_the_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[RerunData] = []
    assert list(inspect.signature(ScriptRunner._run_script).parameters) == ["self", "rerun_data"]

    def draw(_runner: Any, asked: RerunData) -> None:
        drawn.append(asked)

    monkeypatch.setattr(ScriptRunner, "_run_script", draw)
    keep_pages()
    keep_pages()
    shown = SimpleNamespace(page_script_hash="run", query_string="run=7")
    runner: Any = SimpleNamespace(_get_script_run_ctx=lambda: shown)
    ScriptRunner._run_script(runner, RerunData(page_script_hash="table", fragment_id_queue=["side"]))
    ScriptRunner._run_script(runner, RerunData(page_script_hash="table"))
    assert [asked.page_script_hash for asked in drawn] == ["run", "table"]
