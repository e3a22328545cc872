"""Many runs in a real browser: opened by a press, marked, tagged, cancelled, deleted, plotted, shared by address."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest

from finetune30.config.loading import validate_tree
from finetune30.errors import NotFoundError
from finetune30.store import Run, RunFilter, RunStatus, RunStore
from finetune30.store.annotations import RunEdit, edit_run
from finetune30.ui.layout import ROW_PIXELS
from finetune30.ui.translations import translate
from support.page_marks import AT_REST, address
from support.patience import wait_until

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

LOCALES = {"en": "en-US", "zh": "zh-TW"}
Open = Callable[..., Any]


class Shelf:
    """Runs on record that nobody has to train: six that ended well, one that waits, one that runs, one that failed."""

    def __init__(self, services: Any) -> None:
        self.store: RunStore = services.store
        self._results = services.settings.results_folder
        for number, rate in enumerate((0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005)):
            run = self.add(f"sweep {number}", rate=rate, r=4 * 2 ** (number % 3))
            claim = self.store.claim(run.id, lease_seconds=60)
            assert claim is not None
            self.store.describe(claim, dataset_digest="d" * 64, device="cpu", precision="fp32")
            metrics = {
                "eval_accuracy": 0.6 + number / 20,
                "eval_loss": 0.9 - number / 10,
                "train_runtime": 10.0 + number,
            }
            self.store.succeed(claim, metrics, "0" * 64)
        claim = self.store.claim(self.add("broken").id, lease_seconds=60)
        assert claim is not None
        self.store.fail(claim, {"error": "data_error", "message": "no rows", "remedy": ""})
        self.store.claim(self.add("busy").id, owner="elsewhere:boot:1:1", lease_seconds=10**6)
        self.add("waiting")

    def add(self, name: str, rate: float = 0.0005, r: int = 8) -> Run:
        tree = {"experiment_name": name, "training": {"learning_rate": rate}, "lora": {"r": r}}
        return self.store.create(validate_tree(tree), kind="queued", results_root=self._results)

    def names(self, **wanted: Any) -> list[str]:
        return [run.name for run in self.store.find(RunFilter(**wanted))]


@pytest.fixture(scope="module")
def shelf(idle_stack: Any) -> Shelf:
    return Shelf(idle_stack.services)


@pytest.fixture(params=["en", "zh"])
def language(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def rest(page: Any) -> None:
    page.locator(AT_REST).wait_for()


def table(page: Any) -> Any:
    return page.get_by_test_id("stDataFrame").first


def place_of(row: int, x: int) -> dict[str, int]:
    """Where a cell of the table lies; rows count from 0."""
    return {"x": x, "y": ROW_PIXELS * (row + 1) + ROW_PIXELS // 2}


def press(page: Any, row: int, x: int, done: Any) -> None:
    """Press a cell until what it brings is there: a table that is drawn anew loses a press."""
    canvas = table(page).locator("canvas").first
    for _ in range(4):
        rest(page)
        canvas.click(position=place_of(row, x), force=True)  # the scrolling frame lies over it
        with suppress(playwright.TimeoutError):
            done.wait_for(timeout=60_000)  # a second press would take the first one back
            return
    done.wait_for()


def mark(page: Any, t: Any, rows: list[int]) -> None:
    """Mark rows; the link to the comparison counts them."""
    for count, row in enumerate(rows, 1):
        counted = page.get_by_test_id("stMain").get_by_text(t("experiments.compare", count=count))
        press(page, row, ROW_PIXELS // 2, counted)
    rest(page)


def open_listing(open_idle_page: Open, language: str, query: str = "?name=sweep&sort_by=name&desc=false") -> Any:
    page = open_idle_page(f"/experiments{query}", locale=LOCALES[language])
    table(page).wait_for()
    rest(page)
    return page


def test_a_press_on_a_name_opens_the_run(open_idle_page: Open, shelf: Shelf, language: str) -> None:
    page = open_listing(open_idle_page, language)
    press(page, 1, 100, page.get_by_role("heading", name="sweep 1", level=1))
    address(page, lambda words: words.get("run") == [shelf.store.get("sweep 1").id])
    page.get_by_role("link", name=translate(language, "run.back")).click()
    page.get_by_role("heading", name=translate(language, "experiments.title"), level=1).wait_for()
    rest(page)
    address(page, lambda words: words.get("name") == ["sweep"])  # as it was left


def test_the_address_shows_another_visitor_the_same(open_idle_page: Open, shelf: Shelf, language: str) -> None:
    t = partial(translate, language)
    page = open_listing(open_idle_page, language)
    mark(page, t, [0, 2])
    page.get_by_test_id("stPopoverButton").click()
    page.get_by_role("combobox", name=t("columns.chosen")).fill(t("column.device"))
    page.get_by_role("option", name=t("column.device"), exact=True).click()
    page.keyboard.press("Escape")
    rest(page)
    found = address(page, lambda words: "device" in words.get("columns", []))
    assert found["selected"] == [shelf.store.get(f"sweep {n}").id for n in (0, 2)]
    assert (found["name"], found["sort_by"], found["desc"]) == (["sweep"], ["name"], ["false"])
    other = "zh" if language == "en" else "en"
    seen = urlsplit(page.url)
    shared = f"{seen.path}?{seen.query}".replace(f"lang={language}", f"lang={other}")
    guest = open_idle_page(shared, locale=LOCALES[other])
    guest.get_by_test_id("stMain").get_by_text(translate(other, "experiments.compare", count=2)).wait_for()
    rest(guest)
    wanted = {name: values for name, values in found.items() if name != "lang"}
    address(guest, lambda words: {name: values for name, values in words.items() if name != "lang"} == wanted)
    expect(guest.get_by_role("textbox", name=translate(other, "experiments.name"))).to_have_value("sweep")


def test_marked_runs_are_tagged_and_found_by_the_tag(open_idle_page: Open, shelf: Shelf, language: str) -> None:
    t, tag = partial(translate, language), {"en": "good ones", "zh": "好的"}[language]
    page = open_listing(open_idle_page, language)
    mark(page, t, [3, 4])
    page.get_by_role("button", name=t("bulk.tag"), exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("sweep 3").wait_for()
    rest(page)
    entry = dialog.get_by_role("combobox", name=t("bulk.add_tags"))
    entry.fill(tag)
    entry.press("Enter")
    entry.press("Tab")  # folds the menu of the field
    rest(page)
    dialog.get_by_role("button", name=t("bulk.tag_confirm", count=2)).click()
    wait_until(lambda: shelf.names(tags=frozenset({tag})) == ["sweep 4", "sweep 3"], 60, "both have the tag")
    dialog.wait_for(state="detached")
    page.goto(page.url.partition("?")[0] + f"?lang={language}&tag={tag}")
    table(page).wait_for()
    rest(page)
    mark(page, t, [0, 1])
    address(page, lambda words: len(words.get("selected", [])) == 2)


def test_waiting_and_running_ones_are_cancelled_after_saying_so(
    open_idle_page: Open, shelf: Shelf, language: str
) -> None:
    t = partial(translate, language)
    run = shelf.add(f"to stop {language}")
    page = open_listing(open_idle_page, language, "?sort_by=created_at")
    page.get_by_text(t("health.no_worker_waits", command="make start-worker").partition("`")[0]).first.wait_for()
    mark(page, t, [0])
    page.get_by_role("button", name=t("bulk.cancel"), exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text(t("bulk.cancel_waiting", count=1)).wait_for()
    rest(page)
    dialog.get_by_role("button", name=t("action.keep")).click()
    dialog.wait_for(state="detached")
    assert shelf.store.get(run.id).status is RunStatus.QUEUED
    rest(page)
    page.get_by_role("button", name=t("bulk.cancel"), exact=True).click()
    dialog.wait_for()
    rest(page)
    dialog.get_by_role("button", name=t("bulk.cancel_confirm", count=1)).click()
    wait_until(lambda: shelf.store.get(run.id).status is RunStatus.CANCELLED, 60, "it is cancelled")


def test_deleting_names_what_goes_in_red_and_a_running_one_stays(
    open_idle_page: Open, shelf: Shelf, language: str
) -> None:
    t = partial(translate, language)
    gone = shelf.add(f"busy too {language}")
    shelf.store.request_cancel(gone.id)
    page = open_listing(open_idle_page, language, "?name=busy&sort_by=name&desc=false")
    mark(page, t, [0, 1])
    page.get_by_role("button", name=t("run.delete"), exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text(f"busy too {language}").wait_for()
    dialog.get_by_text(t("bulk.delete_running", count=1)).wait_for()
    rest(page)
    confirm = dialog.get_by_role("button", name=t("bulk.delete_confirm", count=2))
    assert confirm.evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(179, 38, 30)"
    confirm.click()
    page.get_by_text(t("bulk.refused_title", count=1)).wait_for()
    page.get_by_text({"en": "cannot be deleted", "zh": "正在執行，無法刪除"}[language]).wait_for()
    with pytest.raises(NotFoundError):
        shelf.store.get(gone.id)
    assert shelf.store.get("busy").status is RunStatus.RUNNING


def test_a_run_is_renamed_and_an_edit_of_somebody_else_is_not_overwritten(
    open_idle_page: Open, shelf: Shelf, language: str
) -> None:
    t = partial(translate, language)
    run = shelf.add(f"plain {language}")
    page = open_idle_page(f"/run?run={run.id}", locale=LOCALES[language])
    page.get_by_role("button", name=t("marks.edit")).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name=t("marks.name")).fill(f"named {language}")
    dialog.get_by_role("textbox", name=t("marks.note"), exact=True).fill("two\nlines & <b>signs</b>")
    page.keyboard.press("Tab")
    rest(page)
    edit_run(shelf.store, run.id, RunEdit(starred=True), by="somebody")
    dialog.get_by_role("button", name=t("marks.save"), exact=True).click()
    dialog.get_by_text(t("marks.conflict")[:40]).wait_for()
    assert shelf.store.get(run.id).name == f"plain {language}"
    rest(page)
    dialog.get_by_role("button", name=t("marks.leave")).click()
    dialog.wait_for(state="detached")
    rest(page)
    page.get_by_role("button", name=t("marks.edit")).click()
    dialog.wait_for()
    rest(page)
    dialog.get_by_role("textbox", name=t("marks.name")).fill(f"named {language}")
    dialog.get_by_role("textbox", name=t("marks.note"), exact=True).fill("two\nlines & <b>signs</b>")
    page.keyboard.press("Tab")
    rest(page)
    dialog.get_by_role("button", name=t("marks.save"), exact=True).click()
    page.get_by_role("heading", name=f"named {language}", level=1).wait_for()
    page.get_by_text("<b>signs</b>").wait_for()
    found = shelf.store.get(run.id)
    assert (found.name, found.note, found.folder) == (f"named {language}", "two\nlines & <b>signs</b>", run.folder)


def test_runs_are_plotted_by_what_they_were_told(open_idle_page: Open, shelf: Shelf, language: str) -> None:
    t = partial(translate, language)
    page = open_listing(open_idle_page, language)
    page.get_by_text(t("plots.title")).click()
    page.get_by_text(t("plots.of_page", count=6)).wait_for()
    plots = page.get_by_test_id("stExpander").filter(has_text=t("plots.title"))
    plots.locator("[data-testid=stVegaLiteChart] svg").wait_for()
    for words in (t("field.training.learning_rate"), t("metric.eval_accuracy")):
        page.get_by_text(re.compile(words)).first.wait_for(state="attached")
    page.get_by_role("radio", name=t("plots.parallel")).click()
    page.get_by_role("combobox", name=t("plots.axes")).wait_for()
    rest(page)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(plots.get_by_test_id("stVegaLiteChart")).to_be_visible()


def test_the_side_bar_and_what_waits_say_that_no_worker_runs(open_idle_page: Open, shelf: Shelf, language: str) -> None:
    t = partial(translate, language)
    page = open_idle_page(f"/follow?task={shelf.store.get('waiting').id}", locale=LOCALES[language])
    side = page.get_by_test_id("stSidebar")
    side.get_by_text("make start-worker").wait_for()
    side.get_by_text(t("health.redis_down")).wait_for()
    side.get_by_text(re.compile(re.escape(t("health.disk")))).first.wait_for()
    main = page.get_by_test_id("stMain")
    main.get_by_text("make start-worker").first.wait_for()
    assert "waiting" in main.inner_text()
