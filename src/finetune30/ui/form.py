"""The form: one widget for every field of the configuration, in step with the draft in the session."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.fields import COMMON, Field, difference, get_value, put_value
from finetune30.ui.interruptions import finished_first
from finetune30.ui.layout import fold
from finetune30.ui.session import language, t, t_or

Json = dict[str, Any]

#: Key that marks "left empty" in choices, so that it can be told from a choice called None.
EMPTY = "\0empty"
MODULE_CHOICES = ("auto", "all-linear", "q_lin", "v_lin", "query", "value", "key", "q_proj", "v_proj")
WHOLE_CHOICES = ("auto", "all-linear")
#: The model that is installed with the package, and the preset that suits it.
STARTER = "starter"
MODEL_OF_DEFAULT_MODULES = "distilbert-base-uncased"
#: Keys with one meaning here: the services decide where results lie.
DECIDED_BY_SERVICES = ("training.output_dir",)
#: Left empty, these mean all rows.
COUNTS_OF_ROWS = ("data.train_samples", "data.eval_samples")
#: What the session holds about the data of a draft (`views/data_choice`, `uploading`, `reading`, `preview`).
OF_ONE_DRAFT = ("preview", "source_wanted", "upload_refused", "submit_now", "came_along", "reading")
#: The largest number that Streamlit shows in a field; every field ends far below.
LARGEST_NUMBER = 1.797e308


def load_draft() -> Json | None:
    """Return the configuration being written, None before a first one was chosen."""
    draft: Json | None = st.session_state.get("draft")
    return draft


@finished_first
def replace_draft(tree: Json) -> None:
    """Take over a whole configuration; every widget starts anew from it."""
    st.session_state.draft = tree
    st.session_state.draft_generation = st.session_state.get("draft_generation", 0) + 1


@finished_first
def start_from(preset: str, base: Json, tree: Json | None = None) -> None:
    """Begin a draft: a preset and its configuration, or another one that is sent as what differs from the preset."""
    st.session_state.draft_preset, st.session_state.draft_base = preset, base
    for key in OF_ONE_DRAFT:
        st.session_state.pop(key, None)
    replace_draft(copy.deepcopy(base if tree is None else tree))


def widget_key(name: str) -> str:
    """Return the key of a widget of the present draft; another draft has other widgets."""
    return f"{name}@{st.session_state.get('draft_generation', 0)}"


def is_present(key: str) -> bool:
    """Tell whether a widget belongs to the present draft.

    A page that was interrupted while it was drawn reports all its widgets as changed, also those of the draft that a
    preset has replaced in the same moment: what they hold must not get into the new one.
    """
    return key in st.session_state and key == widget_key(key.rpartition("@")[0])


def build_request() -> Json:
    """Return what is sent: the preset and what differs from it, so that chosen keys are told apart from defaults."""
    changed = difference(load_draft() or {}, st.session_state.draft_base)
    for key in DECIDED_BY_SERVICES:
        section, _, name = key.partition(".")
        if isinstance(inner := changed.get(section), dict):  # an address may hold anything in its place
            inner.pop(name, None)
    return {"preset": st.session_state.draft_preset, "config": changed}


def show_fields(fields: Iterable[Field], faults: Mapping[str, list[str]], *, columns: int = 3) -> None:
    """Show the widgets of some fields, with their faults beneath them."""
    shown = list(fields)
    for start in range(0, len(shown), columns):
        for place, field in zip(st.columns(columns), shown[start : start + columns], strict=False):
            with place:
                _show_field(field)
                for fault in faults.get(field.key, ()):
                    st.error(display.plain(fault), icon=":material/error:")


def show_folded(fields: Mapping[str, Field], faults: Mapping[str, list[str]], hidden: Iterable[str] = ()) -> None:
    """Show every further field, folded by section; a section with a fault is open.

    What is folded is not made: some sixty fields take most of the time that a drawing of the page takes.
    """
    left = [field for key, field in fields.items() if key not in COMMON and key not in set(hidden)]
    for section in dict.fromkeys(field.section for field in left):
        members = [field for field in left if field.section == section]
        key = section_key(section)
        if any(field.key in faults for field in members):
            st.session_state[key] = True
        folded = fold(t_or(f"section.{section or 'top'}", display.plain(section)), key)
        if folded.open:
            with folded:
                show_fields(members, faults)


def section_key(section: str) -> str:
    """Return under which name the session knows whether a section is unfolded."""
    return f"section-{section}"


def field_label(key: str) -> str:
    """Return what a field is called, with its key."""
    return t_or(f"field.{key}", display.plain(key))


def _show_field(field: Field) -> None:
    draft = load_draft() or {}
    value = get_value(draft, field.key)
    key = widget_key(f"field-{field.key}")
    label = field_label(field.key)
    common: Json = {"key": key, "help": _help(field), "on_change": _take, "args": (field, key)}
    if choices := _choices(field):
        options = [*choices] if value in choices or value is None else [*choices, value]
        st.selectbox(label, options, index=_position(options, value), format_func=_choice_label, **common)
    elif field.kinds == {"boolean"}:
        st.toggle(label, value=bool(value), **common)
    elif "array" in field.kinds:
        _show_list(field, label, value, common)
    elif "integer" in field.kinds or "number" in field.kinds:
        _show_number(field, label, value, common)
    else:
        st.text_input(label, value="" if value is None else str(value), placeholder=_placeholder(field), **common)


def _show_list(field: Field, label: str, value: Any, common: Json) -> None:
    present = [value] if isinstance(value, str) else [str(item) for item in value] if isinstance(value, list) else []
    offered = MODULE_CHOICES if field.key == "lora.target_modules" else field.item_choices
    options = list(dict.fromkeys([*offered, *present]))
    free = not field.item_choices
    st.multiselect(
        label, options, default=present, accept_new_options=free, placeholder=_placeholder(field) or "", **common
    )


def _show_number(field: Field, label: str, value: Any, common: Json) -> None:
    shown: Json = {
        "value": _as_browser_counts(value) if isinstance(value, int | float) else None,
        "step": 1.0 if field.is_whole else _step(value),
        "format": "%g",
    }
    # Without bounds: beyond those Streamlit would show one value and send the one before. The API's check speaks. Whole
    # numbers are asked for as fractions, since of those that are asked for as whole it sends none beyond 2**53.
    st.number_input(label, placeholder=_placeholder(field), **shown, **common)


@finished_first
def _take(field: Field, key: str) -> None:
    """Put what a person entered into the draft."""
    draft = load_draft()
    if draft is None or not is_present(key):
        return
    value = _entered(field, st.session_state[key])
    put_value(draft, field.key, value)
    if field.key == "model.name":
        adapt_to_model(draft)


def _entered(field: Field, value: Any) -> Any:
    if isinstance(value, str) and value == EMPTY:
        return None
    if isinstance(value, str) and not value.strip() and field.nullable:
        return None
    if isinstance(value, list):
        return _entered_list(field, value)
    if field.is_whole and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _as_browser_counts(value: float) -> float:
    """Return a number as near as a browser can count."""
    return float(max(-LARGEST_NUMBER, min(value, LARGEST_NUMBER)))


def _entered_list(field: Field, value: list[str]) -> Any:
    if not value and field.nullable:
        return None
    if field.key == "lora.target_modules" and value[-1:] and value[-1] in WHOLE_CHOICES:
        return value[-1]
    if field.item_kind == "integer":
        return [int(item) if item.strip().isdecimal() else item for item in value]
    return [item for item in value if item not in WHOLE_CHOICES]


def learn_starter_settings(default: Json, starter: Json) -> None:
    """Keep what the starter's preset sets otherwise than the default one: settings that suit that model."""
    st.session_state.starter_settings = {
        f"{section}.{name}": (before, starter[section][name])
        for section in ("lora", "training")
        for name, before in default[section].items()
        if starter[section][name] != before
    }


def adapt_to_model(draft: Json) -> None:
    """Module names of one model mean nothing in another, nor does its revision; the starter has settings of its own."""
    default = get_value(draft, "model.name") == MODEL_OF_DEFAULT_MODULES
    put_value(draft, "lora.target_modules", ["q_lin", "v_lin"] if default else "auto")
    put_value(draft, "model.revision", None)
    put_value(draft, "model.offline_fallback", None)
    st.session_state.came_along = _take_starter_settings(draft, is_starter=get_value(draft, "model.name") == STARTER)
    replace_draft(draft)


def show_what_came_along() -> None:
    """Say, until the next choice of a model, which settings came along with it."""
    if came := st.session_state.get("came_along"):
        listed = t("form.comma").join(f"{field_label(key)} {value}" for key, value in came.items())
        st.info(t("stand_ins.came_along", settings=display.plain(listed, 600)), icon=":material/tune:")


def _take_starter_settings(draft: Json, *, is_starter: bool) -> Json:
    """Set what suits the starter where the default stood, or the other way round; return what was set."""
    came = {}
    for key, values in st.session_state.get("starter_settings", {}).items():
        before, after = values if is_starter else values[::-1]
        if key == "lora.target_modules":
            if is_starter:
                put_value(draft, key, after)
                came[key] = after
        elif get_value(draft, key) == before:
            put_value(draft, key, after)
            came[key] = after
    return came


def _choices(field: Field) -> list[Any]:
    if "array" in field.kinds:
        return []
    nothing = [EMPTY] if field.nullable else []
    if field.choices and "boolean" in field.kinds:
        return [*nothing, True, False, *field.choices]
    if field.choices:
        return [*nothing, *field.choices]
    if field.kinds == {"boolean", "null"}:
        return [EMPTY, True, False]
    return []


def _position(options: list[Any], value: Any) -> int:
    wanted = EMPTY if value is None else value
    return next((n for n, option in enumerate(options) if option is wanted or option == wanted), 0)


def _choice_label(choice: Any) -> str:
    if isinstance(choice, bool):
        return t("form.yes") if choice else t("form.no")
    return t("form.automatic") if choice == EMPTY else str(choice)


def _placeholder(field: Field) -> str | None:
    if not field.nullable:
        return None
    return t("form.all") if field.key in COUNTS_OF_ROWS else t("form.automatic")


def _step(value: Any) -> float:
    """A step of the value's own magnitude, so that the arrows of a learning rate do something sensible."""
    if not value:
        return 0.01
    exponent = int(f"{abs(float(value)):e}".partition("e")[2])
    return float(f"1e{exponent}") if exponent < 0 else 0.1


def _help(field: Field) -> str:
    text = field.description if language() == "en" else t_or(f"help.{field.key}", field.description)
    facts = [display.plain(text, 600), f"`{field.key}`"]
    low, high = field.minimum, field.maximum
    if low is not None or high is not None:
        facts.append(t("form.bounds", low=_bound(low), high=_bound(high)))
    if field.allowed:
        facts.append(display.plain(field.allowed))
    if field.default is not None and not isinstance(field.default, dict | list):
        facts.append(t("form.default", value=display.plain(_choice_label(field.default))))
    return "  \n".join(facts)


def _bound(value: float | None) -> str:
    return "∞" if value is None else f"{value:.6g}"
