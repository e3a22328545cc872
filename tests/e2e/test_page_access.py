"""The page for people who see, hear or point in other ways: axe-core on every view, in both languages and schemes.

One language is looked at in light, the other in dark, so that every view is opened twice and no more.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from finetune30.ui.translations import match_language, translate
from support.page_faults import REST, find_faults
from support.page_marks import AT_REST, FORM

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

LOOKS = [("en-US", "light"), ("zh-TW", "dark")]
MOST_TABS = 15


@pytest.fixture(scope="module")
def runs(idle_stack) -> list[str]:
    """Two finished runs, their data a version; trained beside each other."""
    command = [sys.executable, "-m", "finetune30", "train", "--preset", "quick_cpu", "--experiment_name"]
    where = {"env": idle_stack.services.environment(), "cwd": idle_stack.folder, "stdout": subprocess.DEVNULL}
    begun = [subprocess.Popen([*command, name], stderr=subprocess.DEVNULL, **where) for name in ("first", "second")]
    assert [process.wait() for process in begun] == [0, 0]
    listed = httpx.get(f"{idle_stack.api_url}/experiments", timeout=60).json()["experiments"]
    return [run["id"] for run in listed]


@pytest.mark.parametrize(("locale", "scheme"), LOOKS)
def test_first_steps_are_there_for_everybody(open_at, idle_stack, locale, scheme):
    page = open_at("/", base=idle_stack.page_url, locale=locale, scheme=scheme)
    page.get_by_role("heading", level=2).nth(2).wait_for()  # three cards
    assert find_faults(page) == []


@pytest.mark.parametrize(("locale", "scheme"), LOOKS)
def test_every_view_is_there_for_everybody(open_at, idle_stack, runs, locale, scheme):
    digest = httpx.get(f"{idle_stack.api_url}/datasets", timeout=60).json()["versions"][0]["digest"]
    waiting = idle_stack.submit(f"waits {scheme}")
    page = open_at("/experiments", base=idle_stack.page_url, locale=locale, scheme=scheme)
    assert page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).colorScheme") == scheme
    found = {"/experiments": find_faults(page)}
    page.goto(f"{idle_stack.page_url}/run?run={runs[0]}")
    page.get_by_role("radio", name=translate(match_language(locale), "run.part_files")).click()
    page.locator("pre .token").first.wait_for()  # colours of code come late
    found["/run, its files"] = find_faults(page)
    for path in (
        FORM,
        f"/follow?task={waiting}",
        f"/follow?task={runs[0]}",
        f"/run?run={runs[0]}",
        "/run?run=unknown",
        "/searches",
        f"/compare?ids={','.join(runs)}",
        f"/data?version={digest[:12]}",
        f"/try?run={runs[0]}",
    ):
        page.goto(idle_stack.page_url + path)
        page.get_by_role("heading", level=1).first.wait_for()
        found[path] = find_faults(page)
    assert {path: faults for path, faults in found.items() if faults} == {}


def test_submit_is_reached_with_few_keys(open_at, idle_stack):
    page = open_at(FORM, base=idle_stack.page_url)
    button = page.get_by_role("button", name="Submit", exact=True)
    button.wait_for()
    page.locator(AT_REST).wait_for()
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if page.locator(".skip-link").evaluate("link => link === document.activeElement"):
            sync_api.expect(page.locator(".skip-link")).to_be_in_viewport()
            page.keyboard.press("Enter")
        if button.evaluate("button => button === document.activeElement"):
            return
    raise AssertionError(f"Submit is not reached within {MOST_TABS} presses of Tab")


def test_what_streamlit_leaves_is_listed_with_its_version():
    said = (Path(__file__).parents[2] / "docs" / "page.md").read_text(encoding="utf-8")
    assert f"Streamlit {version('streamlit')}" in said
    assert [rule for rule in REST if f"`{rule}`" not in said] == []
