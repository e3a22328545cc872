"""The page in a real browser, over the real API, Redis and worker, on the starter data."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial

import pytest

from finetune30.config import ExperimentConfig
from finetune30.errors import NotFoundError
from finetune30.store import RunStatus
from finetune30.ui import display
from finetune30.ui.layout import ROW_PIXELS
from finetune30.ui.translations import translate
from support.page_marks import AT_REST, FORM, TASK, address, press_at_once, wait_for_state
from support.present import present

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

FINISHED = RunStatus.SUCCEEDED
LOCALES = {"en": "en-US", "zh": "zh-TW"}
#: What the problem calls a piece of its result.
MATRIX = {"en": "Confusion matrix", "zh": "混淆矩陣"}
NAMES = {"en": "from the page", "zh": "從頁面提交"}
HOSTILE = ("\u003cscript\u003ealert(1)\u003c/script\u003e", "=cmd()", "\x1b[31mred", "x" * 10_000)


@pytest.fixture(scope="module")
def finished(stack):
    """A finished run, to compare others with."""
    run_id = stack.submit("first")
    stack.services.wait_for(run_id, FINISHED, seconds=300)
    return run_id


@pytest.mark.parametrize(("language", "other"), [("en", "zh"), ("zh", "en")])
def test_from_a_submission_to_a_question_in_one_language(open_page, stack, finished, language, other):
    t = partial(translate, language)
    page = open_page(FORM, locale=LOCALES[language])
    main = page.get_by_test_id("stMain")

    # submit
    page.get_by_role("combobox", name=t("submit.preset")).click()
    page.get_by_role("option", name=re.compile("^quick_cpu")).click()
    page.get_by_text(t("data_choice.chosen", name="starter")).wait_for()
    page.locator(AT_REST).wait_for()  # while it is drawn anew, fields of before and after stand side by side
    name = page.get_by_role("textbox", name=t("field.experiment_name"))
    expect(name).to_have_value("quick_cpu", timeout=300_000)
    page.locator(AT_REST).wait_for()
    name.fill(NAMES[language])
    name.press("Tab")
    page.locator(AT_REST).wait_for()
    rate = page.get_by_role("spinbutton", name=t("field.training.learning_rate"))
    rate.fill("0.0001")
    rate.press("Tab")
    page.locator(AT_REST).wait_for()
    page.get_by_role("button", name=t("submit.button"), exact=True).click()

    # follow: the address keeps the view for whoever reloads it or gets the link
    page.wait_for_url(TASK)
    task_id = present(TASK.search(page.url)).group()
    page.reload()
    page.get_by_role("heading", name=NAMES[language]).wait_for()
    guest = open_page(f"/follow?task={task_id}", locale=LOCALES[other])
    for visitor, words in ((page, language), (guest, other)):
        wait_for_state(visitor, translate(words, "status.SUCCEEDED"))
    run = stack.services.store.get(task_id)
    assert run.status is FINISHED
    assert (run.name, run.config["training"]["learning_rate"]) == (NAMES[language], 0.0001)

    # experiments, compare
    go_to(page, t("navigation.experiments"), t("experiments.title"))
    select_runs(page, t, 2)
    main.get_by_role("link", name=t("experiments.compare", count=2)).click()
    page.get_by_role("heading", name=t("compare.title")).wait_for()
    page.get_by_text(t("compare.interval"), exact=True).wait_for()
    page.get_by_role("heading", name=t("compare.flipped")).wait_for()  # the last part: the whole page is there
    page.wait_for_url(re.compile(f"ids={task_id}"))  # the address may be written a moment after the page

    # the run, try
    go_to(page, t("navigation.experiments"), t("experiments.title"))
    open_newest_run(page, NAMES[language])
    page.get_by_text(MATRIX[language], exact=True).wait_for()
    main.get_by_role("link", name=t("navigation.try")).click()
    page.get_by_role("heading", name=t("try.title")).wait_for()
    text = page.get_by_role("textbox", name=t("try.text"), exact=True)
    text.fill("A splendid film.")
    text.press("Control+Enter")
    page.locator(AT_REST).wait_for()
    page.get_by_role("button", name=t("try.ask"), exact=True).click()
    page.get_by_text(re.compile(r"positive . \d")).wait_for(timeout=900_000)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_run_becomes_the_template_of_another(open_page, finished):
    page = open_page(f"/run?run={finished}")
    page.get_by_role("button", name="Use as template").click()
    page.get_by_role("heading", name="Submit a run").wait_for()
    expect(page.get_by_role("textbox", name="Experiment name")).to_have_value("first")


def test_faults_stand_at_their_field_and_nothing_can_be_submitted(open_page):
    page = open_page(FORM)
    name = page.get_by_role("textbox", name="Experiment name")
    name.fill("no/slash")
    name.press("Tab")
    reason, submit = page.get_by_text("Faults to mend first"), page.get_by_role("button", name="Submit", exact=True)
    reason.wait_for()
    assert submit.is_disabled()
    for seen in (reason, submit):  # the form is longer than the window, which still shows its top
        expect(seen).to_be_in_viewport()


def test_lost_api_is_said_and_the_page_recovers(open_page, stack):
    page = open_page("/experiments")
    banner = page.get_by_text("Trying again every 2 s")  # the side bar says too that it does not answer
    stack.kill("api")
    banner.wait_for(timeout=300_000)
    stack.start_command("api")
    banner.wait_for(state="detached", timeout=300_000)
    page.get_by_text("Mean time").wait_for()


def ended_run(stack, name):
    """A run that was cancelled before it began."""
    config = ExperimentConfig.model_validate({"experiment_name": name})
    run = stack.services.store.create(config, kind="queued", results_root=stack.services.settings.results_folder)
    stack.services.store.request_cancel(run.id)
    return run


def press_twice(page, stack, press):
    """Press, and press something else while the page waits for a busy API."""
    page.locator(AT_REST).wait_for()
    with stack.paused("api"):
        press()
        page.wait_for_timeout(1_000)
        press_at_once(page.get_by_text("繁體中文", exact=True))
        page.wait_for_timeout(1_000)


def test_preset_is_taken_although_another_press_follows(open_page, stack):
    page = open_page(FORM)
    page.get_by_role("combobox", name="Preset").fill("quick")
    press_twice(page, stack, page.get_by_role("option", name="quick_cpu").click)
    expect(page.get_by_role("textbox", name="實驗名稱")).to_have_value("quick_cpu", timeout=300_000)


def test_run_is_deleted_once_although_another_press_follows(open_page, stack):
    run = ended_run(stack, "unwanted")
    page = open_page(f"/run?run={run.id}")
    page.get_by_role("button", name="Delete").click()
    confirm = page.get_by_role("button", name="Delete unwanted")
    confirm.wait_for()
    page.locator(AT_REST).wait_for()
    with stack.paused("api"):
        for _ in range(2):  # nothing but the dialog can be pressed meanwhile
            press_at_once(confirm)
            page.wait_for_timeout(1_000)
    page.get_by_role("heading", name="Experiments", exact=True).wait_for()
    with pytest.raises(NotFoundError):
        stack.services.store.get(run.id)


def test_hostile_names_stay_text_and_ten_thousand_runs_are_paged(open_page, stack, finished):
    alert = []
    _multiply(stack.services.store, ended_run(stack, "crowd").id, 10_000)
    page = open_page("/experiments")

    def dismiss(dialog):
        alert.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.get_by_role("button", name="Next").click()
    page.get_by_text("Page 2").wait_for()
    for number, name in enumerate(HOSTILE):
        page.goto(page.url.partition("?")[0].rpartition("/")[0] + f"/run?run={len(HOSTILE) + number:032x}")
        page.get_by_role("heading", name=display.raw(name, 120)).wait_for()
    assert page.locator("script", has_text="alert(1)").count() == 0
    assert alert == []


def test_cancel_asks_first_and_retry_is_offered(open_page, stack):
    task_id = stack.submit("too long", epochs=500)
    page = open_page(f"/follow?task={task_id}")
    wait_for_state(page, "running")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="No, leave it").click()
    page.get_by_role("button", name="Stop this run").wait_for(state="detached")
    assert not stack.services.store.get(task_id).cancel_requested
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Stop this run").click()
    wait_for_state(page, "cancelled")
    page.get_by_role("button", name="Retry").wait_for()
    assert stack.services.store.get(task_id).status is RunStatus.CANCELLED


def test_language_switch_sticks_over_pages(open_page):
    page = open_page("/experiments")
    page.get_by_text("繁體中文").click()
    page.get_by_role("heading", name="實驗紀錄").wait_for()
    page.get_by_role("link", name="比較").first.click()
    page.get_by_role("heading", name="比較實驗").wait_for()
    address(page, lambda words: words.get("lang") == ["zh"])


def go_to(page, link, title):
    """Follow a link of the navigation."""
    page.get_by_test_id("stSidebar").get_by_role("link", name=link, exact=True).click()
    page.get_by_role("heading", name=title, exact=True).wait_for()


def select_runs(page, t, count):
    """Select the newest runs of the table; the link to the comparison counts them."""
    canvas = page.get_by_test_id("stDataFrame").locator("canvas").first
    for row in range(count):
        counted = page.get_by_test_id("stMain").get_by_text(t("experiments.compare", count=row + 1))
        for _ in range(4):  # a table that is drawn anew loses the click
            page.locator(AT_REST).wait_for()
            place = {"x": ROW_PIXELS // 2, "y": ROW_PIXELS * (row + 1) + ROW_PIXELS // 2}
            canvas.click(position=place, force=True)  # the scrolling frame lies over it
            with suppress(playwright.TimeoutError):
                counted.wait_for(timeout=20_000)
                break
        counted.wait_for()


def open_newest_run(page, name):
    """Press the name in the first row of the table until its run is there."""
    canvas = page.get_by_test_id("stDataFrame").locator("canvas").first
    opened = page.get_by_role("heading", name=name)
    for _ in range(4):  # a table that is drawn anew loses the click
        page.locator(AT_REST).wait_for()
        canvas.click(position={"x": 3 * ROW_PIXELS, "y": ROW_PIXELS + ROW_PIXELS // 2}, force=True)
        with suppress(playwright.TimeoutError):
            opened.wait_for(timeout=20_000)
            return
    opened.wait_for()


def _multiply(store, run_id, count):
    """Copy a run's row under other ids and hostile names."""
    from sqlalchemy import insert, select

    from finetune30.store.database import writing
    from finetune30.store.tables import runs

    with writing(store.engine) as connection:
        row = dict(connection.execute(select(runs).where(runs.c.id == run_id)).mappings().one())
        rows = [
            {
                **row,
                "id": f"{number:032x}",
                "name": HOSTILE[number % len(HOSTILE)],
                "folder": f"none/{number}",
                "status": "CANCELLED",
            }
            for number in range(1, count + 1)
        ]
        connection.execute(insert(runs), rows)
