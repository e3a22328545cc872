"""Why a run errs, in a real browser: pressed cells, labels put right, curves set without the server, many labels."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import product
from typing import Any

import httpx
import pytest

from finetune30.store import RunStatus
from finetune30.ui.layout import ROW_PIXELS
from finetune30.ui.translations import translate
from support.page_marks import AT_REST, address, choose, switch_on
from support.present import present

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

Page = Any
LOCALES = {"en": "en-US", "zh": "zh-TW"}
LANGUAGES = pytest.mark.parametrize("language", list(LOCALES))
MARKS = {"great": "good", "awful": "bad"}
OPENINGS = ("the film was", "this room is", "我們的房間真的", "dinner, all in all, turned out to be quite")
ENDINGS = ("slow", "and clean", "很不錯", "again and again and again")
#: Every so many rows have the other label, so that some are answered "wrongly" whatever is learnt.
WRONG_EVERY = 7
#: The first chart is not what it was.
DRAWN_ANEW = "was => document.querySelector('[data-testid=stVegaLiteChart] svg').innerHTML !== was"
#: Cells of a matrix, and what a screen reader says of them: "bad → good: 3".
CELLS = '[aria-roledescription="rect mark"]'
#: What so many cells say, once all are there; looked at in one go, as a chart that is drawn anew has none meanwhile.
SAID = """([cells, count]) => {
  const marks = [...document.querySelectorAll(cells)];
  return marks.length === count && marks.map(mark => mark.getAttribute('aria-label'));
}"""
#: Whether so many cells stand in a chart that fits on a screen.
IS_LOW = """([cells, count]) => {
  const charts = [...document.querySelectorAll('[data-testid=stVegaLiteChart]')];
  const matrix = charts.find(chart => chart.querySelectorAll(cells).length === count);
  return matrix !== undefined && matrix.getBoundingClientRect().height < 700;
}"""
MANY = [f"topic {number:02}" for number in range(18)]


def upload(stack: Any, name: str, rows: list[tuple[str, str]]) -> str:
    """Send rows as a CSV file; return what a request calls it."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("text", "label"), *rows])
    sent = httpx.post(
        f"{stack.api_url}/datasets/files?name={name}",
        content=buffer.getvalue().encode(),
        headers={"Content-Type": "application/octet-stream"},
        timeout=600,
    )
    assert sent.status_code == 201, sent.text
    return str(sent.json()["dataset_name"])


def train(stack: Any, name: str, dataset: str, **config: Any) -> str:
    """Train a run to its end; return its id."""
    run_id: str = stack.submit(name, dataset=dataset, config=config)
    stack.services.wait_for(run_id, RunStatus.SUCCEEDED, seconds=600)
    return run_id


@pytest.fixture(scope="module")
def runs(stack: Any) -> list[str]:
    """Two runs on the same rows, some of them under the wrong label; the second learns next to nothing."""
    rows = [(f"{o} {m} {e}, no. {n}", MARKS[m]) for n, (o, m, e) in enumerate(product(OPENINGS * 2, MARKS, ENDINGS))]
    other = {"good": "bad", "bad": "good"}
    rows = [(text, other[label] if n % WRONG_EVERY == 0 else label) for n, (text, label) in enumerate(rows)]
    name = upload(stack, "reviews.csv", rows)
    common = {"data": {"train_samples": None, "eval_samples": None, "max_length": 32}}
    training = {"num_train_epochs": 4, "logging_steps": 1, "per_device_train_batch_size": 8}
    learnt = train(stack, "learnt", name, **common, training=training)
    return [learnt, train(stack, "flat", name, **common, training={**training, "learning_rate": 1e-7})]


@pytest.fixture(scope="module")
def many(stack: Any) -> str:
    """A run on more labels than a matrix can show at once."""
    rows = [(f"{opening} {label}, no. {n}", label) for label, opening, n in product(MANY, OPENINGS[:2], range(3))]
    config = {
        "model": {"num_labels": len(MANY)},
        "data": {"train_samples": None, "eval_samples": None, "max_length": 32},
        "training": {"num_train_epochs": 1},
    }
    return train(stack, "many", upload(stack, "topics.csv", rows), **config)


@pytest.fixture
def open_part(open_page: Callable[..., Page]) -> Callable[..., Page]:
    """Return open(run, part, language) -> a part of a run."""

    def open_at(run_id: str, part: str, language: str) -> Page:
        page = open_page(f"/run?run={run_id}", locale=LOCALES[language])
        page.get_by_test_id("stMain").get_by_text(translate(language, f"run.part_{part}"), exact=True).first.click()
        page.locator(AT_REST).wait_for()
        return page

    return open_at


def counted(page: Page, language: str) -> int:
    """Return how many rows the page says that it lists."""
    pattern = {"en": r"^([\d,]+) of [\d,]+ evaluation rows", "zh": r"筆評估資料中的 ([\d,]+) 筆"}[language]
    text = page.get_by_text(re.compile(pattern)).first.inner_text()
    return int(present(re.search(pattern, text)).group(1).replace(",", ""))


def expect_count(page: Page, language: str, count: int) -> None:
    """Wait until the page says that it lists so many rows."""
    pattern = {"en": rf"^{count} of [\d,]+ evaluation rows", "zh": rf"筆評估資料中的 {count} 筆（"}[language]
    page.get_by_text(re.compile(pattern)).first.wait_for(timeout=120_000)


def count_rows(stack: Any, run_id: str, **wanted: Any) -> int:
    """Return how many rows the API lists for a filter."""
    answer = httpx.get(f"{stack.api_url}/experiments/{run_id}/rows", params={"filter": json.dumps(wanted)}, timeout=600)
    return int(answer.json()["total"])


@LANGUAGES
def test_a_pressed_cell_lists_its_rows_and_a_label_is_put_right(
    open_part: Callable[..., Page], stack: Any, runs: list[str], language: str
) -> None:
    t = partial(translate, language)
    page = open_part(runs[0], "errors", language)
    page.get_by_text(t("why.press")).wait_for()
    assert counted(page, language) == count_rows(stack, runs[0], outcome=False)

    said = page.wait_for_function(SAID, arg=[CELLS, 4], timeout=120_000).json_value()
    counts = {mark: int(mark.rpartition(": ")[2]) for mark in said}
    pressed = max(counts, key=counts.__getitem__)
    label, prediction = pressed.rpartition(": ")[0].split(" → ")
    page.locator(f'{CELLS}[aria-label="{pressed}"]').click(position={"x": 8, "y": 8})
    expect_count(page, language, counts[pressed])
    assert count_rows(stack, runs[0], label=label, prediction=prediction) == counts[pressed]

    # mark a row for removal, in each language another one: the cell of a table is a canvas
    number = list(LOCALES).index(language)
    assert counts[pressed] > number
    grid = page.locator('[data-testid="stDataFrame"]').last
    before = len(httpx.get(f"{stack.api_url}/datasets", timeout=600).json()["versions"])
    for _ in range(4):  # a table that is drawn anew loses the keys
        page.locator(AT_REST).wait_for()
        grid.locator("canvas").first.wait_for()
        grid.scroll_into_view_if_needed()
        box = grid.bounding_box()
        page.mouse.click(box["x"] + 30, box["y"] + ROW_PIXELS * (number + 1.5))
        for key in (*["ArrowRight"] * 3, "Space"):  # prediction, confidence, label, remove
            page.keyboard.press(key)
        with suppress(playwright.TimeoutError):
            page.get_by_text(t("data.changes", count=1)).wait_for(timeout=30_000)
            break
    page.get_by_role("textbox", name=t("data.note")).fill(f"seen in {language}")
    page.get_by_role("button", name=t("data.relabel")).click()
    page.get_by_role("link", name=t("why.see_version")).wait_for(timeout=300_000)
    versions = httpx.get(f"{stack.api_url}/datasets", timeout=600).json()["versions"]
    assert len(versions) == before + 1
    assert versions[0]["note"] == f"seen in {language}"
    address(page, lambda words: words.get("run") == [runs[0]])


@LANGUAGES
def test_rows_are_narrowed_by_text_and_script(
    open_part: Callable[..., Page], stack: Any, runs: list[str], language: str
) -> None:
    t = partial(translate, language)
    page = open_part(runs[0], "errors", language)
    page.get_by_text(t("why.shown.all"), exact=True).click()
    page.locator(AT_REST).wait_for()
    text = page.get_by_role("textbox", name=t("why.text"))
    text.fill("FILM")
    text.press("Enter")
    asked = httpx.get(f"{stack.api_url}/experiments/{runs[0]}/rows", params={"text": "film"}, timeout=600)
    expect_count(page, language, asked.json()["total"])
    text.fill("")
    text.press("Enter")
    # Drawn anew with all rows: a list that is opened before is closed again.
    expect_count(page, language, httpx.get(f"{stack.api_url}/experiments/{runs[0]}/rows", timeout=600).json()["total"])
    page.locator(AT_REST).wait_for()
    choose(page, t("why.part.script"), re.compile("Han|漢字"))
    expect_count(page, language, count_rows(stack, runs[0], script="Han"))


@LANGUAGES
def test_curves_are_set_in_the_browser_and_a_flat_loss_is_said(
    open_part: Callable[..., Page], runs: list[str], language: str
) -> None:
    t = partial(translate, language)
    page = open_part(runs[1], "curves", language)
    page.get_by_text(re.compile({"en": "^The loss does not fall", "zh": "^損失沒有下降"}[language])).wait_for()
    page.get_by_text(t("curves.once")).wait_for(state="detached", timeout=60_000)  # one evaluation an epoch
    chart = page.locator("[data-testid=stVegaLiteChart]").first
    slider = chart.get_by_role("slider")
    slider.wait_for()
    page.locator(AT_REST).wait_for()
    page.evaluate("document.querySelector('[data-testid=stApp]').dataset.seen = 'before'")
    calm = chart.locator("svg").inner_html()
    slider.fill("0")
    page.wait_for_function(DRAWN_ANEW, arg=calm)
    rough = chart.locator("svg").inner_html()
    chart.get_by_role("checkbox").check()
    page.wait_for_function(DRAWN_ANEW, arg=rough)
    assert t("curves.evaluation") in chart.inner_text()
    page.get_by_text(re.compile({"en": "^best: step", "zh": "^最佳：第"}[language])).first.wait_for()


@LANGUAGES
def test_many_labels_have_a_matrix_that_can_be_read_and_five_answers(
    open_part: Callable[..., Page], many: str, language: str
) -> None:
    t = partial(translate, language)
    page = open_part(many, "errors", language)
    page.get_by_text(t("matrix.most_confused", shown=15, count=18)).first.wait_for()
    page.wait_for_function(IS_LOW, arg=[CELLS, 15 * 15], timeout=120_000)
    switch_on(page, t("matrix.everything", count=18))
    page.wait_for_function(IS_LOW, arg=[CELLS, 18 * 18], timeout=120_000)

    page.get_by_test_id("stMain").get_by_role("link", name=t("navigation.try")).click()
    page.get_by_role("heading", name=t("try.title")).wait_for()
    text = page.get_by_role("textbox", name=t("try.text"), exact=True)
    text.fill("this is about something else")
    text.press("Control+Enter")
    page.locator(AT_REST).wait_for()
    page.get_by_role("button", name=t("try.ask"), exact=True).click()
    page.get_by_text(t("try.unsure")).wait_for(timeout=900_000)
    bars = page.get_by_test_id("stMain").get_by_test_id("stProgress")
    expect(bars).to_have_count(5)
    switch_on(page, t("try.show_all", count=18))
    expect(bars).to_have_count(18, timeout=60_000)


@LANGUAGES
def test_compare_says_names_and_marks_the_best(open_page: Callable[..., Page], runs: list[str], language: str) -> None:
    t = partial(translate, language)
    page = open_page(f"/compare?ids={','.join(runs)}", locale=LOCALES[language])
    verdict = page.get_by_test_id("stAlert").filter(has_text="learnt").filter(has_text="flat").first
    verdict.wait_for()
    assert not [run_id for run_id in runs if run_id[:6] in verdict.inner_text()]
    page.get_by_text(t("compare.best_bold")).wait_for()
    legend = page.get_by_role("list").filter(has_text="learnt")
    expect(legend.filter(has_text="flat")).to_have_count(1)
    page.get_by_role("heading", name=t("compare.flipped")).wait_for()
