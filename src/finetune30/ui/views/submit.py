"""Submit: presets, data, form, YAML, what to expect, and the button."""

from __future__ import annotations

import copy
from html import escape
from typing import Any

import streamlit as st

from finetune30.ui import display, drafts, form
from finetune30.ui.client import ApiError
from finetune30.ui.fields import CHOSEN_ELSEWHERE, COMMON, Field, get_value, load_fields, merged
from finetune30.ui.session import ask, client, show_error, t
from finetune30.ui.views import as_yaml, data_choice, expectation, first_steps, presets, reading, submit_bar
from finetune30.ui.views.faults import sort_faults

Json = dict[str, Any]


def show() -> None:
    """Show the page."""
    st.title(t("submit.title"), anchor=False)
    start = _load_start()
    if start is None:
        return
    fields, known = start
    _take_draft_of_address(known)
    if form.load_draft() is None and not presets.take(presets.DEFAULT):
        return
    _take_data_of_address()
    if first_steps.show():
        return
    st.html(f'<a class="skip-link" href="#{submit_bar.TO_BUTTON}">{escape(t("submit.skip"))}</a>')
    if not presets.choose(known):
        return
    st.caption(t("submit.intro"))
    faults, refused = _check()
    has_faults = bool(faults or refused)
    data_choice.show(has_faults=has_faults)
    is_complete = not has_faults and data_choice.wanted() is None
    expected = expectation.ask_api() if is_complete else None
    expectation.show_reach(expected or {})
    _show_form(fields, faults)
    as_yaml.show(fields)
    expectation.show(expected, is_complete=is_complete)
    if refused is not None:
        show_error(refused)
    if expected and expected.get("out_of_reach"):
        st.session_state.pop("submit_now", None)  # one press may begin a training, not one that fails for sure
    submit_bar.show(_blockers(faults, refused), expected)
    draft = drafts.Draft(st.session_state.draft_preset, form.build_request()["config"], data_choice.wanted())
    st.caption(t("submit.shared") if drafts.write(draft) else t("submit.too_long_to_share"))


def _load_start() -> tuple[dict[str, Field], dict[str, Json]] | None:
    """Fields and presets, asked for once a visit."""
    if "submit_start" not in st.session_state:
        loaded = ask(_ask_for_start)
        if loaded is None:
            return None
        schema, named, trees = loaded
        form.learn_starter_settings(*trees)
        st.session_state.submit_start = (load_fields(schema), {preset["name"]: preset for preset in named})
    start: tuple[dict[str, Field], dict[str, Json]] = st.session_state.submit_start
    return start


def _ask_for_start() -> tuple[Json, list[Json], list[Json]]:
    api = client()
    return api.load_schema(), api.load_presets(), [api.load_preset(name) for name in (presets.DEFAULT, form.STARTER)]


def _take_draft_of_address(known: dict[str, Json]) -> None:
    """A link may hold a whole draft; after a reload it is this person's own."""
    found = drafts.read_new()
    if found is None:
        return
    if found.preset not in known:
        drafts.take()
        st.warning(t("submit.no_preset", name=display.plain(found.preset)), icon=":material/link_off:")
        return
    base = ask(lambda: client().load_preset(found.preset))
    if base is not None:
        drafts.take()
        first_steps.pass_by()
        form.start_from(found.preset, base, merged(base, found.changed))
        st.session_state.source_wanted = found.source if found.source in data_choice.SOURCES_OF_DATA else None


def _take_data_of_address() -> None:
    """A link may bring the data along (`?data=version:…`); it is taken once."""
    wanted = st.query_params.get("data", "")
    if not wanted or st.session_state.get("data_of_address") == wanted:
        return
    st.session_state.data_of_address = wanted
    first_steps.pass_by()
    if wanted != get_value(form.load_draft() or {}, "data.dataset_name"):
        data_choice.choose(wanted)


def _check() -> tuple[dict[str, list[str]], ApiError | None]:
    """Validate the draft at the API; return key -> faults, and a refusal for another reason.

    Asked only when the draft changed, or was refused for something that may pass.
    """
    draft = form.load_draft()
    known: tuple[Json, dict[str, list[str]]] | None = st.session_state.get("draft_check")
    if known is not None and known[0] == draft:
        return known[1], None
    faults: dict[str, list[str]] = {}
    try:
        client().check_config(form.build_request())
    except ApiError as error:
        if not error.faults:
            return {}, error
        faults = sort_faults(error)
    st.session_state.draft_check = (copy.deepcopy(draft), faults)
    return faults, None


def _blockers(faults: dict[str, list[str]], refused: ApiError | None) -> list[str]:
    """Return everything for which nothing can be submitted now."""
    reasons = [t("submit.faults_first", count=sum(map(len, faults.values())))] if faults else []
    reasons += [t("submit.refused_first")] if refused is not None else []
    data = data_choice.blocker()
    return [*reasons, *([data] if data else [])]


def _show_form(fields: dict[str, Field], faults: dict[str, list[str]]) -> None:
    elsewhere = {key: texts for key, texts in faults.items() if key not in fields}
    for key, texts in elsewhere.items():
        for text in texts:
            st.error(display.plain(f"{key}: {text}" if key else text, 1000), icon=":material/error:")
    st.header(t("submit.common"), anchor=False)
    form.show_what_came_along()
    form.show_fields([fields[key] for key in COMMON if key in fields], faults)
    reading.offer_models()
    st.header(t("submit.more"), anchor=False)
    form.show_folded(fields, faults, hidden=(*CHOSEN_ELSEWHERE, *form.DECIDED_BY_SERVICES))
