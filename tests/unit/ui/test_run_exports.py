"""Exports on the page of a run: what can be had, what is grey and why, what was measured, what a press asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from finetune30.ui.client import ApiClient
from finetune30.ui.translations import translate

apptest = pytest.importorskip("streamlit.testing.v1", reason="Streamlit is not installed")

# Streamlit's test runner looks for a session where there is none.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OpenPage = Callable[..., Any]
MEASURED = {
    "rows": 12,
    "logits": {"largest": 0.25, "mean": 0.125},
    "flips": 3,
    "allowed_gap": 0.001,
    "score": {"name": "eval_accuracy", "adapter": {"value": 0.75}, "export": {"value": 0.5}},
}
REFUSED = {
    "error": "self_test_failed",
    "message": "the export is not the trained model: its logits differ by up to 0.25, allowed: 0.001",
    "remedy": "nothing was published: keep the adapter (--as zip)",
    "details": {"measured": MEASURED},
}
MISSING = {
    "error": "service_unavailable",
    "message": "an export as GGUF needs gguf, which is not installed",
    "remedy": "install it with: pip install 'finetune30[gguf]'",
}


def files_of_a_run() -> None:
    from finetune30.ui.views.run_exports import show

    show({"id": "ab" * 16, "folder": "trial_2026"})


class Answers:
    """What an API says of a run's exports, and what it was asked to make."""

    def __init__(self) -> None:
        self.exports: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.bases: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.asked.append(json.loads(request.content))
            self.exports = [export("merged", "waiting")]
            return httpx.Response(202, json=self.exports[0])
        if request.url.path.endswith("/exports"):
            return httpx.Response(200, json={"forms": self._forms(), "exports": self.exports})
        return httpx.Response(200, json=self.exports[0])

    def _forms(self) -> list[dict[str, Any]]:
        merged = {"name": "merged", "as": "merged", "precision": "f32", "bases": self.bases, "possible": True}
        gguf = {"name": "gguf", "as": "gguf", "precision": "f16", "bases": [], "possible": False}
        zipped: dict[str, Any] = {
            "name": "zip",
            "as": "zip",
            "precision": None,
            "bases": [],
            "possible": True,
            "error": None,
        }
        return [zipped, {**merged, "error": None}, {**gguf, "error": MISSING}]


def export(name: str, state: str, **more: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"name": name, "as": name, "precision": "f32", "stage": None, "error": None}
    return {**usual, "state": state, "receipt": None, "bytes": None, "links": {}, **more}


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def open_page(answers: Answers) -> Iterator[OpenPage]:
    clients = []

    def open_in(language: str = "en") -> Any:
        page = apptest.AppTest.from_function(files_of_a_run, default_timeout=200)
        clients.append(ApiClient("http://api.test", transport=httpx.MockTransport(answers)))
        page.session_state["client"], page.session_state["spoken"] = clients[0], language
        page.run()
        assert not page.exception, page.exception
        return page

    yield open_in
    for client in clients:
        client.close()


def texts(page: Any) -> str:
    kinds = ("markdown", "caption", "info", "error", "success")
    return "\n".join(str(block.value) for kind in kinds for block in page.get(kind))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_form_that_cannot_be_had_is_grey_and_says_why(open_page: OpenPage, language: str) -> None:
    page = open_page(language)
    assert [button.key for button in page.button] == ["export-make-merged", "export-make-gguf"]
    assert [button.disabled for button in page.button] == [False, True]
    assert {"en": MISSING["message"], "zh": "匯出為 GGUF 需要 gguf，目前尚未安裝"}[language] in texts(page)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_press_asks_once_and_shows_that_it_waits(open_page: OpenPage, answers: Answers, language: str) -> None:
    page = open_page(language)
    page.button(key="export-make-merged").click().run()
    assert not page.exception, page.exception
    wanted = {"as": "merged", "precision": "f32", "into": None, "accept_gap": None, "overwrite": False}
    assert answers.asked == [wanted]
    assert translate(language, "exports.waiting") in texts(page)
    assert [button.key for button in page.button] == ["export-make-gguf"]


def test_how_far_it_is_is_said_in_the_language_of_the_page(open_page: OpenPage, answers: Answers) -> None:
    answers.exports = [export("merged", "making", stage="asking the adapter about 12 evaluation rows")]
    assert "製作中：正在以 12 筆評估資料詢問 adapter" in texts(open_page("zh"))


def test_one_beyond_its_bound_shows_its_figures_and_can_be_accepted(open_page: OpenPage, answers: Answers) -> None:
    answers.exports = [export("merged", "refused", error=REFUSED)]
    page = open_page()
    told = texts(page)
    assert "differ from the adapter's by up to 0.25 (allowed 0.001, mean 0.125)" in told
    assert "Answers that differ: 3." in told
    assert "50.0 %, of the adapter 75.0 %" in told
    assert page.button(key="export-accept-merged").disabled
    page.number_input(key="export-gap-merged").set_value(0.5).run()
    page.button(key="export-accept-merged").click().run()
    assert [(wanted["accept_gap"], wanted["overwrite"]) for wanted in answers.asked] == [(0.5, False)]


def test_a_fault_that_no_gap_excuses_offers_none(open_page: OpenPage, answers: Answers) -> None:
    within = {**MEASURED, "logits": {"largest": 0.0, "mean": 0.0}}
    answers.exports = [export("merged", "refused", error={**REFUSED, "details": {"measured": within}})]
    assert list(open_page().number_input) == []


def test_an_adapter_of_a_quantised_base_is_merged_into_the_one_that_is_chosen(
    open_page: OpenPage, answers: Answers
) -> None:
    answers.bases = ["whole", "dequantised"]
    page = open_page()
    page.radio(key="export-into-merged").set_value("dequantised").run()
    page.button(key="export-make-merged").click().run()
    assert [wanted["into"] for wanted in answers.asked] == ["dequantised"]


@pytest.mark.parametrize(("size", "is_given"), [(1000, True), (10**12, False)])
def test_one_that_is_there_tells_its_receipt_and_is_taken_away(
    open_page: OpenPage, answers: Answers, size: int, is_given: bool
) -> None:
    reader = {"name": "llama", "version": "1"}
    receipt = {"made_at": "2026-01-31T12:00:00+00:00", "measured": MEASURED, "reader": reader}
    links = {"files": "/experiments/x/exports/merged/files.zip"}
    answers.exports = [export("merged", "ready", receipt=receipt, bytes=size, links=links)]
    page = open_page()
    assert "Read by llama 1." in texts(page)
    assert bool(page.get("download_button")) is is_given
    address = f"http://api.test{links['files']}"
    assert any(address in code.value for code in page.code) is not is_given
    page.button(key="export-make-merged").click().run()
    assert [wanted["overwrite"] for wanted in answers.asked] == [True]
