"""Submit: presets, data, form, YAML, what to expect, and the button."""

from __future__ import annotations

import copy
import uuid
from typing import Any

import streamlit as st
import yaml

from finetune30.ui import display, form
from finetune30.ui.client import ApiError
from finetune30.ui.command import submit_command
from finetune30.ui.fields import CHOSEN_ELSEWHERE, COMMON, Field, get_value, load_fields
from finetune30.ui.layout import show_figures
from finetune30.ui.session import ask, client, in_own_words, language, show_error, t, t_or
from finetune30.ui.views import data_choice

Json = dict[str, Any]

DEFAULT_PRESET = "default"
#: Of those that the API takes (-100 to 100), by words; higher is earlier.
PRIORITIES = (-100, -10, 0, 10, 100)


def show() -> None:
    """Show the page."""
    st.title(t("submit.title"), anchor=False)
    _show_submitted()
    start = _load_start()
    if start is None:
        return
    fields, presets = start
    if form.load_draft() is None and not _take_preset(DEFAULT_PRESET):
        return
    _take_data_of_address()
    if not _choose_preset(presets):
        return
    st.caption(t("submit.intro"))
    data_choice.show()
    faults = _check()
    _show_form(fields, faults)
    _show_yaml(fields)
    _show_estimate(bool(faults))
    _show_button(faults)


def _load_start() -> tuple[dict[str, Field], dict[str, Json]] | None:
    """Fields and presets, asked for once a visit."""
    if "submit_start" not in st.session_state:
        loaded = ask(lambda: (client().load_schema(), client().load_presets()))
        if loaded is None:
            return None
        schema, presets = loaded
        st.session_state.submit_start = (load_fields(schema), {preset["name"]: preset for preset in presets})
    start: tuple[dict[str, Field], dict[str, Json]] = st.session_state.submit_start
    return start


def _take_data_of_address() -> None:
    """A link may bring the data along (`?data=version:…`); it is taken once."""
    wanted = st.query_params.get("data", "")
    if not wanted or st.session_state.get("data_of_address") == wanted:
        return
    st.session_state.data_of_address = wanted
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


def _check() -> dict[str, list[str]]:
    """Validate the draft at the API; return key -> faults. Asked only when the draft changed."""
    draft = form.load_draft()
    known: tuple[Json, dict[str, list[str]]] | None = st.session_state.get("draft_check")
    if known is not None and known[0] == draft:
        return known[1]
    faults: dict[str, list[str]] = {}
    try:
        client().check_config(form.build_request())
    except ApiError as error:
        if not error.faults:
            show_error(error)
        faults = sort_faults(error)
    st.session_state.draft_check = (copy.deepcopy(draft), faults)
    return faults


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
    st.subheader(t("submit.common"), anchor=False)
    form.show_fields([fields[key] for key in COMMON if key in fields], faults)
    st.subheader(t("submit.more"), anchor=False)
    form.show_folded(fields, faults, hidden=(*CHOSEN_ELSEWHERE, *form.DECIDED_BY_SERVICES))


def _show_yaml(fields: dict[str, Field]) -> None:
    text = dump_yaml(form.load_draft() or {})
    with st.expander(t("submit.written"), icon=":material/code:"):
        st.caption(t("submit.command_help"))
        st.code(submit_command(form.build_request(), fields), language="bash")
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
    form.replace_draft(checked["config"])
    st.session_state.yaml_notes = checked.get("notes", [])
    st.rerun()


def _show_estimate(has_faults: bool) -> None:
    st.subheader(t("submit.estimate"), anchor=False)
    if has_faults:
        st.caption(t("submit.estimate_after_faults"))
        return
    draft = form.load_draft() or {}
    known = st.session_state.get("draft_estimate")
    if known is None or known[0] != draft:
        known = (copy.deepcopy(draft), ask(lambda: client().estimate(form.build_request())))
        st.session_state.draft_estimate = known
    expected = known[1]
    if expected is None:
        return
    runs = expected.get("based_on_runs") or 0
    past = t("submit.estimate_past", runs=runs) if runs else t("submit.estimate_no_past")
    memory, memory_help = display.size(expected.get("memory_bytes")), past
    least = expected.get("least_memory_bytes")
    if expected.get("memory_bytes") is None and least is not None:
        memory, memory_help = f"≥ {display.size(least)}", t("submit.estimate_least")
    facts = (
        ("rows", display.number(expected.get("rows")), t("submit.estimate_rows_help")),
        ("steps", display.number(expected.get("steps")), None),
        ("parameters", display.number(expected.get("trainable_parameters")), t("submit.estimate_counted")),
        ("memory", memory, memory_help),
        ("time", display.duration(expected.get("seconds")), past),
    )
    show_figures((t(f"submit.estimate_{name}"), value, help_text) for name, value, help_text in facts)
    if not runs:
        st.caption(t("submit.estimate_no_past"))


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


def _show_button(faults: dict[str, list[str]]) -> None:
    draft = form.load_draft() or {}
    priority = _choose_priority()
    pressed = st.button(
        t("submit.button"), type="primary", icon=":material/rocket_launch:", disabled=bool(faults), key="submit_button"
    )
    if faults:
        st.caption(t("submit.faults_first", count=sum(map(len, faults.values()))))
    if not pressed:
        return
    body = form.build_request() | ({"priority": priority} if priority else {})
    key = _idempotency_key(body)
    answer = ask(lambda: client().submit(body, key))
    if answer is not None:
        st.session_state.pop("submit_key", None)
        st.session_state.submitted = {"name": get_value(draft, "experiment_name"), **answer}
        st.rerun()


def _idempotency_key(body: Json) -> str:
    """The same key while the same body was not accepted, so that pressing again after a lost answer makes one run."""
    held = st.session_state.get("submit_key")
    if held is None or held[0] != body:
        held = (copy.deepcopy(body), uuid.uuid4().hex)
        st.session_state.submit_key = held
    return str(held[1])


def _show_submitted() -> None:
    answer = st.session_state.get("submitted")
    if answer is None:
        return
    with st.container(border=True):
        st.success(t("submit.done", name=display.plain(answer["name"])), icon=":material/check_circle:")
        st.code(str(answer["task_id"]), language=None)
        if answer.get("queue_position"):
            st.caption(t("submit.position", position=answer["queue_position"]))
        for note in answer.get("notes") or ():
            st.info(display.plain(in_own_words(str(note)), 500))
        st.page_link(
            st.session_state.pages["follow"],
            label=t("action.follow"),
            icon=":material/monitoring:",
            query_params={"task": str(answer["task_id"])},
        )
