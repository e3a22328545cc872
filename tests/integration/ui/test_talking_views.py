"""Try with language models: a real API, a tiny model, no browser."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from finetune30.store import RunFilter
from finetune30.ui.client import ApiClient
from finetune30.ui.translations import translate
from support.chat_models import place_as_starter
from support.services import Services

pytestmark = [
    pytest.mark.integration,
    # Streamlit's test runner looks for a session where there is none.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

Page = Any


def t(key: str) -> str:
    return translate("en", key)


@pytest.fixture
def page(visit: Callable[..., Page], talk_api: Services) -> Page:
    """Try, with the newest run chosen; answers may have few tokens."""
    page = visit(talk_api.api_address, "try", lang="en")
    of_label(page.number_input, t("chat.max_new_tokens")).set_value(8).run()
    return page


def of_label(widgets: Any, label: str) -> Any:
    (found,) = [widget for widget in widgets if widget.label == label]
    return found


def say(page: Page, text: str) -> Page:
    page.chat_input[0].set_value(text).run()
    assert not page.exception, page.exception
    return page


def test_turns_are_kept_until_the_conversation_begins_anew(page: Page) -> None:
    say(say(page, "When do you open? 0"), "Thank you.")
    assert [message.name for message in page.chat_message] == ["user", "assistant"] * 2
    assert page.chat_message[2].markdown[0].value == "Thank you\\."
    before = [[text.value for text in message.markdown] for message in page.chat_message]
    assert [[text.value for text in message.markdown] for message in page.run().chat_message] == before
    of_label(page.button, t("chat.reset")).click().run()
    assert not page.chat_message


def test_an_answer_that_is_cut_says_so(page: Page) -> None:
    of_label(page.number_input, t("chat.max_new_tokens")).set_value(1).run()
    said = say(page, "Where is the shop? 1").chat_message[1]
    assert said.caption[-1].value == t("chat.cut")


def test_the_base_model_answers_beside_with_turns_of_its_own(page: Page) -> None:
    of_label(page.number_input, t("chat.temperature")).set_value(2.0).run()  # the likeliest may be to say nothing
    of_label(page.toggle, t("chat.beside_base")).set_value(True).run()
    say(say(page, "When do you open? 0"), "Who are you? 4")
    assert [message.name for message in page.chat_message] == ["user", "assistant", "assistant"] * 2
    tuned, base = page.chat_message[1], page.chat_message[2]
    assert base.caption[0].value == t("chat.base")
    assert [text.value for text in tuned.markdown] != [text.value for text in base.markdown]


def test_two_runs_answer_beside_each_other(page: Page, talk_api: Services) -> None:
    runs = page.multiselect[0].options
    assert len(runs) == 2
    page.multiselect[0].set_value([*page.multiselect[0].value, _other(page, talk_api)]).run()
    assert not [toggle for toggle in page.toggle if toggle.label == t("chat.beside_base")]
    say(page, "When do you open? 0")
    assert len({message.caption[0].value for message in page.chat_message[1:]}) == 2


def test_what_is_told_and_drawn_changes_the_answer_and_a_seed_repeats_it(page: Page) -> None:
    def answer(seed: int) -> list[str]:
        of_label(page.number_input, t("chat.seed")).set_value(seed).run()
        texts = [text.value for text in say(page, "When do you open? 0").chat_message[1].markdown]
        of_label(page.button, t("chat.reset")).click().run()
        return texts

    of_label(page.number_input, t("chat.temperature")).set_value(2.0).run()
    drawn = [answer(seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    of_label(page.text_area, t("chat.system")).set_value("Be brief.").run()
    assert answer(1) != drawn[0]


def test_what_the_model_cannot_read_is_said_and_the_next_question_is_answered(page: Page) -> None:
    refused = say(page, "z9 " * 3000)
    assert "the model reads 2,048" in refused.error[0].value.replace("\\", "")
    answered = say(page, "Who are you? 4").chat_message[3]
    assert not answered.error
    assert [*answered.markdown, *answered.caption]


def test_a_finished_run_leads_to_the_conversation(visit: Callable[..., Page], talk_api: Services) -> None:
    run_id = talk_api.store.get("latest").id
    page = visit(talk_api.api_address, "follow", lang="en", task=run_id)
    links = [link for link in page.get("page_link") if link.label == t("chat.here")]
    assert len(links) == 1


def test_two_runs_are_compared_by_losses_and_answers(visit: Callable[..., Page], talk_api: Services) -> None:
    runs = [run.id for run in talk_api.store.find_page(RunFilter()).runs]
    page = visit(talk_api.api_address, "compare", lang="en", ids=",".join(runs))
    assert not page.error
    headers = [header.value for header in page.header]
    assert headers[:2] == [t("compare.verdict"), t("compare.answers")]
    assert t("compare.flipped") not in headers
    said = " ".join(message.value for message in (*page.success, *page.warning))
    assert "mean loss a row" in said
    assert "equally good on these rows" in said  # no answer of so small a model is word for word the wanted one
    texts = [text.value for text in page.markdown]
    with contextlib.closing(ApiClient(talk_api.api_address)) as api:
        differing = api.compare(runs)["answers"]["total"]
    assert texts.count(f"**{t('compare.wanted')}**") == differing > 0


def _other(page: Page, talk_api: Services) -> str:
    (chosen,) = page.multiselect[0].value
    return next(run.id for run in talk_api.store.find_page(RunFilter()).runs if run.id != chosen)


def test_rows_are_seen_token_by_token_in_a_version_and_before_a_training(
    visit: Callable[..., Page], talk_api: Services
) -> None:
    place_as_starter(talk_api.folder / "base", talk_api.settings.data_folder)
    with contextlib.closing(ApiClient(talk_api.api_address)) as client:
        version = client.load_versions()[0]
    page = visit(talk_api.api_address, "data", lang="en", version=version["digest"][:12])
    page.segmented_control(key="data_part").set_value("tokens").run()
    assert not page.exception, page.exception
    assert not page.error, [error.value for error in page.error]
    shown = html_of(page)
    assert '<span class="tokens-supervised">' in shown
    assert "&lt;|im_start|&gt;user⏎" in shown  # marks of the template are text on the page
    of_label(page.number_input, t("tokens.number")).set_value(2).run()
    assert html_of(page) not in ("", shown)

    form = visit(talk_api.api_address, "submit", lang="en", preset="default", data=f"version:{version['digest']}")
    of_label(form.button, t("data_choice.preview")).click().run()
    of_label(form.toggle, t("tokens.row")).set_value(True).run()
    assert not form.exception, form.exception
    assert html_of(form) == shown  # its first row is that of the version


def html_of(page: Page) -> str:
    """What stands on the page as tokens."""
    return "".join(part.proto.body for part in page.get("html") if "tokens" in part.proto.body)
