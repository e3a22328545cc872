"""Compare, the first part: which run is better than which, by how much, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.layout import show_figures, show_table
from finetune30.ui.session import in_own_words, t

Json = dict[str, Any]
Names = Mapping[str, str]

#: Measures of rows that are right or wrong.
RIGHT = ("right", "exact", "expected")


def show(compared: Json, names: Names) -> None:
    """Show the verdicts of what the API compared; `names` are those of the runs by id."""
    st.header(t("compare.verdict"), anchor=False)
    verdict, pairs = compared.get("verdict") or {}, compared.get("pairs") or []
    if not pairs:
        reason = in_own_words(str(verdict.get("message") or "")) or t("compare.no_verdict")
        st.info(display.plain(reason, 1000), icon=":material/info:")
        return
    for group in _group(compared):
        _show_group(group, pairs, names, several=len(compared.get("groups") or ()) > 1)
    for measure in dict.fromkeys(_method_of(pair) for pair in pairs):
        st.caption(t(f"compare.method.{measure}"))
    for left in compared.get("left_out") or ():
        reason = display.plain(in_own_words(str(left.get("reason") or "")), 1000)
        name = display.plain(names.get(left["run"], ""))
        st.info(t("compare.left_out", name=name, reason=reason), icon=":material/info:")
    _show_labels([pair for pair in pairs if pair.get("by_label")], names)


def _group(compared: Json) -> list[Json]:
    """Return the groups of runs that answered the same rows; all runs where the API does not say."""
    everyone = [run["id"] for run in compared.get("runs") or ()]
    return compared.get("groups") or [{"runs": everyone, "rows": None}]


def _show_group(group: Json, pairs: list[Json], names: Names, *, several: bool) -> None:
    """Show what is said of the runs of a group, with its own conclusion."""
    own = [pair for pair in pairs if pair["first"] in group["runs"] and pair["second"] in group["runs"]]
    if not own:
        return
    if several:
        listed = ", ".join(display.plain(names.get(run, "")) for run in group["runs"])
        st.markdown(f"**{t('compare.group', names=listed, rows=display.number(group.get('rows')))}**")
    show_pairs(own, names)


def show_pairs(own: list[Json], names: Names) -> None:
    """Show what is said of pairs that were judged together."""
    apart = any(pair.get("distinguishable") for pair in own)
    icon = ":material/check_circle:" if apart else ":material/help:"
    (st.success if apart else st.warning)(_conclude(own, names), icon=icon)
    if len(own) > 1:
        _show_pairs(own, names)
    else:
        show_figures((t(f"compare.{name}"), value) for name, value in _describe_pair(own[0]).items())


def say_pair(pair: Json, names: Names) -> str:
    """Return the sentence of a pair as Markdown, from the parts that the API has."""
    shown = {
        "p": display.number(pair.get("p_value_adjusted"), 3),
        "rows": display.number(pair.get("rows")),
        **{
            place: display.plain(names.get(str(pair.get(place)), ""))
            for place in ("first", "second", "better", "worse")
        },
    }
    if pair.get("groups_needed") is not None:  # what was found is in the figures
        return t("compare.few_groups", groups=pair["groups"], needed=pair["groups_needed"])
    said = _say_difference(pair, shown)
    if pair.get("groups") is not None:
        return f"{said} {t('compare.by_group', groups=display.number(pair['groups']))}"
    return said


def _say_difference(pair: Json, shown: dict[str, str]) -> str:
    if pair.get("better") is None:
        return t("compare.sentence.even", **shown)
    low, high = pair.get("gain_interval") or (None, None)
    write = _points if is_right(pair) else _loss
    ends = {"gain": write(pair.get("gain")), "low": write(low), "high": write(high)}
    if is_right(pair):
        return t(f"compare.sentence.{pair.get('measure', 'right')}", **shown, **ends)
    return t("compare.sentence.loss", **shown, **ends, mean=t(f"compare.mean.{pair['measure']}"))


def _method_of(pair: Json) -> str:
    if pair.get("groups") is not None:
        return "groups"
    return "right" if is_right(pair) else "loss"


def is_right(pair: Json) -> bool:
    """Tell whether rows of a pair are right or wrong; if not they have losses."""
    return pair.get("measure", "right") in RIGHT


def _conclude(pairs: list[Json], names: Names) -> str:
    apart = [say_pair(pair, names) for pair in pairs if pair.get("distinguishable")]
    if len(pairs) > 1:
        counted = t("compare.pairs_apart", apart=len(apart), pairs=len(pairs))
        return "\n\n".join([counted, *apart])
    if apart or pairs[0].get("groups_needed") is not None:
        return say_pair(pairs[0], names)
    return f"{t('compare.not_distinguishable')} {say_pair(pairs[0], names)}"


def _show_pairs(pairs: list[Json], names: Names) -> None:
    rows = [
        {
            t("compare.pair"): _name_pair(pair, names),
            t("compare.better"): names.get(str(pair.get("better")), display.NOTHING),
            t("compare.apart"): t("form.yes") if pair["distinguishable"] else t("form.no"),
            **{t(f"compare.{name}"): value for name, value in _describe_pair(pair).items()},
        }
        for pair in pairs
    ]
    show_table(rows, alt=t("compare.verdict"))


def _describe_pair(pair: Json) -> dict[str, str]:
    """Return how far the better run of a pair is ahead, with the interval of that."""
    low, high = pair.get("gain_interval") or (None, None)
    write = _signed_points if is_right(pair) else _loss
    return {
        "lead": write(pair.get("gain")),
        "interval": t("compare.from_to", low=write(low), high=write(high)),
        "p_value": display.number(pair.get("p_value_adjusted", pair.get("p_value")), 3),
        "rows": display.number(pair.get("rows")),
        **({} if pair.get("groups") is None else {"groups": display.number(pair["groups"])}),
    }


def _show_labels(pairs: list[Json], names: Names) -> None:
    """Show how pairs differ by label, with a column for the pair where there are several."""
    if not pairs:
        return
    rows = []
    for pair in pairs:
        which = {t("compare.pair"): _name_pair(pair, names)} if len(pairs) > 1 else {}
        rows += [
            {
                **which,
                t("compare.one_label"): display.raw(entry.get("label", "")),
                t("compare.apart"): t("form.yes") if entry.get("distinguishable") else t("form.no"),
                t("compare.only_first"): display.number(entry.get("only_first_right")),
                t("compare.only_second"): display.number(entry.get("only_second_right")),
                t("compare.difference"): _signed_points(entry.get("difference")),
                t("compare.p_value"): display.number(entry.get("p_value_adjusted"), 3),
            }
            for entry in pair["by_label"]
        ]
    st.header(t("compare.labels"), anchor=False)
    apart, total = (sum(pair[name] for pair in pairs) for name in ("labels_distinguishable", "labels_total"))
    grouped = any(pair.get("groups") is not None for pair in pairs)
    st.caption(t(f"compare.labels_apart{'_by_group' if grouped else ''}", apart=apart, labels=total))
    show_table(rows, alt=t("compare.labels"))


def _name_pair(pair: Json, names: Names) -> str:
    return f"{names.get(pair['first'], '')} → {names.get(pair['second'], '')}"


def _points(share: Any) -> str:
    """Percentage points, with more digits where there is little."""
    if not isinstance(share, int | float):
        return display.NOTHING
    points = 100 * share
    return f"{points:.1f}" if abs(points) >= 1 or not points else f"{points:.2g}"


def _signed_points(share: Any) -> str:
    return t("unit.points", value=f"{100 * share:+.1f}") if isinstance(share, int | float) else display.NOTHING


def _loss(value: Any) -> str:
    return display.number(value, 3)
