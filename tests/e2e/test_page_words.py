"""What Streamlit writes of its own is in the language of the page, and comes back with English."""

from __future__ import annotations

import re

import pytest

from finetune30.ui.translations import translate
from support.page_marks import FORM

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


def test_words_of_uploads_and_fields_follow_the_language(open_idle_page):
    page = open_idle_page(f"{FORM}&source=upload", locale="zh-TW")
    limits = page.get_by_test_id("stFileUploaderDropzoneInstructions").first
    limits.get_by_text(re.compile("^每個檔案最多 200MB")).wait_for()
    more = page.get_by_role("button", name=translate("zh", "streamlit_word.increment"))
    more.first.wait_for()
    assert page.get_by_role("button", name="Increment").count() == 0
    side = page.get_by_test_id("stSidebar")
    side.get_by_text("English", exact=True).click()
    limits.get_by_text(re.compile("^200MB per file")).wait_for()
    page.get_by_role("button", name="Increment").first.wait_for()
    assert more.count() == 0
    side.get_by_text("繁體中文", exact=True).click()
    limits.get_by_text(re.compile("^每個檔案最多 200MB")).wait_for()


def test_words_of_tables_follow_the_language(open_idle_page, idle_stack):
    idle_stack.submit("waits for its table")
    page = open_idle_page("/experiments", locale="zh-TW")
    page.get_by_test_id("stDataFrame").first.hover()
    search = page.get_by_role("button", name=re.compile("^搜尋: ")).first
    search.wait_for()
    named = page.locator("button[aria-label]")
    assert [name for name in named.evaluate_all(NAMES) if re.match("[A-Z][a-z]", name)] == []
    search.hover()
    page.get_by_role("tooltip").get_by_text("搜尋", exact=True).wait_for()


#: Names of buttons for a screen reader.
NAMES = "buttons => buttons.map(button => button.getAttribute('aria-label'))"


def test_telephone_shows_figures_in_two_even_columns(open_idle_page, idle_stack):
    idle_stack.submit("waits for its figures")
    page = open_idle_page("/experiments", width=390)
    figures = page.get_by_test_id("stMetric")
    figures.first.wait_for()
    widths = {round(width) for width in figures.evaluate_all("all => all.map(one => one.offsetWidth)")}
    room = page.get_by_test_id("stMainBlockContainer").evaluate("one => one.clientWidth")
    assert all(0.38 * room < width < 0.5 * room or width > 0.8 * room for width in widths), (widths, room)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
