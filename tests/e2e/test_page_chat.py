"""Talking with a language model on the page: two turns, the base model beside it, and text that stays text."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest

from finetune30.ui.translations import match_language, translate
from support.page_faults import find_faults
from support.page_marks import AT_REST
from support.talk_lab import write_config, write_talk

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

HOSTILE = "<img src=x onerror=alert(1)> ![seen](https://example.org/seen.png) **bold** `code` :smile: $x$\n    four"


@pytest.fixture(scope="module")
def model(idle_stack) -> str:
    """The id of a finished run that can be talked with."""
    write_talk(idle_stack.folder)
    config = write_config(idle_stack.folder / "talk.yaml", {"training.num_train_epochs": 1})
    command = [sys.executable, "-m", "finetune30", "train", "--config", config.name]
    subprocess.run(
        command, env=idle_stack.services.environment(), cwd=idle_stack.folder, check=True, capture_output=True
    )
    listed = httpx.get(f"{idle_stack.api_url}/experiments", timeout=60).json()["experiments"]
    return str(listed[0]["id"])


@pytest.mark.parametrize(("locale", "scheme", "width"), [("en-US", "light", 1280), ("zh-TW", "dark", 390)])
def test_two_turns_beside_the_base_model(open_at, idle_stack, model, locale, scheme, width):
    def t(key: str) -> str:
        return translate(match_language(locale), key)

    page = open_at(f"/try?run={model}", base=idle_stack.page_url, locale=locale, scheme=scheme, width=width)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_text(t("chat.beside_base"), exact=True).click()
    said = page.get_by_placeholder(t("chat.say"))
    for number, text in enumerate((HOSTILE, "Thank you."), start=1):
        page.locator(AT_REST).wait_for()
        said.fill(text)
        page.get_by_role("button", name=t("streamlit_word.send")).click()
        page.get_by_test_id("stChatMessageContent").nth(3 * number - 1).wait_for()
        page.get_by_role("button", name=t("chat.reset")).wait_for()
    page.locator(AT_REST).wait_for()
    turns = page.get_by_test_id("stChatMessageContent")
    assert turns.count() == 6
    assert turns.nth(3).inner_text().strip() == "Thank you."
    question = turns.nth(0)
    assert question.inner_text().replace("\N{NO-BREAK SPACE}", " ").split("\n") == HOSTILE.split("\n")
    assert question.locator("img, strong, code, .katex").count() == 0
    assert [url for url in asked if "example.org" in url] == []
    assert t("chat.base") in turns.nth(2).inner_text()
    assert turns.nth(1).inner_text() != turns.nth(2).inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert find_faults(page) == []
    page.get_by_role("button", name=t("chat.reset")).click()
    turns.first.wait_for(state="detached")
