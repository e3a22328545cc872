"""A button that asks first: what each press does, and what a refusal leaves."""

from __future__ import annotations

import pytest

apptest = pytest.importorskip("streamlit.testing.v1", reason="Streamlit is not installed")

# Streamlit's test runner looks for a session where there is none.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def small_page():
    import streamlit as st

    from finetune30.ui.client import ApiError, ApiUnreachableError
    from finetune30.ui.confirmation import confirmed_button, take_done

    def act():
        st.session_state.acted = st.session_state.get("acted", 0) + 1
        if fault := st.session_state.get("fault"):
            raise ApiError(409, "conflict", "it has ended") if fault == "refused" else ApiUnreachableError("away")

    confirmed_button("Cancel", "Really?", act, key="stop", icon=":material/stop_circle:", confirm="Stop it")
    if take_done("stop"):
        st.success("done")


@pytest.fixture
def page():
    return apptest.AppTest.from_function(small_page).run()


def press(page, key):
    page.button(key=key).click().run()
    assert not page.exception, page.exception


def is_asked(page):
    return any(button.key == "stop-yes" for button in page.button)


def test_only_the_second_button_acts(page):
    press(page, "stop")
    assert is_asked(page)
    press(page, "stop-no")
    assert not is_asked(page)
    assert "acted" not in page.session_state
    press(page, "stop")
    press(page, "stop-yes")
    assert not is_asked(page)
    assert page.session_state["acted"] == 1
    assert [message.value for message in page.success] == ["done"]
    assert not page.run().success


def test_refusal_stays_until_the_next_press(page):
    page.session_state["fault"] = "refused"
    press(page, "stop")
    press(page, "stop-yes")
    assert not is_asked(page)
    assert "it has ended" in page.run().error[0].value
    press(page, "stop")
    assert not page.error


def test_question_stays_while_the_api_is_away(page):
    page.session_state["fault"] = "away"
    press(page, "stop")
    press(page, "stop-yes")
    assert is_asked(page)
    assert ["nothing was changed" in error.value for error in page.error] == [True]
    assert not page.success
    page.session_state["fault"] = ""
    press(page, "stop-yes")
    assert [message.value for message in page.success] == ["done"]
