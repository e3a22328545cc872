"""What the page shows while something comes from the hub, and when the hub fails, in both languages."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from finetune30.store import RunStatus
from finetune30.ui.translations import translate
from support.page_marks import AT_REST, FORM, wait_for_state
from support.stand_in_hub import faults

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

LOCALES = {"en": "en-US", "zh": "zh-TW"}
FROM_THE_HUB = {"preset": "default", "train_samples": 32}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_fault_is_told_then_rows_are_shown_and_a_download_is_watched(open_page, hub, hub_stack, language):
    t = partial(translate, language)
    at = partial(open_page, locale=LOCALES[language], base=hub_stack.page_url)

    # the hub fails and nothing is cached: the page says how, in its language
    _forget(hub_stack.folder, "*")
    hub.fail(faults.too_many_requests(280))
    failed = hub_stack.submit(f"busy-{language}", **FROM_THE_HUB)
    page = at(f"/follow?task={failed}")
    wait_for_state(page, t("status.FAILED"))
    said = {"en": "the hub answers 429: too many requests from here", "zh": "Hub 回應 429：從這裡發出的請求過多"}
    page.get_by_text(said[language]).first.wait_for()
    page.get_by_text({"en": "try again in 280 s", "zh": "請在 280 秒後再試"}[language]).first.wait_for()
    page.get_by_text(t("cause.hub")).first.wait_for()
    page.screenshot(path=hub_stack.folder / f"fault-{language}.png")
    hub.mend()

    # rows of a hub set before submitting
    page = at(FORM)
    page.locator(AT_REST).wait_for()
    page.get_by_role("button", name=t("data_choice.preview")).click()
    page.get_by_text(t("data_choice.labels")).first.wait_for()

    # the download of a run, part by part
    hub.fail(faults.Trickle(part_bytes=6_000, pause_seconds=0.8), file="model.safetensors")
    _forget(hub_stack.folder, "models--*")
    fetching = hub_stack.submit(f"slow-{language}", **FROM_THE_HUB)
    page = at(f"/follow?task={fetching}")
    shown = t("follow.fetching", name="distilbert/distilbert-base-uncased", done="#", total="#").partition("#")[0]
    page.get_by_text(shown).wait_for(timeout=300_000)
    page.screenshot(path=hub_stack.folder / f"fetching-{language}.png")
    hub.mend()
    wait_for_state(page, t("status.SUCCEEDED"))
    assert hub_stack.services.store.get(fetching).status is RunStatus.SUCCEEDED


def _forget(folder: Path, names: str) -> None:
    """Let the next run fetch again."""
    for cached in (folder / "home" / "hub").glob(names):
        if cached.is_dir():
            shutil.rmtree(cached)
