"""Verdicts: whether two runs that answered the same rows differ by more than chance, over all rows and by label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from finetune30.service.runs.by_label import are_sets, compare_labels
from finetune30.service.runs.comparable import Answered, Group, LeftOut
from finetune30.service.runs.sentences import name_apart, say_pair
from finetune30.service.statistics.by_group import by_group
from finetune30.service.statistics.groups import Codes, count_groups, groups_needed, join_groups
from finetune30.service.statistics.mcnemar import CONFIDENCE, PairedTest, adjust_holm, compare_paired
from finetune30.service.statistics.paired_losses import PairedLosses, compare_losses
from finetune30.values import say_count

#: Labels listed for a pair, those with the smallest p-values; counts are of all.
SHOWN_LABELS = 50

_RIGHT_METHOD = "McNemar, exact (1947); interval: Agresti and Min (2005); several pairs: Holm (1979)"
_GROUP_METHOD = (
    "paired permutation test, signs of groups (Phipson and Smyth 2010); interval: bootstrap of groups, BCa (Efron "
    "1987); several pairs: Holm (1979)"
)
_LOSS_METHOD = (
    "paired permutation test, signs (Phipson and Smyth 2010); interval: bootstrap, BCa (Efron 1987); several pairs: "
    "Holm (1979)"
)

Tree = dict[str, Any]


@dataclass(frozen=True)
class _Pair:
    """Two runs and how they compare; `labels` is empty where rows have none or one."""

    first: Answered
    second: Answered
    test: PairedTest | PairedLosses
    labels: dict[str, PairedTest]
    groups: Codes | None = None


def judge(groups: Sequence[Group], left_out: Sequence[LeftOut]) -> Tree:
    """Return verdict, pairs, groups and left_out of a comparison.

    Holm's adjustment is over every pair, and that of labels over every label of every pair: all are looked at together.
    """
    pairs = judge_pairs(groups)
    if pairs:
        verdict = pairs[0] if len(pairs) == 1 else _summarize(pairs)
    else:
        verdict = {"distinguishable": None, "message": f"not compared row by row: {_most_telling(left_out)}"}
    return {
        "verdict": verdict,
        "pairs": pairs,
        "groups": [_describe_group(group) for group in groups],
        "left_out": [{"run": one.run.id, "name": one.run.name, "reason": one.reason} for one in left_out],
    }


def judge_pairs(groups: Sequence[Group]) -> list[Tree]:
    """Return every pair of every group, all of them adjusted together."""
    pairs = [pair for group in groups for pair in _test(group)]
    pairs.sort(key=lambda pair: (pair.first.place, pair.second.place))
    names = name_apart([answered.run for group in groups for answered in group])
    adjusted = adjust_holm([pair.test.p_value for pair in pairs])
    of_labels = iter(adjust_holm([test.p_value for pair in pairs for test in pair.labels.values()]))
    described = []
    for pair, p_value in zip(pairs, adjusted, strict=True):
        tree = _describe_pair(pair, p_value) | _describe_labels(pair, [next(of_labels) for _ in pair.labels])
        described.append(tree | {"message": say_pair(tree, names, len(pairs))})
    return described


def _test(group: Group) -> list[_Pair]:
    """Return every pair of a group."""
    frames = [answered.outcomes.frame for answered in group]
    groups = join_groups([answered.outcomes.groups for answered in group])
    tests: dict[tuple[int, int], PairedTest] | dict[tuple[int, int], PairedLosses]
    labels: dict[tuple[int, int], dict[str, PairedTest]] = {}
    if not group[0].outcomes.is_loss:
        right = [frame["outcome"].to_list() for frame in frames]
        tests = {(a, b): compare_paired(right[a], right[b]) for a, b in combinations(range(len(group)), 2)}
        if groups is not None:
            tests = by_group(tests, np.asarray(right, dtype=np.float64).T, groups)
        predictions = [frame["prediction"] for frame in frames]
        if are_sets(frames[0]["label"], *predictions):
            labels = compare_labels(frames[0]["label"], predictions, groups)
    else:
        tests = compare_losses(np.stack([frame["outcome"].to_numpy() for frame in frames], axis=1), groups=groups)
    return [_Pair(group[a], group[b], test, labels.get((a, b), {}), groups) for (a, b), test in tests.items()]


def _describe_pair(pair: _Pair, adjusted: float) -> Tree:
    test = pair.test
    is_right, needed = isinstance(test, PairedTest), groups_needed(pair.groups)
    by_rows = _RIGHT_METHOD if is_right else _LOSS_METHOD
    return {
        "first": pair.first.run.id,
        "second": pair.second.run.id,
        "distinguishable": adjusted < 1 - CONFIDENCE if needed is None else None,
        "message": "",
        "measure": pair.first.outcomes.measure,
        "rows": test.rows,
        "groups": count_groups(pair.groups),
        "groups_needed": needed,
        "first_mean": pair.first.outcomes.mean,
        "second_mean": pair.second.outcomes.mean,
        "only_first_right": test.only_first_right if isinstance(test, PairedTest) else None,
        "only_second_right": test.only_second_right if isinstance(test, PairedTest) else None,
        "difference": test.difference,
        "interval": list(test.interval) if test.interval and needed is None else None,
        **_tell_better(pair),
        "p_value": test.p_value,
        "p_value_adjusted": adjusted,
        "method": by_rows if pair.groups is None else _GROUP_METHOD,
    }


def _tell_better(pair: _Pair) -> Tree:
    """Return which run is better on these rows and by how much; neither where both are equally good."""
    test = pair.test
    sign = 1 if isinstance(test, PairedTest) else -1  # of a loss, less is better
    ids = [pair.first.run.id, pair.second.run.id]
    if sign * test.difference < 0:
        sign = -sign
        ids.reverse()
    worse, better = ids if test.difference else (None, None)
    is_told = test.interval is not None and groups_needed(pair.groups) is None
    interval = sorted(sign * end for end in test.interval or ()) if is_told else None
    return {"better": better, "worse": worse, "gain": abs(test.difference), "gain_interval": interval}


def _describe_labels(pair: _Pair, adjusted: Sequence[float]) -> Tree:
    found: list[Tree] = [
        {
            "label": label,
            "only_first_right": test.only_first_right,
            "only_second_right": test.only_second_right,
            "difference": test.difference,
            "interval": list(test.interval),
            "p_value": test.p_value,
            "p_value_adjusted": p_value,
            "distinguishable": p_value < 1 - CONFIDENCE and groups_needed(pair.groups) is None,
        }
        for (label, test), p_value in zip(pair.labels.items(), adjusted, strict=True)
    ]
    found.sort(key=lambda entry: entry["p_value"])
    apart = sum(bool(entry["distinguishable"]) for entry in found)
    return {"by_label": found[:SHOWN_LABELS], "labels_total": len(found), "labels_distinguishable": apart}


def _summarize(pairs: Sequence[Tree]) -> Tree:
    apart = sum(bool(pair["distinguishable"]) for pair in pairs)
    return {
        "distinguishable": apart > 0,
        "message": f"{apart} of {say_count(len(pairs), 'pairs differ')} by more than chance{_without_verdict(pairs)}",
    }


def _without_verdict(pairs: Sequence[Tree]) -> str:
    without = sum(pair["groups_needed"] is not None for pair in pairs)
    return f"; {say_count(without, 'pairs have')} not enough groups" if without else ""


def _most_telling(left_out: Sequence[LeftOut]) -> str:
    """A run without predictions tells more than one that has lost its partner by that."""
    return next((one for one in left_out if one.is_unreadable), left_out[0]).reason


def _describe_group(group: Group) -> Tree:
    first = group[0].outcomes
    return {
        "runs": [answered.run.id for answered in group],
        "rows": first.frame.height,
        "measure": first.measure,
        "groups": count_groups(join_groups([answered.outcomes.groups for answered in group])),
    }
