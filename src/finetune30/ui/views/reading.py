"""Part of Submit: what a file says about the training that suits it is set at once, and said."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display, form
from finetune30.ui.client import ApiError
from finetune30.ui.fields import get_value, put_value
from finetune30.ui.interruptions import finished_first
from finetune30.ui.session import client, in_own_words, t, t_or

Json = dict[str, Any]

#: Where nothing on this machine reads a script: bases on the hub that do.
SUGGESTED = {"Han": "bert-base-chinese"}
READS_ANY_SCRIPT = "distilbert-base-multilingual-cased"
#: Share of unknown tokens above which a training is refused.
MOST_UNKNOWN = 0.3
SHOWN_LABELS = 8
#: A base that needs so many times the tokens of the best one was made for another language.
LONGER = 1.25


def read() -> None:
    """Ask what the data of the draft are, and take over the settings that they want.

    What a person named before stays. What cannot be read is left to the look at the rows, which says why.
    """
    try:
        with st.spinner(t("reading.busy")):
            found = client().propose(form.build_request())
    except ApiError:
        st.session_state.pop("reading", None)
        return
    draft = form.load_draft() or {}
    settings = dict(found["settings"])
    if _is_named(draft):
        settings.pop("experiment_name", None)
    model = _choose_model(draft, found)
    if model is not None:
        settings["model.name"] = model
    for key, value in settings.items():
        put_value(draft, key, value)
    name = get_value(draft, "data.dataset_name")
    st.session_state.reading = {"data": name, "found": found, "settings": settings}
    if model is None:
        form.replace_draft(draft)
    else:
        form.adapt_to_model(draft)


def show() -> None:
    """Say what was read from the file and set from it."""
    known = _known()
    if known is None:
        return
    found, settings = known["found"], known["settings"]
    labels = found["labels"]
    shown = t("form.comma").join(labels[:SHOWN_LABELS]) + (" …" if found["label_count"] > SHOWN_LABELS else "")
    facts = [
        t("reading.rows", rows=display.number(sum(found["rows"].values()))),
        t("reading.labels", count=found["label_count"], labels=shown) if labels else t("reading.numbers"),
        t("reading.script", script=t_or(f"script.{found['script']}", found["script"])) if found["script"] else "",
        *(in_own_words(note) for note in found["notes"]),
    ]
    lines = [display.plain(t("form.and").join(fact for fact in facts if fact), 1000)]
    lines.append(t("reading.set", settings=display.plain(_listed(settings), 1000)))
    if "model.name" in settings and not any(one["fits"] for one in found["models"]):
        lines.append(t("reading.none_reads", name=display.plain(settings["model.name"])))
    st.info("\n\n".join(lines), icon=":material/auto_awesome:")


def offered_models() -> list[str]:
    """Return the base models on this machine, those that read the file first; empty where that was not asked."""
    known = _known()
    return [str(one["name"]) for one in known["found"]["models"]] if known else []


def offer_models() -> None:
    """Show the base models on this machine; a press names one in the draft."""
    names = offered_models()
    if not names:
        return
    key = form.widget_key("models-here")
    present = get_value(form.load_draft() or {}, "model.name")
    st.pills(
        t("reading.here"),
        names,
        default=present if present in names else None,
        format_func=display.raw,
        help=t("reading.here_help"),
        key=key,
        on_change=_take_model,
        args=(key,),
    )


@finished_first
def _take_model(key: str) -> None:
    if form.is_present(key) and st.session_state[key]:
        draft = form.load_draft() or {}
        put_value(draft, "model.name", st.session_state[key])
        form.adapt_to_model(draft)


def starter_reads() -> bool:
    """Tell whether the starter has tokens for the texts, as far as is known."""
    known = _known()
    models = known["found"]["models"] if known else []
    starter = next((one for one in models if one["name"] == form.STARTER), None)
    return starter is None or (starter["unknown_share"] or 0.0) <= MOST_UNKNOWN


def _known() -> Json | None:
    """Return what was read, while the draft still has those data."""
    known: Json | None = st.session_state.get("reading")
    if known is None or known["data"] != get_value(form.load_draft() or {}, "data.dataset_name"):
        return None
    return known


def _is_named(draft: Json) -> bool:
    """Tell whether the experiment has a name that neither the preset nor an earlier file gave it."""
    earlier = (st.session_state.get("reading") or {}).get("settings", {}).get("experiment_name")
    given = (get_value(st.session_state.draft_base, "experiment_name"), earlier)
    return get_value(draft, "experiment_name") not in given


def _choose_model(draft: Json, found: Json) -> str | None:
    """Return a base model that reads the texts, where the draft's is not known to; None: it stays.

    One on this machine goes before one that would have to be fetched. The starter is never chosen here: it was made for
    English, and whoever wants it takes it.
    """
    present = get_value(draft, "model.name")
    here = {one["name"]: one for one in found["models"]}
    if present in here and here[present]["fits"]:
        return None
    if present != get_value(st.session_state.draft_base, "model.name"):
        return None  # named by a person, or for an earlier file
    fitting = {name: float(one["tokens_per_character"]) for name, one in here.items() if one["fits"]}
    close = [name for name, length in fitting.items() if length <= LONGER * min(fitting.values())]
    if chosen := [name for name in close if name != form.STARTER]:
        return str(chosen[0])
    if found["script"] in ("", "Latin"):
        return None
    return SUGGESTED.get(found["script"], READS_ANY_SCRIPT)


def _listed(settings: Json) -> str:
    pairs = [(key, value) for key, value in settings.items() if key != "data.eval_samples"]
    return t("form.comma").join(
        f"{form.field_label(key)} {t('form.all') if value is None else value}" for key, value in pairs
    )
