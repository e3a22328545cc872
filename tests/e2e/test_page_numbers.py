"""A number that the page shows is the number that is judged and sent: every field of the schema, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from finetune30.config.reference import build_json_schema
from finetune30.ui.fields import load_fields
from finetune30.ui.translations import translate
from support.page_marks import AT_REST

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

expect.set_options(timeout=300_000)  # a busy machine draws the long form piece by piece
NUMBERS = {
    key: field
    for key, field in load_fields(build_json_schema()).items()
    if field.kinds & {"integer", "number"} and not field.choices and "array" not in field.kinds
}


def t(key: str) -> str:
    return translate("en", key)


def test_every_field_beyond_its_bounds_stays_in_sight_with_its_fault_and_stops_the_button(
    open_page: Callable[..., Any],
) -> None:
    page = open_page("/?preset=quick_cpu")
    page.locator(AT_REST).wait_for()
    button = page.get_by_role("button", name=t("submit.button"), exact=True)
    more = page.get_by_test_id("stMain").get_by_role("heading", name=t("submit.more"))
    more.wait_for()
    for summary in page.locator("[data-testid=stExpander] summary").all():
        summary.click()
    for key, field in NUMBERS.items():
        box = page.get_by_role("spinbutton", name=t(f"field.{key}"), exact=True)
        good = box.input_value()
        assert field.maximum is not None or field.minimum is not None, key
        beyond = field.maximum * 2 + 1 if field.maximum is not None else (field.minimum or 0) - 1
        box.fill(f"{beyond:.12g}")
        box.press("Tab")
        page.locator(AT_REST).wait_for()
        expect(button).to_be_disabled()
        page.get_by_test_id("stAlert").filter(has_text=re.compile("is not allowed, must be")).first.wait_for()
        assert float(box.input_value()) == pytest.approx(float(beyond), rel=1e-9), key
        box.fill(good)
        box.press("Tab")
        page.locator(AT_REST).wait_for()
        expect(button).to_be_enabled()

    epochs = page.get_by_role("spinbutton", name=t("field.training.num_train_epochs"), exact=True)
    epochs.fill("100000000000000000")  # beyond what a browser counts
    epochs.press("Tab")
    page.locator(AT_REST).wait_for()
    expect(button).to_be_disabled()
    expect(page.get_by_test_id("stException")).to_have_count(0)
