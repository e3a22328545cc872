"""Models by name: their versions, aliases and history; registering a run."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from finetune30.ui import display
from finetune30.ui.layout import fold
from finetune30.ui.metrics import metric_value
from finetune30.ui.session import ask, client, local_time, t, t_or
from finetune30.ui.views import promotion

Json = dict[str, Any]


def show() -> None:
    """Show every model, and everything about the one that is chosen."""
    st.title(t("models.title"), anchor=False)
    st.caption(t("models.intro"))
    words = st.text_input(t("models.search"), help=t("models.search_help"), max_chars=200, key="models_search").strip()
    found = ask(lambda: client().find_models(words))
    if found is None:
        return
    if found:
        st.dataframe(pd.DataFrame([_row_of(model) for model in found]), hide_index=True, width="stretch")
        names = [model["name"] for model in found]
        chosen = st.selectbox(t("models.choose"), names, key="models_chosen")
        model = ask(lambda: client().load_model(chosen))
        if model is not None:
            _show_model(model)
    else:
        st.info(t("models.none"), icon=":material/info:")
    _register()


def say_score(score: Json) -> str:
    """Return a score with its 95 % interval, where there is one."""
    write = {"percent": display.percent, "number": display.number}.get(str(score.get("format")))
    if write is None:
        return metric_value(str(score.get("name") or ""), score.get("value"))
    ends = score.get("interval")
    interval = f" ({write(ends[0])} – {write(ends[1])})" if ends else ""
    return f"{write(score.get('value'))}{interval}"


def _row_of(model: Json) -> Json:
    newest = model["versions"][0] if model["versions"] else None
    return {
        t("models.name"): model["name"],
        t("models.problem"): t_or(f"problem.{model['problem_type']}", display.raw(model["problem_type"], 60)),
        t("models.score"): say_score(newest["facts"]["score"]) if newest else display.NOTHING,
        t("models.aliases"): ", ".join(f"{alias['alias']} → {alias['number']}" for alias in model["aliases"]),
        t("models.versions"): str(len(model["versions"])),
    }


def _show_model(model: Json) -> None:
    st.header(model["name"], anchor=False)
    for alias in model["aliases"]:
        said = {key: display.plain(alias[key]) for key in ("alias", "number", "generation")}
        place = {"name": model["name"], "who": display.plain(alias["moved_by"]), "at": local_time(alias["moved_at"])}
        st.markdown(t("models.leads", **said, **place))
    if not model["aliases"]:
        st.caption(t("models.no_alias"))
    rows = [_version_row(version) for version in model["versions"]]
    st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
    _show_servers(model["name"])
    promotion.show(model)
    part = fold(t("models.history"), f"models-history-{model['name']}", ":material/history:")
    if part.open and (events := ask(lambda: client().load_model_events(model["name"]))):
        with part:
            st.dataframe(pd.DataFrame([_event_row(event) for event in events]), hide_index=True, width="stretch")


def _show_servers(name: str) -> None:
    servers = ask(lambda: client().load_model_servers(name))
    if rows := [_server_row(server, one) for server in servers or [] for one in server["names"]]:
        st.subheader(t("models.servers"), anchor=False)
        st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")


def _server_row(server: Json, name: Json) -> Json:
    version = name.get("version")
    heard = local_time(server["seen_at"])
    return {
        t("models.name"): display.raw(name["name"], 130),
        t("models.version"): display.NOTHING if version is None else f"{name['model']}:{version}",
        t("models.state"): t(f"models.serving.{name['state']}"),
        t("models.address"): display.raw(f"{server['address']} ({server['host']})", 300),
        t("models.heard"): f"{heard} · {t('models.silent')}" if server["silent"] else heard,
        t("models.why"): display.raw((name.get("refused") or {}).get("why") or "", 500),
    }


def _version_row(version: Json) -> Json:
    return {
        t("models.version"): str(version["number"]),
        t("models.state"): t(f"models.state.{version['state']}"),
        t("models.aliases"): ", ".join(version["aliases"]),
        t("models.score"): say_score(version["facts"]["score"]),
        t("models.run"): display.raw(f"{version['facts']['run_name']} · {version['run_id'][:8]}", 120),
        t("models.registered"): local_time(version["created_at"]),
        t("models.by"): display.raw(version["created_by"], 60),
    }


def _event_row(event: Json) -> Json:
    return {
        t("models.at"): local_time(event["at"]),
        t("models.who"): display.raw(event["actor"], 60),
        t("models.what"): t(f"models.kind.{event['kind']}", alias=event["alias"], version=event["version"]),
        t("models.why"): display.raw(event["reason"] or "", 500),
    }


def _register() -> None:
    with st.expander(t("models.register_title"), icon=":material/add:"), st.form("models_register", border=False):
        run = st.text_input(t("models.run"), help=t("models.run_help"), max_chars=200).strip()
        name = st.text_input(t("models.name"), max_chars=63).strip()
        if st.form_submit_button(t("models.register")) and run and name:
            made = ask(lambda: client().register_model(name, run))
            if made is not None:
                st.success(t("models.made", name=made["model"], number=made["number"]), icon=":material/check:")
