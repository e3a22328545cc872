"""One stack (Redis, worker, API, page) and one browser for all tests of the page."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.hub_fixtures import hub_contents
from support.patience import wait_until
from support.services import Services, free_port
from support.stand_in_hub import StandInHub, link_folder

__all__ = ["hub_contents"]

#: No sandbox in containers; nothing that looks for a network.
CHROMIUM_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
).split()
NAMES = ("chromium", "chromium-browser", "google-chrome")


class Stack:
    """The services of the README, each in a process of its own."""

    def __init__(self, folder: Path, **variables: Any) -> None:
        """`variables` are for the environment of worker, API and page."""
        self.folder, self._variables = folder, variables
        # The lease of a real installation: beside a browser on a busy machine, attempts lose one of three seconds.
        self.services = Services(folder, ui_port=free_port(), disk_reserve_bytes=0, lease_seconds=60)
        self.api_url = f"http://127.0.0.1:{self.services.settings.api_port}"
        self.page_url = f"http://127.0.0.1:{self.services.settings.ui_port}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        self.services.start_redis()
        self.services.start_worker(drill=None, **self._variables)
        self.start_page()
        self.services.wait_for_worker()

    def start_page(self) -> None:
        """Start API and page alone: enough where nothing is trained."""
        self.start_command("api")
        self.start_command("ui")
        wait_until(lambda: self._answers(self.api_url + "/healthz"), 120, "the API answers")
        wait_until(lambda: self._answers(self.page_url + "/_stcore/health"), 120, "the page answers")

    def start_command(self, name: str, **environment: str) -> None:
        known = "-".join([name, *environment.values()])
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[known] = subprocess.Popen(
                [sys.executable, "-m", "finetune30", name],
                stdout=log,
                stderr=log,
                env=self.services.environment(**self._variables, **environment),
                cwd=self.folder,
            )

    def start_locked(self, key: str) -> str:
        """Start a second API that asks for a key, and its page; return the page's address."""
        api, ui = free_port(), free_port()
        ports = {"FT30_API_PORT": str(api), "FT30_UI_PORT": str(ui)}
        self.start_command("api", **ports, FT30_API_KEYS=key)
        self.start_command("ui", **ports)
        wait_until(lambda: self._answers(f"http://127.0.0.1:{api}/healthz"), 120, "the API with keys answers")
        wait_until(lambda: self._answers(f"http://127.0.0.1:{ui}/_stcore/health"), 120, "its page answers")
        return f"http://127.0.0.1:{ui}"

    def kill(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    @contextlib.contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Leave a service without an answer for a while, as a machine does that is busy elsewhere."""
        process = self._processes[name]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def submit(self, name: str, **body: Any) -> str:
        answer = httpx.post(
            self.api_url + "/train", json={"experiment_name": name, "preset": "quick_cpu", **body}, timeout=600
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task_id"])

    def close(self) -> None:
        for name in list(self._processes):
            self.kill(name)
        self.services.close()

    @staticmethod
    def _answers(url: str) -> bool:
        try:
            return httpx.get(url, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, or a skip that says what is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    with sync_api.sync_playwright() as playwright:
        path = found or playwright.chromium.executable_path
        if not os.access(path, os.X_OK):
            pytest.skip("no Chromium here: apt-get install chromium, or playwright install chromium")
        chromium = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
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
def open_page(browser: Any, stack: Stack) -> Iterator[Any]:
    """Return a function that opens an address of the page in a new window of a visitor's browser."""
    yield from opening(browser, stack)


@pytest.fixture
def open_idle_page(browser: Any, idle_stack: Stack) -> Iterator[Any]:
    """The same for the page of `idle_stack`."""
    yield from opening(browser, idle_stack)


def opening(browser: Any, stack: Stack) -> Iterator[Any]:
    """Give the function, and close what it opened."""
    contexts = []

    def open_at(path: str, locale: str = "en-US", width: int = 1280, base: str = stack.page_url) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, locale=locale, timezone_id="Asia/Taipei"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(300_000)
        page.goto(base + path)
        page.wait_for_selector("h1")
        return page

    yield open_at
    for context in contexts:
        for number, page in enumerate(context.pages):  # what was seen last, to look at after a failure
            page.screenshot(path=stack.folder / f"last-seen-{number}.png")
        context.close()
