"""One stack (Redis, worker, API, page) and one browser for all tests of the page."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from support.hub_fixtures import hub_contents
from support.page_marks import AT_REST
from support.page_stack import Stack
from support.stand_in_hub import StandInHub, link_folder

__all__ = ["hub_contents"]

#: No sandbox in containers; nothing that looks for a network.
CHROMIUM_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
).split()
#: Milliseconds that a press waits for a page to be drawn; some are pressed while a script runs, and are meant to be.
_DRAWING = 20_000
#: Milliseconds after which a page that shows nothing is asked for anew.
_FIRST_DRAWING = 120_000
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="package", autouse=True)
def presses_meet_what_stays() -> Iterator[None]:
    """Let every press wait until the page is drawn: what is pressed on a part that is about to go is lost."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    press = sync_api.Locator.click

    def press_at_rest(self: Any, **options: Any) -> None:
        with contextlib.suppress(sync_api.TimeoutError):
            self.page.locator(AT_REST).wait_for(timeout=_DRAWING)
        press(self, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync_api.Locator, "click", press_at_rest)
        yield


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Chromium, or a skip that says what is missing.

    It ends with the last test of this package: as long as Playwright lives, its event loop counts as running in this
    thread, and no other test could run one of its own.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    with sync_api.sync_playwright() as playwright:
        path = found or playwright.chromium.executable_path
        if not os.access(path, os.X_OK):
            pytest.skip("no Chromium here: apt-get install chromium, or playwright install chromium")
        chromium = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def stack(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The running services; started only where there is a browser to look at them."""
    with contextlib.closing(Stack(tmp_path_factory.mktemp("page"))) as running:
        running.start()
        yield running


@pytest.fixture(scope="module")
def idle_stack(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """API and page without Redis and worker: what is submitted waits."""
    with contextlib.closing(Stack(tmp_path_factory.mktemp("idle-page"))) as running:
        running.start_page()
        yield running


@pytest.fixture(scope="module")
def hub(hub_contents: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInHub]:
    """A stand-in hub for the tests of a module."""
    with StandInHub(link_folder(hub_contents, tmp_path_factory.mktemp("page-hub") / "hub")) as served:
        yield served


@pytest.fixture(scope="module")
def hub_stack(browser: Any, hub: StandInHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Services that use the stand-in hub; what they fetch lies in `home` below their folder."""
    folder = tmp_path_factory.mktemp("hub-page")
    with contextlib.closing(Stack(folder, **hub.variables(folder / "home"))) as running:
        running.start()
        yield running


@pytest.fixture
def open_at(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Return a function that opens an address below `base` in a new window of a visitor's browser."""
    from playwright import sync_api

    contexts = []

    def open_address(
        path: str, *, base: str, locale: str = "en-US", width: int = 1280, scheme: Literal["light", "dark"] = "light"
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            locale=locale,
            timezone_id="Asia/Taipei",
            color_scheme=scheme,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(300_000)
        page.goto(base + path)
        try:
            page.wait_for_selector("h1", timeout=_FIRST_DRAWING)
        except sync_api.TimeoutError:  # once in some hundred openings on a busy machine: white, nothing loads any more
            page.reload()
            page.wait_for_selector("h1")
        return page

    yield open_address
    for visitor, context in enumerate(contexts):
        for number, page in enumerate(context.pages):  # what was seen last, to look at after a failure
            page.screenshot(path=tmp_path / f"last-seen-{visitor}-{number}.png")
        context.close()


@pytest.fixture
def open_page(stack: Stack, open_at: Any) -> Any:
    """Return a function that opens an address of the page, in English on a wide screen unless told otherwise."""

    def open_in_stack(path: str, locale: str = "en-US", width: int = 1280, base: str = stack.page_url) -> Any:
        return open_at(path, base=base, locale=locale, width=width)

    return open_in_stack


@pytest.fixture
def open_idle_page(idle_stack: Stack, open_at: Any) -> Any:
    """The same for the page of `idle_stack`."""

    def open_in_stack(path: str, locale: str = "en-US", width: int = 1280, base: str = idle_stack.page_url) -> Any:
        return open_at(path, base=base, locale=locale, width=width)

    return open_in_stack
