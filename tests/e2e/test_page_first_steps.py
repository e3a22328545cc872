"""The first five minutes on an empty installation, and that nothing runs that was not chosen: a real browser."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from finetune30.ui import display
from finetune30.ui.fields import get_value
from finetune30.ui.translations import translate
from finetune30.ui.views.first_steps import NAME, PRESET
from support.page_marks import AT_REST, FORM, TASK, wait_for_state
from support.page_stack import Stack
from support.present import present

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

Page = Any
LOCALES = {"en": "en-US", "zh": "zh-TW"}
#: A busy machine draws the long form piece by piece.
SLOW = 300_000
TRAINING = 900_000
expect.set_options(timeout=SLOW)
GOOD = "text,label\n" + "".join(
    f"the film number {number} was {('quite fine', 'rather dull')[number % 2]},{('good', 'bad', 'odd')[number % 3]}\n"
    for number in range(60)
)
FAULTY = GOOD + ",good\n" * 6
OPEN_QUOTE = 'text,label\n"the quote that opens here is never closed,good\n'
BIG5 = "text,label\n" + "".join(
    f"房間{('很乾淨', '很髒亂', '還可以')[number % 3]}，第{number}次入住,{('好', '差', '普通')[number % 3]}\n"
    for number in range(60)
)


@pytest.fixture(scope="module", params=["en", "zh"])
def begun(request: pytest.FixtureRequest, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An installation of its own for each language, on which the first card was pressed."""
    language = str(request.param)
    with contextlib.closing(Stack(tmp_path_factory.mktemp(f"first-{language}"))) as running:
        running.start()
        yield language, running


@pytest.fixture
def at(begun: tuple[str, Stack], open_at: Callable[..., Page]) -> Callable[..., Page]:
    language, stack = begun
    return partial(open_at, locale=LOCALES[language], base=stack.page_url)


@pytest.fixture
def t(begun: tuple[str, Stack]) -> Callable[..., str]:
    return partial(translate, begun[0])


def rested(page: Page) -> Page:
    page.locator(AT_REST).wait_for()
    return page


def submit_button(page: Page, t: Callable[..., str]) -> Any:
    return page.get_by_role("button", name=t("submit.button"), exact=True)


def choose_source(page: Page, words: str) -> None:
    """Press one of the sources; a click into an older drawing is lost."""
    for _ in range(5):
        rested(page).get_by_role("radio", name=words).click()
        with contextlib.suppress(AssertionError):
            expect(page.get_by_role("radio", name=words)).to_be_checked(timeout=5_000)
            return
    raise AssertionError(words)


def drop(page: Page, name: str, content: bytes) -> None:
    uploader = page.get_by_test_id("stFileUploader").filter(has_text="PARQUET")
    uploader.locator("input[type=file]").set_input_files({"name": name, "mimeType": "text/csv", "buffer": content})


def fill(page: Page, field: Any, text: str) -> None:
    field.fill(text)
    field.press("Tab")
    rested(page)


def begin_shortened(stack: Stack) -> str:
    """Hand in what the first card does, for 60 steps; return the task."""
    body = {"preset": PRESET, "experiment_name": NAME, "config": {"training": {"max_steps": 60}}}
    answer = httpx.post(f"{stack.api_url}/train", json=body, timeout=SLOW)
    answer.raise_for_status()
    return str(answer.json()["task_id"])


def test_one_press_trains_the_starter_and_the_result_is_asked_where_it_was_watched(
    begun: tuple[str, Stack], at: Callable[..., Page], t: Callable[..., str]
) -> None:
    language, stack = begun
    page = at("/")
    for card in ("try", "own", "hub"):
        page.get_by_role("heading", name=t(f"first.{card}"), exact=True).wait_for()
    expect(page.get_by_role("combobox", name=t("submit.preset"))).to_have_count(0)
    page.screenshot(path=stack.folder / f"cards-{language}.png")
    press = page.get_by_role("button", name=t("first.try_button"), exact=True)
    if language == "en":
        press.click()
        page.wait_for_url(TASK, timeout=SLOW)
    else:  # the whole training is watched once; here it is the same request, for fewer steps
        expect(press).to_be_enabled()
        page.goto(f"{stack.page_url}/follow?task={begin_shortened(stack)}")
    page.locator("[data-testid=stVegaLiteChart]").first.wait_for(timeout=TRAINING)  # while it learns
    wait_for_state(page, t("status.SUCCEEDED"))
    page.get_by_text({"en": "Accuracy", "zh": "準確率"}[language], exact=True).first.wait_for()
    text = page.get_by_role("textbox", name=t("try.text"), exact=True)
    text.fill("A splendid film.")
    page.get_by_role("button", name=t("try.ask"), exact=True).click()
    page.get_by_text(re.compile(r"positive . \d")).wait_for(timeout=TRAINING)
    expect(page.get_by_test_id("stException")).to_have_count(0)

    # once something was run, the page opens on the form, and Follow on the last runs
    again = at("/")
    again.get_by_role("combobox", name=t("submit.preset")).wait_for()
    follow = at("/follow")
    follow.get_by_role("heading", name=t("follow.last_runs"), exact=True).wait_for()
    follow.get_by_test_id("stMain").get_by_role("button", name=display.raw(NAME)).click()
    wait_for_state(follow, t("status.SUCCEEDED"))


def test_what_stands_in_is_shown_before_and_after(
    begun: tuple[str, Stack], at: Callable[..., Page], t: Callable[..., str]
) -> None:
    """There is no hub here: the default is replaced, by the model and data that the page names everywhere."""
    language, stack = begun
    pairs = [t("stand_ins.pair", wanted=name, used="starter") for name in ("distilbert-base-uncased", "glue")]
    page = at(f"{FORM}&set=training.max_steps%3D20")  # what stands in is trained whole by the first card
    page.get_by_text(pairs[0]).first.wait_for()
    expect(page.get_by_test_id("stMain")).to_contain_text(pairs[1])
    fill(page, page.get_by_role("textbox", name=t("field.experiment_name")), f"replaced-{language}")
    submit_button(rested(page), t).click()
    page.wait_for_url(TASK, timeout=SLOW)
    task_id = present(TASK.search(page.url)).group()
    page.get_by_text(pairs[0]).first.wait_for(timeout=TRAINING)  # at once, not at the end
    wait_for_state(page, t("status.SUCCEEDED"))
    expect(page.get_by_test_id("stMain")).to_contain_text(t("field.training.num_train_epochs"))
    other = stack.services.store.get(NAME).id
    for path in (f"/run?run={task_id}", f"/try?run={task_id}", f"/compare?ids={task_id},{other}"):
        shown = at(path)
        shown.get_by_text(pairs[0]).first.wait_for()


def test_own_file_is_read_at_once_and_bad_rows_are_left_out_by_one_press(
    begun: tuple[str, Stack], at: Callable[..., Page], t: Callable[..., str]
) -> None:
    language, stack = begun
    page = at(FORM)
    choose_source(page, t("data_choice.upload"))
    expect(submit_button(page, t)).to_be_disabled()
    drop(page, "my films.csv", FAULTY.encode())
    page.get_by_text(t("reading.labels", count=3, labels=t("form.comma").join(("bad", "good", "odd")))).first.wait_for(
        timeout=SLOW
    )
    expect(page.get_by_role("spinbutton", name=t("field.model.num_labels"))).to_have_value("3")
    expect(page.get_by_role("textbox", name=t("field.experiment_name"))).to_have_value("my films")
    page.get_by_text(t("preview.rows_refused")).wait_for(timeout=SLOW)
    expect(submit_button(page, t)).to_be_disabled()

    # no model is in reach: the starter is offered, and taken by a press only
    page.get_by_role("button", name=t("stand_ins.take_starter")).click()
    expect(page.get_by_role("textbox", name=t("field.model.name"))).to_have_value("starter", timeout=SLOW)
    page.screenshot(path=stack.folder / f"own-file-{language}.png", full_page=True)
    rested(page).get_by_role("button", name=t("preview.leave_out", count="6")).click()
    page.wait_for_url(TASK, timeout=SLOW)
    wait_for_state(page, t("status.SUCCEEDED"))
    run = stack.services.store.get(present(TASK.search(page.url)).group())
    assert get_value(run.config, "data.gate.max_faulty_share") == pytest.approx(6 / 66, abs=1e-4)
    assert (run.config["model"]["name"], run.config["model"]["num_labels"]) == ("starter", 3)
    assert run.config["lora"]["target_modules"] == "all-linear"  # what suits the starter came along
    assert run.stand_ins["replaced"] == {}


def test_a_file_in_big5_is_read_and_no_model_that_cannot_read_it_is_offered(
    at: Callable[..., Page], t: Callable[..., str]
) -> None:
    page = at(FORM)
    choose_source(page, t("data_choice.upload"))
    drop(page, "旅館.csv", BIG5.encode("cp950"))
    page.get_by_text(t("script.Han")).first.wait_for(timeout=SLOW)
    expect(page.get_by_test_id("stMain")).to_contain_text("cp950")
    expect(page.get_by_role("textbox", name=t("field.experiment_name"))).to_have_value("旅館")
    expect(page.get_by_role("spinbutton", name=t("field.model.num_labels"))).to_have_value("3")
    expect(page.get_by_role("textbox", name=t("field.model.name"))).to_have_value("bert-base-chinese")
    page.get_by_text(t("reading.starter_cannot")).wait_for()
    expect(page.get_by_role("button", name=t("stand_ins.take_starter"))).to_have_count(0)


def test_a_refused_file_stays_refused_and_nothing_else_is_trained_on_in_its_place(
    begun: tuple[str, Stack], at: Callable[..., Page], t: Callable[..., str]
) -> None:
    _, stack = begun
    before = stack.services.store.stats().total
    page = at(FORM)
    choose_source(page, t("data_choice.upload"))
    drop(page, "broken.csv", OPEN_QUOTE.encode())
    refused = page.get_by_test_id("stAlert").filter(has_text="broken.csv")
    refused.wait_for(timeout=SLOW)
    fill(page, page.get_by_role("spinbutton", name=t("field.training.num_train_epochs")), "3")
    expect(refused).to_be_visible()
    expect(submit_button(page, t)).to_be_disabled()
    page.reload()
    page.get_by_text(t("data_choice.first_upload")).first.wait_for()
    expect(submit_button(page, t)).to_be_disabled()
    drop(rested(page), "better.csv", GOOD.encode())
    page.get_by_text(re.compile(r"better\.csv")).first.wait_for(timeout=SLOW)
    expect(refused).to_have_count(0)
    expect(submit_button(page, t)).to_be_enabled(timeout=SLOW)
    assert stack.services.store.stats().total == before


def test_a_draft_outlives_a_reload_and_is_shared_by_its_address(at: Callable[..., Page], t: Callable[..., str]) -> None:
    page = at(FORM)
    name = page.get_by_role("textbox", name=t("field.experiment_name"))
    fill(page, name, "kept 草稿")
    fill(page, page.get_by_role("spinbutton", name=t("field.training.num_train_epochs")), "7")
    page.wait_for_url(re.compile("num_train_epochs"))
    page.reload()
    friend = at(page.url.removeprefix(page.url.split("/?")[0]))
    for visitor in (page, friend):
        expect(visitor.get_by_role("textbox", name=t("field.experiment_name"))).to_have_value("kept 草稿")
        expect(visitor.get_by_role("spinbutton", name=t("field.training.num_train_epochs"))).to_have_value("7")
