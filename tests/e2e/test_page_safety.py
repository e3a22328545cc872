"""Keys, hostile names, languages and narrow screens, in a real browser."""

from __future__ import annotations

import contextlib
import re
from functools import partial

import pytest

from finetune30.config import ExperimentConfig
from finetune30.store import RunStatus
from finetune30.store.access import Role, create_key
from finetune30.ui.translations import LANGUAGE_TAGS, load_catalogue, translate
from support.page_marks import AT_REST, FORM, TASK, wait_for_state
from support.page_stack import Stack
from support.present import present

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed").expect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

SECRET = "a-key-for-this-test-0123456789"
PAGES = ("submit", "follow", "experiments", "searches", "compare", "models", "data", "try")
LOCALES = {"en": "en-US", "zh": "zh-TW"}
#: What is done about the run of somebody else.
SUBMITTERS_ONLY = {"en": "ask its submitter, or use a key with the role admin", "zh": "請聯絡提交者"}
#: English texts that are the same in Chinese, or part of data that people wrote.
LONG_ENOUGH = 9


@pytest.fixture(scope="module")
def locked(stack):
    """A second API that asks for a key, and its page, over the same runs."""
    return stack.start_locked(SECRET)


@pytest.fixture(scope="module")
def one_run(stack):
    run_id = stack.submit("language check")
    stack.services.wait_for(run_id, RunStatus.SUCCEEDED, seconds=300)
    return run_id


def test_key_is_entered_once_and_stands_nowhere(open_page, locked):
    page = open_page("/experiments", base=locked)
    page.get_by_text("a key is needed").first.wait_for()
    page.get_by_label("Key", exact=True).fill("wrong")
    page.get_by_role("button", name="Use this key").click()
    page.get_by_text("the key is unknown or revoked").first.wait_for()
    page.get_by_label("Key", exact=True).fill(SECRET)
    page.get_by_role("button", name="Use this key").click()
    page.get_by_text("More filters").wait_for()  # the table of runs, whichever ran before
    for name in ("Data", "Compare", "Experiments"):  # not asked for again
        page.get_by_role("link", name=name, exact=True).first.click()
        page.get_by_role("heading", level=1).filter(has_text=name).wait_for()
        expect(page.get_by_text("a key is needed")).to_have_count(0)
    stored = page.evaluate("JSON.stringify([location.href, document.cookie, {...localStorage}, {...sessionStorage}])")
    assert SECRET not in stored
    assert SECRET not in page.content()


def test_refused_key_is_said_in_chinese(open_page, locked):
    page = open_page("/experiments", locale="zh-TW", base=locked)
    page.get_by_text("需要 API 金鑰").first.wait_for()
    page.get_by_text("解決方法：").first.wait_for()


@pytest.fixture(scope="module")
def of_key_holders(browser, tmp_path_factory):
    """API and page of an installation of its own: once it has a key, everybody needs one."""
    with contextlib.closing(Stack(tmp_path_factory.mktemp("keys"))) as running:
        secrets = {
            language: create_key(running.services.store, f"anna-{language}", Role.SUBMITTER)[1] for language in LOCALES
        }
        running.start_page()
        yield running, secrets


@pytest.mark.parametrize("language", LOCALES)
def test_a_submitter_trains_and_what_others_made_is_refused_in_words(open_page, of_key_holders, language):
    t = partial(translate, language)
    stack, secrets = of_key_holders
    store = stack.services.store
    config = ExperimentConfig.model_validate({"experiment_name": "theirs"})
    theirs = store.create(
        config, kind="queued", results_root=stack.services.settings.results_folder, submitted_by="ben"
    )
    store.request_cancel(theirs.id)

    def use_key(page):
        field = page.get_by_label(t("key.label"), exact=True)
        field.wait_for()
        page.get_by_text(t("health.locked")).wait_for()
        page.locator(AT_REST).wait_for()
        field.fill(secrets[language])
        page.get_by_role("button", name=t("key.use")).click()
        page.get_by_text(t("key.in_use")).wait_for(state="attached")
        page.get_by_text(t("health.locked")).wait_for(state="detached")

    page = open_page(FORM, base=stack.page_url, locale=LOCALES[language])
    use_key(page)
    page.get_by_role("button", name=t("submit.button"), exact=True).click()
    page.wait_for_url(TASK)
    own = present(TASK.search(page.url)).group()
    assert store.get(own).submitted_by == f"anna-{language}"
    page.get_by_role("button", name=t("follow.cancel"), exact=True).click()
    page.get_by_role("button", name=t("follow.cancel_confirm")).click()
    wait_for_state(page, t("status.CANCELLED"))

    page.goto(f"{stack.page_url}/run?run={theirs.id}")  # another visit: a key is kept nowhere
    use_key(page)
    page.get_by_role("heading", name="theirs", level=1).wait_for()
    page.get_by_role("button", name=t("run.delete"), exact=True).click()
    page.get_by_role("button", name=t("run.delete_confirm", name="theirs")).click()
    page.get_by_text(SUBMITTERS_ONLY[language]).first.wait_for()
    assert store.get(theirs.id).name == "theirs"


def test_every_page_is_chinese_for_a_chinese_browser(open_page, one_run):
    english = {
        texts["en"]
        for key, texts in load_catalogue().items()
        if "en" in texts and len(texts["en"]) >= LONG_ENOUGH and "{" not in texts["en"] and texts["en"] != texts["zh"]
    }
    page = open_page("/", locale="zh-TW")
    root = page.url.split("/?")[0].rstrip("/")
    for path in (*PAGES, f"follow?task={one_run}", f"run?run={one_run}"):
        page.goto(f"{root}/{path}")
        page.get_by_role("heading", level=1).wait_for()
        expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=300_000)
        shown = set(page.get_by_test_id("stMain").inner_text().split("\n"))
        assert shown & english == set(), path
        expect(page.locator("html")).to_have_attribute("lang", LANGUAGE_TAGS["zh"])  # for voices and shapes of signs


@pytest.mark.parametrize("path", ["", "experiments", "data", "try", "run?run={run}", "follow?task={run}"])
def test_no_page_scrolls_sideways_on_a_telephone(open_page, one_run, path):
    page = open_page("/" + path.format(run=one_run), locale="zh-TW", width=390)
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=300_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_hostile_task_in_the_address_is_text(open_page):
    page = open_page("/follow?task=" + "%3Cscript%3Ealert(1)%3C%2Fscript%3E")
    page.get_by_text(re.compile("there is no task")).wait_for()
    assert page.locator("script", has_text="alert(1)").count() == 0
