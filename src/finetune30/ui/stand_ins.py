"""What stands in for a model or data set out of reach, wherever a run is named, and before one is submitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.form import MODEL_OF_DEFAULT_MODULES as DEFAULT_MODEL
from finetune30.ui.session import t, t_or

Json = dict[str, Any]


def show_stand_ins(run: Mapping[str, Any]) -> None:
    """Say what a run was made from in the place of what it names, and which settings came along."""
    _show(run, "stand_ins.used")


def show_forecast(estimate: Mapping[str, Any]) -> None:
    """Say the same of a run that is not submitted yet."""
    _show(estimate, "stand_ins.will_be_used")


def mark_model(run: Mapping[str, Any]) -> str:
    """Return the name of a run's base model, and for which one it stands in."""
    return _marked(run.get("model_name"), [name for name in run.get("replaced") or {} if name == DEFAULT_MODEL])


def mark_data(run: Mapping[str, Any]) -> str:
    """Return the name of a run's data, and for which ones they stand in."""
    return _marked(run.get("dataset_name"), [name for name in run.get("replaced") or {} if name != DEFAULT_MODEL])


def _marked(name: str | None, wanted: list[str]) -> str:
    shown = display.file_name(name)
    return f"{shown} ({t('stand_ins.instead', wanted=', '.join(wanted))})" if wanted else shown


def in_short(run: Mapping[str, Any]) -> str:
    """Return in a few words what stands in; empty where nothing does."""
    replaced = run.get("replaced") or {}
    return t("stand_ins.short", pairs=_pairs(replaced)) if replaced else ""


def _show(told: Mapping[str, Any], key: str) -> None:
    replaced = told.get("replaced") or {}
    if not replaced:
        return
    lines = [t(key, pairs=display.plain(_pairs(replaced), 600))]
    settings = told.get("replaced_settings") or {}
    if settings:
        listed = t("form.comma").join(f"{_name(name)} {_value(value)}" for name, value in settings.items())
        lines.append(t("stand_ins.settings", settings=display.plain(listed, 1000)))
    st.warning("\n\n".join(lines), icon=":material/swap_horiz:")


def _pairs(replaced: Mapping[str, Any]) -> str:
    pairs = [t("stand_ins.pair", wanted=wanted, used=used) for wanted, used in replaced.items()]
    return t("form.and").join(pairs)


def _name(key: str) -> str:
    return t_or(f"field.{key}", key)


def _value(value: Any) -> str:
    return t("form.all") if value is None else str(value)
