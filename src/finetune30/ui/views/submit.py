"""Submit: presets, data, form, YAML, what to expect, and the button."""

from __future__ import annotations

import copy
import uuid
from html import escape
from typing import Any

import streamlit as st
import yaml

from finetune30.ui import display, drafts, form
from finetune30.ui.client import ApiError
from finetune30.ui.command import submit_command
from finetune30.ui.fields import CHOSEN_ELSEWHERE, COMMON, Field, get_value, load_fields, merged
from finetune30.ui.session import ask, client, in_own_words, language, show_error, t, t_or
from finetune30.ui.views import data_choice, expectation, first_steps, reading

Json = dict[str, Any]

DEFAULT_PRESET = "default"
#: Of those that the API takes (-100 to 100), by words; higher is earlier.
PRIORITIES = (-100, -10, 0, 10, 100)
#: Where a link goes that leads past the form, for people without a mouse.
TO_BUTTON = "to-the-button"


def show() -> None:
    """Show the page."""
    st.title(t("submit.title"), anchor=False)
    start = _load_start()
    if start is None:
        return
    fields, presets = start
    _take_draft_of_address(presets)
    if form.load_draft() is None and not _take_preset(DEFAULT_PRESET):
        return
    _take_data_of_address()
    if first_steps.show():
        return
    st.html(f'<a class="skip-link" href="#{TO_BUTTON}">{escape(t("submit.skip"))}</a>')
    if not _choose_preset(presets):
        return
    st.caption(t("submit.intro"))
    faults, refused = _check()
    has_faults = bool(faults or refused)
    data_choice.show(has_faults=has_faults)
    is_complete = not has_faults and data_choice.wanted() is None
    expected = expectation.ask_api() if is_complete else None
    expectation.show_reach(expected or {})
    _show_form(fields, faults)
    _show_yaml(fields)
    expectation.show(expected, is_complete=is_complete)
    if refused is not None:
        show_error(refused)
    if expected and expected.get("out_of_reach"):
        st.session_state.pop("submit_now", None)  # one press may begin a training, not one that fails for sure
    _show_button(_blockers(faults, refused), expected)
    draft = drafts.Draft(st.session_state.draft_preset, form.build_request()["config"], data_choice.wanted())
    st.caption(t("submit.shared") if drafts.write(draft) else t("submit.too_long_to_share"))


def _load_start() -> tuple[dict[str, Field], dict[str, Json]] | None:
    """Fields and presets, asked for once a visit."""
    if "submit_start" not in st.session_state:
        loaded = ask(_ask_for_start)
        if loaded is None:
            return None
        schema, presets, trees = loaded
        form.learn_starter_settings(*trees)
        st.session_state.submit_start = (load_fields(schema), {preset["name"]: preset for preset in presets})
    start: tuple[dict[str, Field], dict[str, Json]] = st.session_state.submit_start
    return start


def _ask_for_start() -> tuple[Json, list[Json], list[Json]]:
    api = client()
    return api.load_schema(), api.load_presets(), [api.load_preset(name) for name in (DEFAULT_PRESET, form.STARTER)]


def _take_draft_of_address(presets: dict[str, Json]) -> None:
    """A link may hold a whole draft; after a reload it is this person's own."""
    found = drafts.read_new()
    if found is None:
        return
    if found.preset not in presets:
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


def _choose_preset(presets: dict[str, Json]) -> bool:
    """Show the choice and begin anew from another one; tell whether the draft is what the choice says.

    The choice is compared with the draft whenever the page is drawn: a callback would be called once, and what it asks
    the API may be cut short by the next press or find the API away.
    """
    names = list(presets)
    present = st.session_state.draft_preset if st.session_state.draft_preset in presets else names[0]
    chosen = st.selectbox(
        t("submit.preset"),
        names,
        index=names.index(present),
        format_func=lambda name: f"{name} · {_summary(presets[name])}",
        help=t("submit.preset_help"),
        key=form.widget_key("preset"),
    )
    if chosen != present and _take_preset(chosen):
        st.rerun()
    return chosen == present


def _summary(preset: Json) -> str:
    """What a preset is for; English ones come with the API."""
    summary = str(preset.get("summary") or "")
    return display.raw(summary if language() == "en" else t_or(f"preset.{preset['name']}", summary), 110)


def _take_preset(name: str) -> bool:
    """Begin anew from a preset; tell whether it could be read."""
    tree = ask(lambda: client().load_preset(name))
    if tree is None:
        return False
    form.start_from(name, tree)
    return True


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


def sort_faults(error: ApiError) -> dict[str, list[str]]:
    """Return key -> what is wrong there, with the hint."""
    faults: dict[str, list[str]] = {}
    for fault in error.faults:
        faults.setdefault(str(fault.get("key") or ""), []).append(_describe_fault(fault))
    return faults


def _describe_fault(fault: Json) -> str:
    return t("form.and").join(in_own_words(str(fault[part])) for part in ("problem", "hint") if fault.get(part))


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


def _show_yaml(fields: dict[str, Field]) -> None:
    text = dump_yaml(form.load_draft() or {})
    with st.expander(t("submit.written"), icon=":material/code:"):
        st.caption(t("submit.command_help"))
        st.code(submit_command(form.build_request(), fields), language="bash", wrap_lines=True)
        st.caption(t("submit.yaml_help"))
        # The widget's name changes with the draft, so that it shows what the form says.
        edited = st.text_area(
            t("submit.yaml"), text, height=320, key=f"yaml-{hash(text)}", label_visibility="collapsed"
        )
        with st.container(horizontal=True):
            taken = st.button(t("submit.yaml_take"), icon=":material/check:")
            st.download_button(
                t("submit.yaml_download"),
                text.encode(),
                file_name="config.yaml",
                mime="application/yaml",
                icon=":material/download:",
                on_click="ignore",
            )
        if taken:
            _take_yaml(edited)
        uploaded = st.file_uploader(t("submit.yaml_upload"), type=["yaml", "yml"], max_upload_size=1, key="yaml_upload")
        if uploaded is not None and uploaded.file_id != st.session_state.get("yaml_taken"):
            st.session_state.yaml_taken = uploaded.file_id
            _take_yaml(uploaded.getvalue().decode("utf-8", errors="replace"))
        for text in st.session_state.pop("yaml_notes", []):
            st.info(display.plain(in_own_words(text), 500))


def dump_yaml(tree: Json) -> str:
    """Return a configuration as YAML in its own order."""
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=4096)


def _take_yaml(text: str) -> None:
    try:
        checked = client().check_config({"yaml": text})
    except ApiError as error:
        if not error.faults:
            show_error(error)
        for fault in sorted(error.faults, key=lambda fault: int(fault.get("line") or 0)):
            said = ": ".join(part for part in (str(fault.get("key") or ""), _describe_fault(fault)) if part)
            shown = display.plain(said, 1000)
            placed = t("submit.yaml_fault", line=fault["line"], fault=shown) if fault.get("line") else shown
            st.error(placed, icon=":material/error:")
        return
    if st.session_state.draft_preset != DEFAULT_PRESET and not _take_preset(DEFAULT_PRESET):
        return
    if get_value(checked["config"], "data.dataset_name") != get_value(form.load_draft() or {}, "data.dataset_name"):
        data_choice.forget_wanted()
    form.replace_draft(checked["config"])
    st.session_state.yaml_notes = checked.get("notes", [])
    st.rerun()


def _choose_priority() -> int:
    """A place in the queue before or behind other runs, in words: nobody knows what 37 of 100 would mean."""
    chosen: int = st.select_slider(
        t("submit.priority"),
        PRIORITIES,
        0,
        format_func=lambda value: t(f"priority.{value}"),
        key=form.widget_key("priority"),
        help=t("submit.priority_help"),
        width=320,
    )
    return chosen


def _show_button(blockers: list[str], expected: Json | None) -> None:
    """Show the button, and beside it what stops it or what to expect; both stay in sight however long the form is.

    A press that met a blocker in the same moment does nothing.
    """
    priority = _choose_priority()
    st.html(f'<span class="skip-target" id="{TO_BUTTON}" tabindex="-1"></span>')
    with st.container(key="submit-bar", horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            t("submit.button"),
            type="primary",
            icon=":material/rocket_launch:",
            disabled=bool(blockers),
            key="submit_button",
        )
        for reason in blockers or expectation.in_short(expected or {}):
            st.caption(reason, width="content")
        pressed = bool(st.session_state.pop("submit_now", False)) or pressed
        if pressed and not blockers:
            _submit(priority)


def _submit(priority: int) -> None:
    """Hand the draft over and go where it can be followed."""
    body = form.build_request() | ({"priority": priority} if priority else {})
    key = _idempotency_key(body)
    answer = ask(lambda: client().submit(body, key))
    if answer is None:
        return
    st.session_state.pop("submit_key", None)
    st.session_state.submitted = answer
    st.switch_page(st.session_state.pages["follow"], query_params={"task": str(answer["task_id"])})


def _idempotency_key(body: Json) -> str:
    """The same key while the same body was not accepted, so that pressing again after a lost answer makes one run."""
    held = st.session_state.get("submit_key")
    if held is None or held[0] != body:
        held = (copy.deepcopy(body), uuid.uuid4().hex)
        st.session_state.submit_key = held
    return str(held[1])
