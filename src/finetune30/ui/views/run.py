"""One run: settings, results, curves, data, files, and what can be done with it."""

from __future__ import annotations

import uuid
from typing import Any

import streamlit as st

from finetune30.ui import charts, curves, display, history
from finetune30.ui.confirmation import confirmed_button, take_done
from finetune30.ui.findings import (
    show_detected,
    show_files,
    show_findings,
    show_ledger,
    show_quarantine_rows,
    show_rule_shares,
    yes_or_no,
)
from finetune30.ui.layout import fold, show_figures
from finetune30.ui.run_header import show_error_card, show_log, show_state, show_times
from finetune30.ui.session import ask, client, t
from finetune30.ui.stand_ins import show_stand_ins
from finetune30.ui.states import FINAL
from finetune30.ui.views import presets, run_files, run_results, why
from finetune30.ui.views.run_marks import show_marks

Json = dict[str, Any]

PARTS = ("results", "errors", "curves", "config", "data", "files", "log")
LOG_LINES = 1000
_TRACKERS = {"tensorboard": "TensorBoard", "mlflow": "MLflow", "wandb": "W&B"}


def show() -> None:
    """Show the page."""
    st.page_link(st.session_state.pages["experiments"], label=t("run.back"), icon=":material/arrow_back:")
    run_id = st.query_params.get("run", "")
    if not run_id:
        st.title(t("run.title"), anchor=False)
        st.info(t("run.empty"), icon=":material/lab_profile:")
        return
    if take_done(f"delete-{run_id}"):
        st.switch_page(st.session_state.pages["experiments"])
    heading = st.container()
    run = ask(lambda: client().load_experiment(run_id))
    if run is None:
        heading.title(t("run.title"), anchor=False)
        return
    with st.container(key="run-head"):
        show_state(run, is_title=True)
        show_stand_ins(run)
        show_marks(run)
        show_error_card(run.get("error"), final=run["status"] in FINAL)
        _show_actions(run)
        _show_test(run_id)
        show_times(run)
        _show_mirrors(run)
    st.session_state.setdefault("run_part", PARTS[0])  # not as default: a press on a result sets it too
    part = st.segmented_control(
        t("run.part"),
        PARTS,
        required=True,
        format_func=lambda name: t(f"run.part_{name}"),
        key="run_part",
        label_visibility="collapsed",
    )
    shows = {
        "results": run_results.show,
        "errors": why.show,
        "curves": _show_curves,
        "config": _show_config,
        "data": _show_data,
        "files": run_files.show,
        "log": _show_log,
    }
    shows[str(part or PARTS[0])](run)


def _show_mirrors(run: Json) -> None:
    """Say how far each tracker knows the run."""
    for mirror in run.get("mirrors") or ():  # an API of before knows of none
        if mirror.get("stopped_at"):
            state = "stopped"
        else:
            state = "refused" if mirror["error"] else "complete" if mirror["complete"] else "behind"
        words = {"tracker": _TRACKERS.get(mirror["mirror"], mirror["mirror"]), "records": mirror["records"]}
        st.caption(t(f"run.mirror_{state}", **words))


def _show_actions(run: Json) -> None:
    pages, run_id = st.session_state.pages, str(run["id"])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            pages["follow"], label=t("navigation.follow"), icon=":material/monitoring:", query_params={"task": run_id}
        )
        if run["status"] == "SUCCEEDED":
            st.page_link(pages["try"], label=t("navigation.try"), icon=":material/chat:", query_params={"run": run_id})
        if st.button(t("run.clone"), icon=":material/content_copy:", help=t("run.clone_help")):
            presets.begin_with(run["config"])
        if run["status"] == "SUCCEEDED" and st.button(
            t("run.replay"), icon=":material/replay:", help=t("run.replay_help")
        ):
            _replay(run_id)
        if run["status"] == "SUCCEEDED":
            confirmed_button(
                t("run.test"),
                t("run.test_question", name=display.plain(run["name"], 80)),
                lambda: client().open_test_rows(run_id),
                key=f"test-{run_id}",
                icon=":material/quiz:",
                confirm=t("run.test_confirm"),
            )
        if run["status"] in FINAL:
            confirmed_button(
                t("run.delete"),
                t("run.delete_question", name=display.plain(run["name"], 80)),
                lambda: client().delete_experiment(run_id),
                key=f"delete-{run_id}",
                icon=":material/delete:",
                confirm=t("run.delete_confirm", name=display.plain(run["name"], 40)),
                danger=True,
            )


def _show_test(run_id: str) -> None:
    """After the test rows were opened here: that the look runs, or why it failed; its result stands with the others."""
    if take_done(f"test-{run_id}"):
        st.session_state[f"test-asked-{run_id}"] = True
    if not st.session_state.get(f"test-asked-{run_id}"):
        return
    found = ask(lambda: client().load_test_looks(run_id))
    if found is None:
        return
    if found["state"] == "looking":
        st.info(t("run.test_runs"), icon=":material/hourglass_top:")
        return
    show_error_card(found.get("error"), final=True)
    st.session_state.pop(f"test-asked-{run_id}")


def _replay(run_id: str) -> None:
    """Queue a repetition, once however often the button is pressed, and follow it."""
    key = f"replay-key-{run_id}"
    token = st.session_state.setdefault(key, uuid.uuid4().hex)
    accepted = ask(lambda: client().replay(run_id, token))
    if accepted is not None:
        st.session_state.pop(key)
        st.switch_page(st.session_state.pages["follow"], query_params={"task": accepted["task_id"]})


def _show_curves(run: Json) -> None:
    answer = ask(lambda: client().load_history(run["id"]))
    records = (answer or {}).get("records", [])
    if not records:
        st.info(t("follow.no_curves"))
        return
    axis = st.segmented_control(
        t("run.axis"), history.AXES, default="step", required=True, format_func=lambda name: t(f"axis.{name}")
    )
    best = (run.get("metrics") or {}).get("best_step")
    curves.show_curves(records, key="run", axis=str(axis), best_step=best)


def _show_config(run: Json) -> None:
    text = ask(lambda: client().load_config_text(run["id"]))
    if text is None:
        return
    st.download_button(
        t("submit.yaml_download"), text.encode(), "config.yaml", "application/yaml", icon=":material/download:"
    )
    st.code(text, language="yaml", wrap_lines=True)


def _show_data(run: Json) -> None:
    report = ask(lambda: client().load_report(run["id"]))
    if report is None:
        return
    counts = {"train": report.get("label_counts") or {}}
    counts["evaluation"] = (report.get("evaluation") or {}).get("label_counts") or {}
    facts = (
        ("rows", display.number(report.get("total_samples"))),
        ("imbalance", display.number(report.get("imbalance_ratio"))),
        ("balanced", yes_or_no(report.get("is_balanced"))),
    )
    show_figures((t(f"run.data_{name}"), value) for name, value in facts)
    charts.bars(counts, title=t("data_choice.labels"), key="run-labels")
    show_detected(report.get("detected") or [])
    show_files(report.get("files") or [])
    show_rule_shares(report.get("rule_shares") or [])
    show_findings(report)
    show_ledger(report.get("ledger") or {})
    _show_quarantine(run)
    whole = fold(t("run.report_whole"), "run-report")
    if whole.open:
        whole.json(report, expanded=1)


def _show_quarantine(run: Json) -> None:
    """The rows that the gate kept away from this training."""
    aside = ask(lambda: client().load_quarantine(run["id"]))
    if aside and aside.get("total"):
        st.markdown(f"**{t('quarantine.title')}**")
        show_quarantine_rows(aside["rows"], int(aside["total"]), f"quarantine-{run['id'][:8]}.csv")


def _show_log(run: Json) -> None:
    lines = ask(lambda: client().load_log(run["id"], LOG_LINES))
    if lines is not None:
        show_log(lines, 520)
