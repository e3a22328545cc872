"""The page over models by name: a real API, no browser."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from finetune30.store.model_registry import find_model
from finetune30.ui.translations import translate
from support.registered import finish_model_run, register_ready
from support.services import Services

pytestmark = [
    pytest.mark.integration,
    # Streamlit's test runner looks for a session where there is none.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """An API over the model reviews with two versions, the first of which, the worse one, is in production."""
    folder = tmp_path_factory.mktemp("models-page")
    with contextlib.closing(Services(folder)) as started:
        started.start_api()
        started.wait_for_api()
        for name, wrong in (("first", range(8)), ("second", ())):
            run = finish_model_run(started.store, folder / "results", name, wrong=list(wrong))
            register_ready(started.store, folder / "results", run, "reviews")
        move(started, 1, 0)
        yield started


def send(services: Services, method: str, path: str, body: dict[str, Any], **headers: str) -> None:
    answer = httpx.request(method, services.api_address + path, json=body, headers=headers, timeout=120)
    assert answer.is_success, answer.text


def move(services: Services, version: int, seen: int) -> None:
    body = {"version": version, "reason": "a start"}
    send(services, "PUT", "/models/reviews/aliases/production", body, **{"If-Match": str(seen)})


def leads_to(services: Services) -> tuple[int, int]:
    (alias,) = find_model(services.store, "reviews").aliases
    return alias.number, alias.generation


def t(key: str, **values: Any) -> str:
    return translate("en", key, **values)


def press(page: Any, key: str) -> None:
    page.button(key=key).click().run()
    assert not page.exception, page.exception


def shown(page: Any) -> str:
    texts = [*page.markdown, *page.info, *page.success, *page.error, *page.caption]
    return "\n".join(str(text.value) for text in texts)


def test_a_better_version_is_promoted_with_its_test_and_rolled_back(
    services: Services, visit: Callable[..., Any]
) -> None:
    page = visit(services.api_address, "models", lang="en")
    assert "leads to version 1" in shown(page)
    assert "8 rows" not in shown(page)
    assert "is 66.7 points better than" in shown(page)
    assert page.button(key="promote-reviews").disabled
    assert "Give a reason first" in shown(page)
    page.text_input(key="models_reason-reviews").set_value("better answers").run()
    press(page, "promote-reviews")
    assert leads_to(services) == (1, 1)
    press(page, "promote-reviews-yes")
    assert leads_to(services) == (2, 2)
    page.run()
    assert "leads to version 2" in shown(page)
    press(page, "rollback-reviews")
    press(page, "rollback-reviews-yes")
    assert leads_to(services) == (1, 3)


def test_who_was_too_late_is_told_who_moved_the_alias(services: Services, visit: Callable[..., Any]) -> None:
    page = visit(services.api_address, "models", lang="en")
    page.text_input(key="models_reason-reviews").set_value("better answers").run()
    press(page, "promote-reviews")
    move(services, 2, 1)
    press(page, "promote-reviews-yes")
    assert leads_to(services) == (2, 2)
    assert "has generation 2, not 1: local let it lead to reviews:2" in shown(page).replace("\\", "")


def test_a_run_is_registered_and_found(services: Services, visit: Callable[..., Any]) -> None:
    finish_model_run(services.store, Path(services.settings.results_folder), "eleventh one")
    page = visit(services.api_address, "models", lang="zh")
    run, name = (
        field for field in page.text_input if field.key is None and field.label != translate("zh", "key.label")
    )
    run.set_value("eleventh one")
    name.set_value("others")
    (button,) = (button for button in page.button if button.label == translate("zh", "models.register"))
    button.click().run()
    assert not page.exception, page.exception
    assert translate("zh", "models.made", name="others", number=1) in shown(page)
    page.text_input(key="models_search").set_value("eleventh").run()
    assert page.selectbox(key="models_chosen").options == ["others"]
    page.text_input(key="models_search").set_value("nothing at all").run()
    assert translate("zh", "models.none") in shown(page)
