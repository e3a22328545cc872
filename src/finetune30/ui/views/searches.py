"""Searches: their trials with the values that were tried, and the best of them."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.layout import fold, show_figures, show_table
from finetune30.ui.metrics import metric_value
from finetune30.ui.scores import score_title
from finetune30.ui.session import ask, client, in_own_words, t

Json = dict[str, Any]


def show() -> None:
    """Show a choice of the newest searches and the chosen one; nothing where there are none."""
    found = ask(lambda: client().list_searches())
    if not found:
        return
    names = {one["id"]: f"{one['name']} · {one['spec']['sampler']} · {one['id'][:8]}" for one in found}
    part = fold(t("searches.title"), "compare-searches", ":material/search_insights:")
    if not part.open:
        return
    with part:
        chosen = st.selectbox(t("searches.choose"), list(names), format_func=lambda one: display.plain(names[one], 120))
        described = ask(lambda: client().load_search(str(chosen)))
        if described is not None:
            _show_summary(described)
            _show_end(described)
            _show_trials(described)
            _show_importance(described)


def _show_summary(described: Json) -> None:
    best, planned, metric = described["best"], described["planned"], str(described["metric"])
    ended = sum(count for state, count in described["counts"].items() if state != "OPEN")
    show_figures(
        [
            (t("searches.state"), t(f"searches.state.{described['status']}")),
            (t("searches.ended"), str(ended) if planned is None else f"{ended} / {planned}"),
            (score_title(metric), metric_value(metric, best and best["value"])),
            (t("searches.best"), "" if best is None else str(best["number"])),
            (t("searches.hours"), f"{described['hours']:.2f}"),
        ]
    )
    if described["reason"]:
        st.info(display.plain(described["reason"], 400), icon=":material/info:")
    if best is not None:
        st.caption(_say_luck(described))


def _say_luck(described: Json) -> str:
    """Say how much better the best of so many equal configurations looks, where it is known."""
    luck = ((described["end"] or {}).get("verdict") or {}).get("expected_luck")
    if luck is None:
        return t("searches.luck")
    return t("searches.luck_size", tried=luck["tried"], size=_size(luck))


def _show_end(described: Json) -> None:
    """Show what is said of the best trial: on test rows where these were opened, and on the evaluation rows."""
    end = described["end"]
    if end is None:
        return
    said = end["verdict"]
    if said is None:
        ended = sum(count for state, count in end["runs"].items() if state in ("SUCCEEDED", "FAILED"))
        st.info(t("searches.repeating", best=end["best"], ended=ended), icon=":material/hourglass_top:")
        if end["waits"]:
            st.warning(display.plain(in_own_words(end["waits"]), 400), icon=":material/pause_circle:")
        _show_tests(end)
        return
    _show_tests(end)
    _show_verdict(t("searches.evaluation_rows"), said)
    if near := said.get("near"):
        count, compared = len(near["trials"]), near["compared"]
        st.caption(t("searches.near", count=count, compared=compared, cheapest=near["cheapest"]))


def _show_tests(end: Json) -> None:
    """Show what every look at the test rows found, for whichever end, and why there was none for this one."""
    for test in end["tests"]:
        where = t("searches.test_rows", count=test["count"])
        if test["tried"] != end["tried"]:
            where += t("searches.of_earlier", tried=test["tried"])
        found, error = test["result"], test["error"]
        _show_verdict(
            where, found if found is not None else {"verdict": None, "message": (error or {}).get("message", "")}
        )
    if end["test_rows"]:
        _show_verdict(t("searches.test_rows_alone"), {"verdict": None, "message": end["test_rows"]})


def _show_verdict(where: str, said: Json) -> None:
    message = display.plain(in_own_words(said["message"]), 400) or t("searches.no_result")
    show = st.success if said["verdict"] == "better" else st.info
    show(f"{where}: {message}", icon=":material/gavel:")


def _show_importance(described: Json) -> None:
    """Show what share of the differences goes with each parameter, beside what chance makes of shuffled values."""
    importance = described["importance"]
    if not importance:
        return
    shown = [
        {
            t("searches.parameter"): key,
            t("searches.share"): f"{100 * one['share']:.0f} %",
            t("searches.by_chance"): f"{100 * one['line']:.0f} %",
            t("searches.stands_out"): t("searches.yes") if one["stands_out"] else "",
        }
        for key, one in sorted(importance.items(), key=lambda item: -item[1]["share"])
    ]
    show_table(shown, alt=t("searches.importance"), most_pixels=300)
    if not any(one["stands_out"] for one in importance.values()):
        st.caption(t("searches.nothing_stands_out"))


def _size(luck: Json) -> str:
    return t("unit.points", value=f"{100 * luck['size']:.1f}") if luck["as_points"] else f"{luck['size']:.3g}"


def _show_trials(described: Json) -> None:
    varied, metric = list(described["spec"]["parameters"]), str(described["metric"])
    shown = [
        {
            t("searches.trial"): trial["number"],
            t("searches.trial_state"): t(f"searches.trial_state.{trial['state']}"),
            score_title(metric): None if trial["value"] is None else round(trial["value"], 4),
            **{key: _tell(trial["parameters"].get(key)) for key in varied},
            t("searches.run"): (trial["run_id"] or "")[:8],
            t("searches.why"): display.raw(trial["reason"]),
        }
        for trial in described["trials"]
    ]
    show_table(shown, alt=t("searches.title"), most_pixels=400)


def _tell(value: Any) -> str:
    """Return a value as text: a column may hold numbers, words and lists."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else display.raw(str(value))
