"""One search, said in words: what may be believed of its best trial, before the figures."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.metrics import is_share, metric_value
from finetune30.ui.scores import score_in_sentence
from finetune30.ui.session import in_own_words, t

Json = dict[str, Any]


def show_verdict(described: Json, luck: Json) -> None:
    """Show the verdict of a judged search, else the best so far and whether luck reaches as far."""
    end, goes_on = described["end"], described["status"] == "RUNNING"
    is_judged = end is not None and end["verdict"] is not None
    if is_judged and not goes_on:
        _show_judged(described, end)
        return
    st.info(_say_best(described, luck), icon=":material/trophy:")
    if is_judged:
        _show_judged(described, end, t("searches.of_earlier", tried=end["tried"]))
    elif end is not None:
        _show_repeating(end)
    elif not goes_on:
        st.caption(t("searches.no_end"))
    if described["reason"] and not is_judged:
        st.info(display.plain(in_own_words(described["reason"]), 400), icon=":material/info:")


def is_looking(end: Json) -> bool:
    """Whether a look at the test rows goes on."""
    return any(test["goes_on"] for test in end["tests"])


def size_of(metric: str, value: float) -> str:
    """Return a difference of two values of a metric with its unit."""
    return t("unit.points", value=f"{100 * value:.1f}") if is_share(metric) else display.number(value, 3)


def _say_best(described: Json, luck: Json) -> str:
    """Return what the best trial has, how far it leads trial 0, and whether luck reaches as far, as Markdown."""
    best, metric = described["best"], str(described["metric"])
    if best is None:
        return t("searches.no_value")
    words = {"metric": display.plain(score_in_sentence(metric)), "value": metric_value(metric, best["value"])}
    if best["number"] == 0:
        return t("searches.best_is_default", **words)
    said = [t("searches.best_value", best=best["number"], **words)]
    default = described["trials"][0]["value"]
    if default is not None:
        said.append(t("searches.lead", lead=size_of(metric, abs(best["value"] - default))))
    if luck.get("band"):
        last = luck["band"][-1]
        sign = 1 if described["greater_is_better"] else -1
        is_more = sign * (best["value"] - last["reach"]) > 0
        reach = size_of(metric, abs(last["reach"] - luck["default"]))
        said.append(t(f"searches.lead_{'is_more' if is_more else 'may_be_luck'}", tried=last["tried"], reach=reach))
    return " ".join(said)


def _show_judged(described: Json, end: Json, of_earlier: str = "") -> None:
    """Show what was said of an end; `of_earlier`: after how many trials, where there are more by now."""
    _show_tests(end)
    said = end["verdict"]
    _show_one(t("searches.evaluation_rows") + of_earlier, said)
    if end["test_rows"]:
        _show_one(t("searches.test_rows_alone"), {"verdict": None, "message": end["test_rows"]})
    if described["reason"]:
        st.caption(display.plain(in_own_words(described["reason"]), 400))
    if (found := said.get("expected_luck")) is not None:
        st.caption(t("searches.luck_size", tried=found["tried"], size=_size(found)))
    else:
        st.caption(t("searches.luck"))
    if near := said.get("near"):
        count, compared = len(near["trials"]), near["compared"]
        st.caption(t("searches.near", count=count, compared=compared, cheapest=near["cheapest"]))


def _show_repeating(end: Json) -> None:
    ended = sum(count for state, count in end["runs"].items() if state in ("SUCCEEDED", "FAILED"))
    st.info(t("searches.repeating", best=end["best"], ended=ended), icon=":material/hourglass_top:")
    if end["waits"]:
        st.warning(display.plain(in_own_words(end["waits"]), 400), icon=":material/pause_circle:")
    _show_tests(end)


def _show_tests(end: Json) -> None:
    """Show what every look at the test rows found, for whichever end."""
    for test in end["tests"]:
        where = t("searches.test_rows", count=test["count"])
        if test["tried"] != end["tried"]:
            where += t("searches.of_earlier", tried=test["tried"])
        found, error = test["result"], test["error"]
        if test["ended_at"] is None:
            said = t(f"searches.{'looking' if test['goes_on'] else 'look_cut_off'}")
            st.info(f"{where}: {said}", icon=":material/hourglass_top:")
            continue
        _show_one(where, found if found is not None else {"verdict": None, "message": (error or {}).get("message", "")})


def _show_one(where: str, said: Json) -> None:
    message = display.plain(in_own_words(said["message"]), 400) or t("searches.no_result")
    show = st.success if said["verdict"] == "better" else st.info
    show(f"{where}: {message}", icon=":material/gavel:")


def _size(luck: Json) -> str:
    return t("unit.points", value=f"{100 * luck['size']:.1f}") if luck["as_points"] else f"{luck['size']:.3g}"
