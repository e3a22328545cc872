"""From an uploaded file to a better version of it, in a real browser: preview, training, suspects, relabelling."""

from __future__ import annotations

import csv
import io
import re
from contextlib import suppress

import pytest

from finetune30.store import RunStatus
from support.page_marks import AT_REST, FORM, TASK, address, wait_for_state
from support.present import present

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

WORDS = {
    "good": ("a splendid film", "simply wonderful", "we loved it"),
    "bad": ("a dreadful film", "simply awful", "we hated it"),
}
WRONG = (10, 41)


def build_rows():
    """80 plain rows, two of them under the wrong label, and one with HTML."""
    other = {"good": "bad", "bad": "good"}
    rows = []
    for number in range(80):
        label = ("good", "bad")[number % 2]
        text = f"{WORDS[label][number % 3]}, and number {number} was {'fine' if label == 'good' else 'dull'}"
        rows.append((text, other[label] if number in WRONG else label))
    return [*rows, ("<b>a splendid film</b> indeed", "good")]


@pytest.fixture(scope="module")
def upload(tmp_path_factory):
    path = tmp_path_factory.mktemp("upload") / "my reviews.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([("text", "label"), *build_rows()])
    return path


@pytest.fixture(scope="module")
def trained(stack, upload):
    """A finished run on the uploaded file, for the tests that begin after it."""
    import httpx

    sent = httpx.post(
        stack.api_url + "/datasets/files?name=reviews.csv",
        content=upload.read_bytes(),
        headers={"Content-Type": "application/octet-stream"},
        timeout=600,
    )
    name = sent.json()["dataset_name"]
    run_id = stack.submit("on reviews", dataset=name, epochs=3, config={"data": {"train_samples": 200}})
    stack.services.wait_for(run_id, RunStatus.SUCCEEDED, seconds=300)
    return run_id


def choose(page, name, option):
    page.get_by_role("combobox", name=name).click()
    page.get_by_role("option", name=re.compile(option)).first.click()


def open_uploader(page):
    """Choose to upload; a preset draws the choice of data anew, and a click into the old drawing is lost."""
    uploader = page.get_by_test_id("stFileUploader").filter(has_text="PARQUET")
    for _ in range(5):
        page.locator(AT_REST).wait_for()
        page.get_by_test_id("stMain").get_by_text("Upload a file", exact=True).first.click()
        with suppress(playwright.TimeoutError):
            uploader.wait_for(timeout=20_000)
            break
    return uploader


def test_uploaded_file_is_looked_at_and_trained_to_its_end(open_page, stack, upload):
    page = open_page(FORM)
    choose(page, "Preset", "^quick_cpu")
    page.get_by_text("Chosen: starter").wait_for()
    open_uploader(page).locator("input[type=file]").set_input_files(upload)
    page.get_by_text(re.compile(r"Chosen: .*my reviews\.csv")).wait_for()
    page.get_by_text("Validation: ").wait_for()  # the HTML was found
    page.get_by_text("Where every row went").wait_for()
    name = page.get_by_role("textbox", name="Experiment name")
    name.fill("uploaded")
    name.press("Tab")
    page.get_by_role("button", name="Submit", exact=True).click()
    page.wait_for_url(TASK)
    wait_for_state(page, "finished")
    run = stack.services.store.get(present(TASK.search(page.url)).group())
    assert run.config["data"]["dataset_name"].endswith("my reviews.csv")


def test_suspects_become_a_version_with_a_tag_that_can_be_trained_on(open_page, stack, trained):
    digest = stack.services.store.get(trained).dataset_digest
    page = open_page(f"/data?version={digest[:12]}")
    page.get_by_text("Suspect labels", exact=True).first.click()
    page.get_by_role("button", name="Search for suspect labels").click()
    page.get_by_text("All rows in order of doubt").click(timeout=900_000)  # what the short training left in doubt
    page.get_by_role("button", name="Take all suggestions of this page").click()
    page.get_by_text(re.compile("Changes not saved yet: [1-9]")).wait_for()
    page.get_by_role("textbox", name="Why (kept with the version)").fill("looked at by a person")
    page.get_by_role("button", name="Make a new version").click()
    page.get_by_text(re.compile("Made version [0-9a-f]{12}: [1-9]")).wait_for()
    made = address(page, lambda words: words.get("version") not in (None, [digest[:12]]))["version"][0]

    page.get_by_text("Differences", exact=True).first.click()
    page.get_by_text("Label before").first.wait_for(state="attached")
    page.get_by_role("button", name="Add a tag").click()
    page.get_by_role("textbox", name="Tag", exact=True).fill("looked-at")
    page.get_by_role("button", name="Give this tag").click()
    page.get_by_role("button", name="Remove tag looked-at").wait_for()
    page.get_by_role("link", name="Train on this version").click()
    page.get_by_text(re.compile(f"Chosen: version:{made[:12]}")).wait_for()


def test_row_is_marked_in_the_table_and_kept_over_pages_of_the_page(open_page, stack, trained):
    digest = stack.services.store.get(trained).dataset_digest
    page = open_page(f"/data?version={digest[:12]}", locale="zh-TW")
    page.get_by_text("可在表格中修改標籤").wait_for()
    grid = page.locator('[data-testid="stDataFrame"]').last
    grid.locator("canvas").first.wait_for()
    for _ in range(4):  # a table that is drawn anew loses the click
        page.locator(AT_REST).wait_for()
        box = grid.bounding_box()
        page.mouse.click(box["x"] + 145, box["y"] + 35 + 17)  # the cell "remove" of the first row: it is a canvas
        page.keyboard.press("Space")
        with suppress(playwright.TimeoutError):
            page.get_by_text("尚未儲存的修改：1 筆").wait_for(timeout=20_000)
            break
    page.get_by_text("報告", exact=True).first.click()
    page.get_by_text("重複筆數").first.wait_for(state="attached")
    page.get_by_text("資料與標籤", exact=True).first.click()
    page.get_by_text("尚未儲存的修改：1 筆").wait_for(timeout=300_000)
    page.get_by_role("button", name="放棄修改").click()
    expect(page.get_by_text("尚未儲存的修改")).to_have_count(0)


def test_file_of_texts_becomes_a_file_of_predictions_without_formulas(open_page, trained):
    page = open_page(f"/try?run={trained}")
    content = b'note,text\n1,a splendid film\n2,"=cmd(""x"")"\n3,<b>a dreadful film</b>\n'
    file = {"name": "texts.csv", "mimeType": "text/csv", "buffer": content}
    page.get_by_test_id("stFileUploader").locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Predict 3 rows").click()
    button = page.get_by_role("button", name="Download predictions")
    button.wait_for(timeout=900_000)
    with page.expect_download() as waiting:
        button.click()
    rows = list(csv.DictReader(io.StringIO(waiting.value.path().read_text(encoding="utf-8-sig"))))
    assert [row["text"] for row in rows] == ["a splendid film", '\'=cmd("x")', "<b>a dreadful film</b>"]
    assert [row["note"] for row in rows] == ["1", "2", "3"]  # what stood beside the texts comes along
    answers = {value for row in rows for name, value in row.items() if name.endswith("prediction")}
    assert answers
    assert answers <= {"good", "bad"}
