"""A verdict in words: which run is better than which, by how much, and whether that can be told from chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from finetune30.blocks import Words
from finetune30.store import Run
from finetune30.values import say_count

#: What the mean of a measure is called.
_MEANS = {
    "squared_error": "mean squared error",
    "absolute_error": "mean absolute error",
    "loss": "mean loss a row",
}
#: What is said of runs whose rows are right or wrong: (the better one, of both where they are equal).
_RIGHT = {
    "right": ("{better} is {points} points better than {worse}", "{one} and {other} are right equally often"),
    "exact": (
        "{better} gives the wanted answer word for word {points} points more often than {worse}",
        "{one} and {other} give the wanted answer word for word equally often",
    ),
    "expected": (
        "{better} gives answers that hold what is expected {points} points more often than {worse}",
        "{one} and {other} give answers that hold what is expected equally often",
    ),
}
#: The same sentences in Traditional Chinese.
_MEANS_ZH = {"squared_error": "均方誤差", "absolute_error": "平均絕對誤差", "loss": "每筆平均損失"}
_RIGHT_ZH = {
    "right": ("{better} 的正確率比 {worse} 高 {points} 個百分點", "{one} 與 {other} 的正確率相同"),
    "exact": ("{better} 逐字答對的比例比 {worse} 高 {points} 個百分點", "{one} 與 {other} 逐字答對的比例相同"),
    "expected": (
        "{better} 的回答含有預期內容的比例比 {worse} 高 {points} 個百分點",
        "{one} 與 {other} 的回答含有預期內容的比例相同",
    ),
}


def name_apart(runs: Sequence[Run]) -> dict[str, str]:
    """Return quoted names by id; names that stand for several of the runs come with the beginning of the id."""
    often = Counter(run.name for run in runs)
    return {run.id: f"'{run.name}'" + (f" ({run.id[:8]})" if often[run.name] > 1 else "") for run in runs}


def say_pair(pair: Mapping[str, Any], names: Mapping[str, str], pairs: int) -> str:
    """Return the sentence of one of `pairs` pairs, from the parts that the answer has."""
    rows = say_count(pair["rows"], "rows")
    if (needed := pair.get("groups_needed")) is not None:
        few = f"not enough groups: {pair['groups']}, at least {needed} are needed for a verdict"
        return f"{few}: {_say_difference(pair, names)} ({rows})"
    counted = f" after adjusting for {pairs} pairs" if pairs > 1 else ""
    certain = f"{_say_interval(pair)}p = {pair['p_value_adjusted']:.3g}{counted}"
    grouped = "" if pair.get("groups") is None else f", by group, {say_count(pair['groups'], 'groups', ',')}"
    said = f"{_say_difference(pair, names)} ({certain}; {rows}{grouped})"
    return said if pair["distinguishable"] else f"cannot be told from chance: {said}"


def pair_words(pair: Mapping[str, Any], names: Mapping[str, str]) -> Words:
    """Return what `say_pair` said of the only pair (its `message`), and the same in Traditional Chinese."""
    points = pair["measure"] in _RIGHT
    if pair["better"] is None:
        even = _RIGHT_ZH[pair["measure"]][1] if points else f"{{one}} 與 {{other}} 的{_MEANS_ZH[pair['measure']]}相等"
        said = even.format(one=names[pair["first"]], other=names[pair["second"]])
    else:
        more = f"{{better}} 的{_MEANS_ZH.get(pair['measure'])}比 {{worse}} 低 {pair['gain']:.3g}"
        more = _RIGHT_ZH[pair["measure"]][0] if points else more
        ends = {"better": names[pair["better"]], "worse": names[pair["worse"]], "points": _points(pair["gain"])}
        said = more.format(**ends)
    if (needed := pair.get("groups_needed")) is not None:
        few = f"群組數不足：只有 {pair['groups']} 組，至少需要 {needed} 組才能下結論："
        return Words(str(pair["message"]), f"{few}{said}（共 {pair['rows']} 筆）")
    interval = ""
    if pair["gain_interval"] is not None:
        low, high = pair["gain_interval"]
        written = f"{_points(low)} 到 {_points(high)} 個百分點" if points else f"{low:.3g} 到 {high:.3g}"
        interval = f"95 % 信賴區間 {written}，"
    chance = "" if pair["distinguishable"] else "差異可能只是偶然："
    grouped = "" if pair.get("groups") is None else f"，以群組計，共 {pair['groups']} 組"
    certain = f"{interval}p = {pair['p_value_adjusted']:.3g}，共 {pair['rows']} 筆{grouped}"
    return Words(str(pair["message"]), f"{chance}{said}（{certain}）")


def _say_difference(pair: Mapping[str, Any], names: Mapping[str, str]) -> str:
    gain, said = pair["gain"], _RIGHT.get(pair["measure"])
    mean = _MEANS.get(pair["measure"], "")
    if pair["better"] is None:
        one, other = names[pair["first"]], names[pair["second"]]
        return said[1].format(one=one, other=other) if said else f"the {mean} of {one} and {other} is equal"
    better, worse = names[pair["better"]], names[pair["worse"]]
    if said:
        return said[0].format(better=better, worse=worse, points=_points(gain))
    return f"the {mean} of {better} is {gain:.3g} lower than that of {worse}"


def _say_interval(pair: Mapping[str, Any]) -> str:
    if pair["gain_interval"] is None:
        return ""
    low, high = pair["gain_interval"]
    if pair["measure"] in _RIGHT:
        return f"95 % interval {_points(low)} to {_points(high)} points, "
    return f"95 % interval {low:.3g} to {high:.3g}, "


def _points(share: float) -> str:
    """Percentage points, with more digits where there is little."""
    points = 100 * share
    return f"{points:.1f}" if abs(points) >= 1 or not points else f"{points:.2g}"
