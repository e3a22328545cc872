"""From a press on the page to its effect, for ten things that people do there, in a real browser.

    python -m benchmarks.page_load [--rounds 9] [--against FOLDER]

Trains three runs on the starter data and serves them with `ft30 api` and `ft30 ui`. Prints median and slowest in
milliseconds, from the event in the browser to the picture that shows its effect. FOLDER has the sources of another
version (`git worktree add FOLDER COMMIT`); its page is used in turn with this one, press by press, so that whatever
else the machine does hits both.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.api_load import running_api
from benchmarks.page_lab import AT_REST, running_browser, running_page, time_press

#: Names of the runs that are trained, with their rank: they differ in a setting, so that there is something to compare.
RUNS = {"first": 8, "second": 4, "third": 16}
#: Long enough for curves and errors, and no longer.
_SHORT = ("--training.num_train_epochs", "2", "--data.train_samples", "200", "--data.eval_samples", "100")
_ROW, _MARK = 33, 16  # pixels: the height of a table's row, the middle of the column with marks
_TITLE = "document.querySelector('h1')?.innerText"
_HEADINGS = "[...document.querySelectorAll('h2, h3')].map(heading => heading.innerText)"
_STEPS = "[...document.querySelectorAll('[data-testid=stMetric]')].find(e => e.innerText.includes('Optimizer steps'))"
_LINES = "[...document.querySelectorAll('.mark-line path')].map(path => path.getAttribute('d')).join()"

#: Times a press on a page of one version; what stands around it brings the page there and back.
Action = Callable[["Visit"], float]


class Visit:
    """A window on the page of one version, at rest between two presses."""

    def __init__(self, page: Any, address: str, api: str, run_id: str) -> None:
        """`run_id` is that of a finished run."""
        self.page, self.address, self.api, self.run_id = page, address, api, run_id

    def require_services(self) -> None:
        """Raise unless page and API answer: without one, a press would show what was seen last, quickly."""
        for address in (self.api + "/readyz", self.address + "/_stcore/health"):
            httpx.get(address, timeout=60).raise_for_status()

    def open(self, path: str, *, title: str) -> None:
        """Open an address anew."""
        self.page.goto(self.address + path)
        self.page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
        self.rest()

    def rest(self) -> None:
        """Wait until nothing changes for a while, so that no press meets what the one before set going."""
        for _ in range(2):
            self.page.wait_for_timeout(250)
            self.page.wait_for_selector(AT_REST)

    def press(self, act: Callable[[], None], effect: str) -> float:
        """Return how long the effect of a press takes."""
        taken = time_press(self.page, act, effect)
        self.rest()
        return taken


def switch_language(visit: Visit) -> float:
    """Switch to Chinese on the form; back is not counted."""
    side = visit.page.get_by_test_id("stSidebar")
    taken = visit.press(side.get_by_text("繁體中文", exact=True).click, f"{_TITLE} === '提交任務'")
    side.get_by_text("English", exact=True).click()
    visit.page.get_by_role("heading", name="Submit a run", exact=True).wait_for()
    visit.rest()
    return taken


def choose_source(visit: Visit) -> float:
    """Choose another source of data on the form."""
    sources = visit.page.get_by_test_id("stMain").get_by_test_id("stButtonGroup").first
    field = "document.querySelector('input[aria-label=\"Name of the data set\"]') !== null"
    taken = visit.press(sources.get_by_text("Hub or path", exact=True).click, field)
    sources.get_by_text("Starter reviews (English)", exact=True).click()
    visit.page.get_by_role("textbox", name="Name of the data set").wait_for(state="detached")
    visit.rest()
    return taken


def change_field(visit: Visit) -> float:
    """One more epoch on the form: other steps in the estimate."""
    field = visit.page.get_by_test_id("stNumberInput").filter(has_text="Epochs")
    visit.page.wait_for_function(f"{_STEPS} !== undefined")
    before = visit.page.evaluate(f"{_STEPS}.innerText")
    more = field.get_by_test_id("stNumberInputStepUp").click
    return visit.press(more, f"({_STEPS}?.innerText ?? {before!r}) !== {before!r}")


def expand_section(visit: Visit) -> float:
    """Unfold the settings of LoRA on the form."""
    summary = visit.page.get_by_text("LoRA: further settings", exact=True)
    first = "document.querySelector('[class*=\"st-key-field-lora-target_modules\"]')"
    taken = visit.press(summary.click, f"{first}?.getClientRects()[0]?.height > 0 && {first}.checkVisibility()")
    summary.click()
    visit.rest()
    return taken


def open_view(visit: Visit) -> float:
    """Go from the form to the table of runs, a second time: the browser has read what draws tables."""
    side = visit.page.get_by_test_id("stSidebar")
    for link, title in (("Experiments", "Experiments"), ("Submit", "Submit a run")):
        side.get_by_role("link", name=link, exact=True).click()
        visit.page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
        visit.rest()
    table = "document.querySelector('[data-testid=stDataFrame] canvas') !== null"
    pressed = side.get_by_role("link", name="Experiments", exact=True)
    return visit.press(pressed.click, f"{_TITLE} === 'Experiments' && {table}")


def mark_row(visit: Visit) -> float:
    """Mark the first run of the table; its mark is taken away again."""
    canvas = visit.page.get_by_test_id("stDataFrame").locator("canvas").first

    def click() -> None:
        canvas.click(position={"x": _MARK, "y": _ROW + _ROW // 2}, force=True)

    told = "document.body.innerText.includes('Compare (1)')"
    taken = visit.press(click, told)
    click()
    visit.page.wait_for_function("document.body.innerText.includes('Compare (0)')")
    visit.rest()
    return taken


def filter_table(visit: Visit) -> float:
    """Filter the table of runs by name: a table that is as high as one row needs (rounded to pixels).

    What it says of its rows to screen readers comes 200 ms after its picture.
    """
    field = visit.page.get_by_role("textbox", name="Name contains")
    height = "document.querySelector('[data-testid=stDataFrame] canvas')?.getBoundingClientRect().height"
    visit.page.wait_for_function(f"{height} !== undefined")
    visit.rest()
    whole = visit.page.evaluate(height)
    field.fill("second")
    taken = visit.press(lambda: field.press("Enter"), f"{height} < {whole - (len(RUNS) - 1.5) * _ROW}")
    field.fill("")
    field.press("Enter")
    visit.page.wait_for_function(f"{height} === {whole}")
    visit.rest()
    return taken


def choose_run(visit: Visit) -> float:
    """Choose a second run in Compare: verdict and tables of both."""
    visit.open("/compare", title="Compare runs")
    choice = visit.page.get_by_role("combobox", name="Runs (two to eight)")
    first, second = (visit.page.get_by_role("option", name=re.compile(f"^{name} ")) for name in ("first", "second"))
    choice.click()
    first.click()
    visit.rest()
    if not second.is_visible():
        choice.click()
    second.wait_for()
    return visit.press(second.click, f"{_HEADINGS}.includes('Metrics')")


def press_cell(visit: Visit) -> float:
    """Press a cell of a run's confusion matrix: the rows that it counts."""
    _open_run(visit, "Results")
    cell = visit.page.locator("path[aria-label*=' → ']").first
    cell.wait_for()
    visit.rest()
    table = "document.querySelector('[data-testid=stDataFrame] canvas') !== null"
    return visit.press(lambda: cell.click(force=True), f"{_HEADINGS}.includes('Rows') && {table}")


def smooth_curve(visit: Visit) -> float:
    """Smooth a curve of a run."""
    _open_run(visit, "Curves")
    slider = visit.page.locator("input[type=range]").first
    slider.focus()
    visit.rest()
    before = visit.page.evaluate(_LINES)
    return visit.press(lambda: slider.press("ArrowRight"), f"{_LINES} !== {before!r}")


def _open_run(visit: Visit, part: str) -> None:
    visit.open(f"/run?run={visit.run_id}", title="first")
    visit.page.get_by_test_id("stMain").get_by_text(part, exact=True).first.click()
    visit.rest()


FORM, TABLE = ("/?preset=starter", "Submit a run"), ("/experiments", "Experiments")
#: What is pressed -> the view on which (one that finds its own has none), and the press.
ACTIONS: dict[str, tuple[tuple[str, str] | None, Action]] = {
    "switch the language on the form": (FORM, switch_language),
    "choose another source of data": (FORM, choose_source),
    "change a field of the form": (FORM, change_field),
    "unfold a section of the form": (FORM, expand_section),
    "go to another view": (FORM, open_view),
    "mark a row of the table": (TABLE, mark_row),
    "filter the table": (TABLE, filter_table),
    "choose a run in Compare": (None, choose_run),
    "press a cell of the matrix": (None, press_cell),
    "smooth a curve": (None, smooth_curve),
}


def measure(visits: Sequence[Visit], rounds: int, chosen: Sequence[str]) -> Iterator[tuple[str, list[list[float]]]]:
    """Yield the times of every action by version; the versions take turns, press by press."""
    for name in chosen:
        place, act = ACTIONS[name]
        taken: list[list[float]] = [[] for _ in visits]
        for _ in range(rounds):
            for visit, times in zip(visits, taken, strict=True):
                visit.require_services()
                if place is not None:
                    visit.open(place[0], title=place[1])
                times.append(act(visit))
        yield name, taken


@contextmanager
def serving(folder: Path, sources: Path, browser: Any) -> Iterator[Visit]:
    """Train with the sources of a version, serve its page, and open a window on it."""
    variables = {"PYTHONPATH": str(sources / "src")}
    for name, rank in RUNS.items():
        given = ["--experiment_name", name, "--lora.r", str(rank), *_SHORT]
        command = [sys.executable, "-m", "finetune30", "train", "--preset", "starter", *given]
        environment = {**os.environ, **variables, "FT30_RESULTS_FOLDER": "results", "FT30_DISK_RESERVE_BYTES": "0"}
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    database = f"sqlite:///{folder}/results/experiments.db"
    with running_api(folder, database, **variables) as api, running_page(folder, api, **variables) as address:
        runs = httpx.get(f"{api}/experiments", params={"name": "first"}).json()["experiments"]
        page = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US").new_page()
        page.set_default_timeout(60_000)
        yield Visit(page, address, api, str(runs[0]["id"]))


def main() -> None:
    """Serve one version or two, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page_load", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="presses of each kind")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="sources of another version")
    parser.add_argument("--only", action="append", choices=list(ACTIONS), metavar="ACTION", help="measure this alone")
    options = parser.parse_args()
    sources = [*([options.against.resolve()] if options.against else []), Path(__file__).resolve().parents[1]]
    with tempfile.TemporaryDirectory(prefix="page-") as scratch, running_browser() as browser, ExitStack() as services:
        visits = []
        for number, tree in enumerate(sources):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            visits.append(services.enter_context(serving(folder, tree, browser)))
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; milliseconds, median and slowest")
        for name, taken in measure(visits, options.rounds, options.only or list(ACTIONS)):
            shown = (f"{statistics.median(times):8.0f} {max(times):8.0f}" for times in taken)
            print(f"{name:34} {' '.join(shown)}", flush=True)
        print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
