"""The page in a real browser, over the real API, Redis and worker, on the starter data."""

from __future__ import annotations

import re

import pytest

from finetune30.config import ExperimentConfig
from finetune30.store import RunStatus
from finetune30.ui import display

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed").expect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TASK = re.compile(r"[0-9a-f]{32}")
FINISHED = RunStatus.SUCCEEDED
BADGE = ".stMarkdownBadge"
HOSTILE = ("\u003cscript\u003ealert(1)\u003c/script\u003e", "=cmd()", "\x1b[31mred", "x" * 10_000)


@pytest.fixture(scope="module")
def finished(stack):
    """Two finished runs that differ in their learning rate."""
    ids = [stack.submit("first"), stack.submit("second", learning_rate=0.0001)]
    for run_id in ids:
        stack.services.wait_for(run_id, FINISHED, seconds=300)
    return ids


def test_submitted_run_is_followed_to_its_end_in_chinese(open_page, stack):
    page = open_page("/", locale="zh-TW")
    page.get_by_role("combobox", name="預設設定").click()
    page.get_by_role("option", name=re.compile("^quick_cpu")).click()
    page.get_by_text("目前選擇：starter").wait_for()
    page.get_by_role("textbox", name="實驗名稱").fill("從頁面提交")
    page.get_by_role("textbox", name="實驗名稱").press("Tab")
    page.get_by_role("button", name="提交", exact=True).click()
    page.get_by_text(re.compile("已提交")).wait_for()
    page.get_by_test_id("stMain").get_by_role("link", name="追蹤進度").click()
    page.wait_for_url(re.compile(r"task=[0-9a-f]{32}"))
    task_id = TASK.search(page.url).group()

    page.reload()  # in mid-run: the address keeps the view
    page.get_by_role("heading", name="從頁面提交").wait_for()
    second = open_page(f"/follow?task={task_id}")  # another visitor, another language
    second.locator(BADGE, has_text="finished").wait_for(timeout=200_000)
    page.locator(BADGE, has_text="已完成").wait_for()
    assert stack.services.store.get(task_id).status is FINISHED
    assert stack.services.store.get(task_id).config["training"]["num_train_epochs"] == 1


def test_experiments_are_listed_opened_and_cloned(open_page, finished):
    page = open_page("/experiments")
    page.get_by_text("Best accuracy").wait_for()
    page.goto(page.url.partition("/experiments")[0] + f"/run?run={finished[0]}")
    page.get_by_role("heading", name="first").wait_for()
    page.get_by_text("Confusion matrix").wait_for()
    page.get_by_role("button", name="Use as template").click()
    page.get_by_role("heading", name="Submit a run").wait_for()
    expect(page.get_by_role("textbox", name="Experiment name")).to_have_value("first")


def test_compare_says_whether_the_difference_is_real(open_page, finished):
    page = open_page("/compare?ids=" + ",".join(finished))
    page.get_by_text("Is the difference real?").wait_for()
    page.get_by_text("istinguishable from chance").first.wait_for()


def test_a_finished_model_answers(open_page, finished):
    page = open_page(f"/try?run={finished[0]}", locale="zh-TW")
    page.get_by_role("textbox", name="文字", exact=True).fill("A splendid film.")
    page.get_by_role("textbox", name="文字", exact=True).press("Control+Enter")
    page.get_by_role("button", name="預測", exact=True).click()
    page.get_by_text(re.compile(r"positive . \d")).wait_for(timeout=200_000)


def test_faults_stand_at_their_field_and_nothing_can_be_submitted(open_page):
    page = open_page("/")
    name = page.get_by_role("textbox", name="Experiment name")
    name.fill("no/slash")
    name.press("Tab")
    page.get_by_text("faults to mend first").wait_for()
    assert page.get_by_role("button", name="Submit", exact=True).is_disabled()


def test_lost_api_is_said_and_the_page_recovers(open_page, stack):
    page = open_page("/experiments")
    stack.kill("api")
    page.get_by_text("does not answer").wait_for(timeout=90_000)
    stack.start_command("api")
    page.get_by_text("does not answer").wait_for(state="detached", timeout=90_000)
    page.get_by_text("Best accuracy").wait_for()


def test_hostile_names_stay_text_and_ten_thousand_runs_are_paged(open_page, stack, finished):
    store, root = stack.services.store, stack.services.settings.results_folder
    alert = []
    config = ExperimentConfig.model_validate({"experiment_name": "crowd"})
    run = store.create(config, kind="queued", results_root=root)
    store.request_cancel(run.id)
    _multiply(store, run.id, 10_000)
    page = open_page("/experiments")
    page.on("dialog", lambda dialog: (alert.append(dialog.message), dialog.dismiss()))
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
    page.locator(BADGE, has_text="running").wait_for(timeout=200_000)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="No, leave it").click()
    page.get_by_role("button", name="Yes, do it").wait_for(state="detached")
    assert not stack.services.store.get(task_id).cancel_requested
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Yes, do it").click()
    page.locator(BADGE, has_text="cancelled").wait_for(timeout=200_000)
    page.get_by_role("button", name="Retry").wait_for()
    assert stack.services.store.get(task_id).status is RunStatus.CANCELLED


def test_language_switch_sticks_over_pages(open_page):
    page = open_page("/experiments")
    page.get_by_text("繁體中文").click()
    page.get_by_role("heading", name="實驗記錄").wait_for()
    page.get_by_role("link", name="比較").first.click()
    page.get_by_role("heading", name="比較實驗").wait_for()
    assert "lang=zh" in page.url


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
