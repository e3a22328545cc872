"""Time the experiments page at 100,000 runs in a real browser: opening, paging, sorting, filtering, downloading.

    python -m benchmarks.page_load [--runs 100000] [--rounds 10]

Starts `ft30 api` and `ft30 ui` on a store of their own. Prints median and slowest in milliseconds, from the click to
the moment when the page has settled (the new rows are there and Streamlit says that it is done).
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from benchmarks.api_load import running_api
from benchmarks.store_at_scale import fill
from finetune30.store import open_store

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def running_page(folder: Path, api: str) -> Iterator[str]:
    """Start `ft30 ui` on a free port over an API and give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "finetune30", "ui", "--port", str(port), "--api-url", api]
    with (folder / "ui.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=dict(os.environ), stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(200):
                time.sleep(0.3)
                try:
                    httpx.get(f"{address}/_stcore/health").raise_for_status()
                except httpx.HTTPError:
                    continue
                break
            yield address
        finally:
            process.terminate()
            process.wait(timeout=30)


def measure(page: Any, address: str, rounds: int) -> None:
    """Print how long every action takes."""
    from playwright.sync_api import TimeoutError as NotSeenError

    def settle() -> None:
        page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')

    def run_again() -> None:
        with suppress(NotSeenError):  # a quick answer may be there before anybody looks
            page.wait_for_selector('[data-testid="stApp"][data-test-script-state="running"]', timeout=500)
        settle()

    def timed(name: str, act: Callable[[int], None], times: int = rounds) -> None:
        taken = []
        for number in range(times):
            started = time.perf_counter()
            act(number)
            taken.append((time.perf_counter() - started) * 1000)
        print(f"{name:34} {statistics.median(taken):8.0f} ms {max(taken):8.0f} ms", flush=True)

    def open_tab(_: int) -> None:
        page.goto(f"{address}/experiments?lang=en")
        page.get_by_role("button", name="Next").wait_for()
        settle()

    def turn(number: int) -> None:
        page.get_by_role("button", name="Next").click()
        page.get_by_text(f"Page {number + 2}", exact=True).wait_for()
        settle()

    def filter_name(number: int) -> None:
        field = page.get_by_role("textbox", name="Name contains")
        field.fill(f"{number}")
        field.press("Enter")
        run_again()

    def sort(number: int) -> None:
        wanted = ("score", "name", "training time")[number % 3]
        page.get_by_role("combobox", name="Sort by").click()
        page.keyboard.type(wanted)
        page.keyboard.press("Enter")
        run_again()

    def download(_: int) -> None:
        with page.expect_download(timeout=180_000) as waiting:
            page.get_by_role("button", name="Download CSV").click()
        print(f"  {waiting.value.path().stat().st_size / 1e6:.1f} MB")

    print(f"{'':34} {'median':>11} {'slowest':>11}")
    timed("open the tab", open_tab, 5)
    timed("next page", turn)
    timed("sort", sort, 8)
    timed("filter by name", filter_name, 5)
    open_tab(0)
    timed("download all as CSV", download, 1)


def main() -> None:
    """Fill a store, start API and page, measure."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database_url = f"sqlite:///{folder}/experiments.db"
        store = open_store(database_url)
        fill(store, options.runs)
        store.close()
        with running_api(folder, database_url) as api, running_page(folder, api) as address, sync_playwright() as tool:
            found = next((path for path in map(shutil.which, NAMES) if path), tool.chromium.executable_path)
            browser = tool.chromium.launch(executable_path=found, args=["--headless", "--no-sandbox", "--disable-gpu"])
            page = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US").new_page()
            page.set_default_timeout(60_000)
            measure(page, address, options.rounds)
            browser.close()


if __name__ == "__main__":
    main()
