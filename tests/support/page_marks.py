"""Where the tests of the page look: what Streamlit calls things, and a task's id."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: The id of a task in the address of Follow; on the way there the address of the view before has it for a moment.
TASK = re.compile(r"(?<=/follow\?task=)[0-9a-f]{32}")
#: The page while no script of it is running: what is drawn stays.
AT_REST = "[data-testid=stApp][data-test-script-state=notRunning]"
#: The address of the form; the bare one shows three cards as long as nothing was run.
FORM = "/?preset=default"

#: The words behind the question mark of an address.
Words = dict[str, list[str]]


def address(page: Any, holds: Callable[[Words], object] = bool) -> Words:
    """Return the words of the address once they are as wanted; the page writes it a moment after it is drawn.

    `page.url` alone is what Playwright heard of last, and it hears nothing while a test sleeps.
    """

    def words(url: str) -> Words:
        return parse_qs(urlsplit(url).query)

    page.wait_for_url(lambda url: bool(holds(words(url))))
    return words(page.url)


def choose(page: Any, field: str, option: re.Pattern[str]) -> None:
    """Choose an option of a list by its words; a list that scrolling or a redraw closed again is opened once more."""
    from playwright.sync_api import TimeoutError as NotInTime

    for seconds in (3, 10, 30, 60, 60, 60):
        page.get_by_role("combobox", name=field).click()
        with suppress(NotInTime):
            page.get_by_role("option", name=option).first.click(timeout=seconds * 1000)
            return
    raise AssertionError(f"the list {field!r} offers nothing like {option.pattern!r}, or does not stay open")


def wait_for_state(page: Any, words: str) -> None:
    """Wait until the badge of a run says so; while the page is drawn anew, that of before can stand beside it."""
    page.locator(".stMarkdownBadge", has_text=words).first.wait_for(timeout=900_000)


def press_at_once(part: Any) -> None:
    """Press the middle of a part that stands on the screen, whether or not the page is being drawn."""
    box = part.bounding_box()
    part.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def switch_on(page: Any, words: str) -> None:
    """Turn a switch on by its words; one that was drawn anew under the press is pressed again.

    While a page is drawn, the switch of before can stand beside the new one; a press on that one is lost.
    """
    from playwright.sync_api import TimeoutError as NotInTime

    switch = page.get_by_test_id("stMain").get_by_test_id("stCheckbox").filter(has_text=words)
    for seconds in (10, 30, 60, 60):
        page.locator(AT_REST).wait_for()
        switch.last.get_by_text(words).click()
        page.locator(AT_REST).wait_for()
        with suppress(NotInTime):
            switch.last.locator("input:checked").wait_for(state="attached", timeout=seconds * 1000)
            return
    raise AssertionError(f"the switch {words!r} does not stay on")
