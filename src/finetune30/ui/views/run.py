"""One run: settings, results, curves, data, files, and what can be done with it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import streamlit as st

from finetune30.ui import charts, curves, display, form, history
from finetune30.ui.blocks import show_blocks
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
from finetune30.ui.layout import show_figures, show_table
from finetune30.ui.metrics import metric_value
from finetune30.ui.run_header import show_error_card, show_log, show_state, show_times
from finetune30.ui.session import ask, client, t, t_or
from finetune30.ui.stand_ins import show_stand_ins
from finetune30.ui.states import FINAL
from finetune30.ui.views import why
from finetune30.ui.views.run_marks import show_marks

Json = dict[str, Any]

PARTS = ("results", "errors", "curves", "config", "data", "files", "log")
LOG_LINES = 1000
#: Files up to this size are fetched when the person asks for them.
LARGEST_DOWNLOAD_BYTES = 500_000_000
PLAIN_NUMBER = (int, float)


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
    show_state(run, is_title=True)
    show_stand_ins(run)
    show_marks(run)
    show_error_card(run.get("error"), final=run["status"] in FINAL)
    _show_actions(run)
    show_times(run)
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
        "results": _show_results,
        "errors": why.show,
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
        if run["status"] == "SUCCEEDED" and st.button(
            t("run.replay"), icon=":material/replay:", help=t("run.replay_help")
        ):
            _replay(run_id)
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


def _replay(run_id: str) -> None:
    """Queue a repetition, once however often the button is pressed, and follow it."""
    key = f"replay-key-{run_id}"
    token = st.session_state.setdefault(key, uuid.uuid4().hex)
    accepted = ask(lambda: client().replay(run_id, token))
    if accepted is not None:
        st.session_state.pop(key)
        st.switch_page(st.session_state.pages["follow"], query_params={"task": accepted["task_id"]})


def _show_replay(report: Json) -> None:
    """Whether a repetition came out as the run that it repeats, and what differs."""
    names = {"run": str(report["replay_of"])[:8]}
    if report["identical"] is None:
        st.warning(t("run.replay_fault", **names), icon=":material/question_mark:")
        return
    if report["identical"]:
        st.success(t("run.replay_identical", **names), icon=":material/verified:")
        return
    same = report["same_environment"]
    st.error(t("run.replay_differs" if same else "run.replay_elsewhere", **names), icon=":material/difference:")
    weights = [{"what": "tensors", "difference": name} for name in report["tensors"]]
    others = [
        {"what": part, "difference": line}
        for part in ("environment", "inputs", "states", "history", "metrics", "predictions")
        for line in report[part]
    ]
    shown = [
        {
            t("run.replay_part"): t(f"run.replay_{row['what']}"),
            t("run.replay_difference"): display.raw(row["difference"]),
        }
        for row in (*others, *weights)
    ]
    show_table(shown, alt=t("run.replay_difference"), most_pixels=320)


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
    if run.get("replay"):
        _show_replay(run["replay"])
    show_blocks(run.get("blocks") or (), str(run["id"]), _on_press(run))
    with st.expander(t("run.numbers")):
        shown = [
            {t("run.metric"): t_or(f"metric.{name}", name), t("run.value"): metric_value(name, value)}
            for name, value in metrics.items()
            if isinstance(value, PLAIN_NUMBER) and not isinstance(value, bool)
        ]
        show_table(shown, alt=t("run.metric"), most_pixels=320)
    _show_lineage(run)


def _on_press(run: Json) -> Callable[[Json], None] | None:
    """Return what takes a press on a cell or bar to the rows that it counts."""
    if run["status"] != "SUCCEEDED":
        return None

    def press(wanted: Json) -> None:
        why.narrow(str(run["id"]), wanted)
        st.session_state.run_part = "errors"

    return press


def _show_lineage(run: Json) -> None:
    """Data version -> run -> model."""
    st.markdown(f"**{t('run.lineage')}**")
    digest = run.get("dataset_digest")
    steps = (
        (t("run.lineage_data"), f"{display.file_name(run.get('dataset_name'))} · {(digest or display.NOTHING)[:16]}"),
        (t("run.lineage_run"), f"{run['folder']} · {run['id'][:8]}"),
        (
            t("run.lineage_model"),
            f"{display.file_name(run.get('model_name'))} · {(run.get('manifest_sha256') or display.NOTHING)[:16]}",
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
    answer = ask(lambda: client().load_artifacts(run["id"]))
    if not answer:
        return
    _show_package(run, answer.get("package_bytes"))
    files = answer["artifacts"]
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


def _show_package(run: Json, size: int | None) -> None:
    """The model as one file to take away, with the lines that use it."""
    st.markdown(f"**{t('run.package')}**")
    st.caption(t("run.package_help"))
    if size is not None and size <= LARGEST_DOWNLOAD_BYTES:
        api = client()
        st.download_button(
            t("run.package_download", size=display.size(size)),
            lambda: api.load_model_package(run["id"]),
            file_name=f"{run['folder']}.zip",
            mime="application/zip",
            type="primary",
            icon=":material/deployed_code_update:",
            on_click="ignore",
        )
    else:
        st.text(t("run.package_large" if size else "run.package_fault"))
        st.code(f"ft30 export {str(run['id'])[:8]}", language="bash", wrap_lines=True)
    lines = f'unzip "{run["folder"]}.zip"\npython "{run["folder"]}/use_model.py" "some text"'
    st.code(lines, language="bash", wrap_lines=True)


def _show_log(run: Json) -> None:
    lines = ask(lambda: client().load_log(run["id"], LOG_LINES))
    if lines is not None:
        show_log(lines, 520)
