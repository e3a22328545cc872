"""Where the tests of the page look: what Streamlit calls things, and a task's id."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

#: The id of a task in the address of Follow; on the way there the address of the view before has it for a moment.
TASK = re.compile(r"(?<=/follow\?task=)[0-9a-f]{32}")
#: The badge with the state of a run.
BADGE = ".stMarkdownBadge"
#: The page while no script of it is running: what is drawn stays.
AT_REST = "[data-testid=stApp][data-test-script-state=notRunning]"
#: The address of the form; the bare one shows three cards as long as nothing was run.
FORM = "/?preset=default"


def choose(page: Any, field: str, option: re.Pattern[str]) -> None:
    """Choose an option of a list by its words; a list that scrolling or a redraw closed again is opened once more."""
    from playwright.sync_api import TimeoutError as NotInTime

    for seconds in (3, 10, 30, 60, 60, 60):
        page.get_by_role("combobox", name=field).click()
        with suppress(NotInTime):
            page.get_by_role("option", name=option).first.click(timeout=seconds * 1000)
            return
    raise AssertionError(f"the list {field!r} offers nothing like {option.pattern!r}, or does not stay open")
