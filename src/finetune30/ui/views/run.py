"""One run: settings, results, curves, data, files, and what can be done with it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import charts, display, form
from finetune30.ui.blocks import show_blocks
from finetune30.ui.confirmation import confirmed_button, take_done
from finetune30.ui.findings import show_detected, show_findings, show_ledger, show_quarantine_rows, yes_or_no
from finetune30.ui.layout import show_figures, show_table
from finetune30.ui.metrics import metric_value
from finetune30.ui.run_header import show_error_card, show_log, show_state, show_times
from finetune30.ui.session import ask, client, t, t_or
from finetune30.ui.stand_ins import show_stand_ins

Json = dict[str, Any]

PARTS = ("results", "curves", "config", "data", "files", "log")
LOG_LINES = 1000
#: Files up to this size are fetched when the person asks for them.
LARGEST_DOWNLOAD_BYTES = 500_000_000
FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")
PLAIN_NUMBER = (int, float)


def show() -> None:
    """Show the page."""
    st.title(t("run.title"), anchor=False)
    run_id = st.query_params.get("run", "")
    if not run_id:
        st.info(t("run.empty"), icon=":material/lab_profile:")
        st.page_link(st.session_state.pages["experiments"], label=t("navigation.experiments"))
        return
    if take_done(f"delete-{run_id}"):
        st.switch_page(st.session_state.pages["experiments"])
    run = ask(lambda: client().load_experiment(run_id))
    if run is None:
        return
    show_state(run)
    show_stand_ins(run)
    show_error_card(run.get("error"), final=run["status"] in FINAL)
    _show_actions(run)
    show_times(run)
    part = st.segmented_control(
        t("run.part"),
        PARTS,
        default=PARTS[0],
        required=True,
        format_func=lambda name: t(f"run.part_{name}"),
        key="run_part",
        label_visibility="collapsed",
    )
    shows = {
        "results": _show_results,
        "curves": _show_curves,
        "config": _show_config,
        "data": _show_data,
        "files": _show_files,
        "log": _show_log,
    }
    shows[str(part or PARTS[0])](run)


def _show_actions(run: Json) -> None:
    pages, run_id = st.session_state.pages, str(run["id"])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            pages["follow"], label=t("navigation.follow"), icon=":material/monitoring:", query_params={"task": run_id}
        )
        if run["status"] == "SUCCEEDED":
            st.page_link(pages["try"], label=t("navigation.try"), icon=":material/chat:", query_params={"run": run_id})
        if st.button(t("run.clone"), icon=":material/content_copy:", help=t("run.clone_help")):
            _clone(run)
        if run["status"] in FINAL:
            confirmed_button(
                t("run.delete"),
                t("run.delete_question", name=display.plain(run["name"], 80)),
                lambda: client().delete_experiment(run_id),
                key=f"delete-{run_id}",
                icon=":material/delete:",
            )


def _clone(run: Json) -> None:
    """Begin a submission with this run's configuration."""
    base = ask(lambda: client().load_preset("default"))
    if base is None:
        return
    form.start_from("default", base, run["config"])
    st.switch_page(st.session_state.pages["submit"])


def _show_results(run: Json) -> None:
    metrics = run.get("metrics") or {}
    if not metrics:
        key = "run.never_results" if run["status"] in FINAL else "run.no_results"
        st.info(t(key), icon=":material/hourglass_empty:")
        return
    show_blocks(run.get("blocks") or (), str(run["id"]))
    with st.expander(t("run.numbers")):
        shown = [
            {t("run.metric"): t_or(f"metric.{name}", name), t("run.value"): metric_value(name, value)}
            for name, value in metrics.items()
            if isinstance(value, PLAIN_NUMBER) and not isinstance(value, bool)
        ]
        show_table(shown, alt=t("run.metric"), most_pixels=320)
    _show_lineage(run)


def _show_lineage(run: Json) -> None:
    """Data version -> run -> model."""
    st.markdown(f"**{t('run.lineage')}**")
    digest = run.get("dataset_digest")
    steps = (
        (t("run.lineage_data"), f"{run.get('dataset_name') or display.NOTHING} · {(digest or display.NOTHING)[:16]}"),
        (t("run.lineage_run"), f"{run['folder']} · {run['id'][:8]}"),
        (
            t("run.lineage_model"),
            f"{run.get('model_name') or display.NOTHING} · {(run.get('manifest_sha256') or display.NOTHING)[:16]}",
        ),
    )
    for place, (name, value) in zip(st.columns(3), steps, strict=True):
        with place.container(border=True, height="stretch"):
            st.caption(name)
            st.text(display.raw(value, 120))


def _show_curves(run: Json) -> None:
    answer = ask(lambda: client().load_history(run["id"]))
    records = (answer or {}).get("records", [])
    if not records:
        st.info(t("follow.no_curves"))
        return
    axis = st.segmented_control(
        t("run.axis"), charts.AXES, default="step", required=True, format_func=lambda name: t(f"axis.{name}")
    )
    trained = [record for record in records if record.get("type") == "train"]
    evaluated = [record for record in records if record.get("type") == "eval"]
    names = [(trained, "loss", False), (trained, "learning_rate", False), (trained, "grad_norm", False)]
    names += [(evaluated, name, True) for name in charts.measured(evaluated)]
    places = st.columns(2)
    for number, (source, name, marks) in enumerate(names):
        with places[number % 2]:
            title = t_or(f"metric.{name}", name)
            charts.curve(source, name, title=title, axis=str(axis), key=f"run-curve-{name}", marks=marks)


def _show_config(run: Json) -> None:
    text = ask(lambda: client().load_config_text(run["id"]))
    if text is None:
        return
    st.download_button(
        t("submit.yaml_download"), text.encode(), "config.yaml", "application/yaml", icon=":material/download:"
    )
    st.code(text, language="yaml")


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
    show_findings(report)
    show_ledger(report.get("ledger") or {})
    _show_quarantine(run)
    with st.expander(t("run.report_whole")):
        st.json(report, expanded=1)


def _show_quarantine(run: Json) -> None:
    """The rows that the gate kept away from this training."""
    aside = ask(lambda: client().load_quarantine(run["id"]))
    if aside and aside.get("total"):
        st.markdown(f"**{t('quarantine.title')}**")
        show_quarantine_rows(aside["rows"], int(aside["total"]), f"quarantine-{run['id'][:8]}.csv")


def _show_files(run: Json) -> None:
    if run["status"] != "SUCCEEDED":
        st.info(t("run.never_files" if run["status"] in FINAL else "run.no_files"), icon=":material/folder_off:")
        return
    files = ask(lambda: client().load_artifacts(run["id"]))
    if not files:
        return
    columns = {
        t("run.file"): [display.raw(file["name"]) for file in files],
        t("run.size"): [display.size(file["size"]) for file in files],
        "sha256": [str(file.get("sha256", ""))[:16] for file in files],
    }
    show_table(columns, alt=t("run.part_files"))
    small = [file["name"] for file in files if file["size"] <= LARGEST_DOWNLOAD_BYTES]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox(t("run.file_choose"), small, format_func=display.raw, width=480)
        api = client()
        if name:
            st.download_button(
                t("run.file_download"),
                lambda: api.load_artifact(run["id"], name),
                file_name=name.rpartition("/")[2],
                icon=":material/download:",
                on_click="ignore",
            )


def _show_log(run: Json) -> None:
    lines = ask(lambda: client().load_log(run["id"], LOG_LINES))
    if lines is not None:
        show_log(lines, 520)
