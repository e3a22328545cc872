"""Time the experiments page at 100,000 runs in a real browser: opening, paging, sorting, filtering, downloading.

    python -m benchmarks.page_at_scale [--runs 100000] [--rounds 10]

Starts `ft30 api` and `ft30 ui` on a store of their own. Prints median and slowest in milliseconds, from the click to
the moment when the page has settled (the new rows are there and Streamlit says that it is done).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.api_load import running_api
from benchmarks.page_lab import AT_REST, running_browser, running_page
from benchmarks.store_at_scale import fill
from finetune30.store import open_store


def measure(page: Any, address: str, rounds: int) -> None:
    """Print how long every action takes."""
    from playwright.sync_api import TimeoutError as NotSeenError

    def settle() -> None:
        page.wait_for_selector(AT_REST)

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
        with (
            running_api(folder, database_url) as api,
            running_page(folder, api) as address,
            running_browser() as browser,
        ):
            page = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US").new_page()
            page.set_default_timeout(60_000)
            measure(page, address, options.rounds)


if __name__ == "__main__":
    main()
