"""Thresholds of labels that are tuned for F1, where one half is not the best place to decide.

A threshold that was chosen on rows looks better on them than it is. What tuning brings is therefore told of rows that
the thresholds were not chosen on: in five parts, each decided by thresholds of the other four.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune30.problems.classification.answering import Answering
from finetune30.problems.classification.calibration import deal_folds
from finetune30.problems.classification.decisions import decide_one, decide_several
from finetune30.problems.classification.metrics import measure_multi_label, measure_single_label

#: Rows with and without a label below which a threshold of its own would be chosen by chance.
LEAST_ROWS = 50
#: Log-odds of a threshold lie within it both ways: a probability of 1 or 0 could not be told from it beyond.
_WIDEST_CUT = 14.0

Logits = NDArray[np.float64]


def measure_thresholds(
    scaled: Logits, targets: NDArray[Any], label_names: Sequence[str], *, several: bool
) -> dict[str, Any]:
    """Return tuned thresholds by label, and macro F1 with and without them; scaled (n, classes) are logits.

    `thresholds` are those of all rows, empty where there are too few; `f1` is with one half, `crossfitted_f1` of rows
    that the thresholds were not chosen on. `several`: each label is decided by itself, targets (n, classes) of 0 and 1;
    else they are class ids (n,) of two classes.
    """
    decided, names = np.empty_like(scaled), tuple(label_names)
    tune = plan_tuning(targets, names, several=several)
    for rest, part in deal_folds(len(scaled)):
        found = Answering(thresholds=tune(scaled[rest], targets[rest]))
        decided[part] = found.shift(scaled[part], names)
    return {
        "thresholds": tune(scaled, targets),
        "f1": _macro_f1(scaled, targets, names, several=several),
        "crossfitted_f1": _macro_f1(decided, targets, names, several=several),
    }


#: Logits and targets of some rows to the thresholds that are best for them, by label.
Tune = Callable[[Logits, NDArray[Any]], dict[str, float]]


def plan_tuning(targets: NDArray[Any], label_names: Sequence[str], *, several: bool) -> Tune:
    """Return what tunes thresholds on some of the rows that all have these targets; see `measure_thresholds`."""
    return (_plan_several if several else _plan_one)(targets, tuple(label_names))


def _plan_one(targets: NDArray[Any], names: tuple[str, ...]) -> Tune:
    """Tune the threshold of the rarer of two classes for macro F1."""
    rarer = int(2 * (targets == 1).sum() <= len(targets))
    suffices = _suffices(targets == rarer)

    def tune(scaled: Logits, labels: NDArray[Any]) -> dict[str, float]:
        margins = scaled[:, rarer] - scaled[:, 1 - rarer]
        return _name(names[rarer : rarer + 1], [_best_cut(margins, labels == rarer, _f1_of_both)]) if suffices else {}

    return tune


def _plan_several(targets: NDArray[Any], names: tuple[str, ...]) -> Tune:
    """Tune the threshold of each label for its F1; labels with few rows share that of all decisions."""
    suffices, have_own = _suffices(targets), [_suffices(column) for column in targets.T]

    def tune(scaled: Logits, labels: NDArray[Any]) -> dict[str, float]:
        if not suffices:
            return {}
        is_there = labels.astype(bool)
        common = _best_cut(scaled.ravel(), is_there.ravel(), _f1_of_present)
        cuts = [
            _best_cut(column, there, _f1_of_present) if has_own else common
            for column, there, has_own in zip(scaled.T, is_there.T, have_own, strict=True)
        ]
        return _name(names, cuts)

    return tune


def _suffices(is_there: NDArray[Any]) -> bool:
    """Tell whether there are rows enough, by all of them: the parts of a cross-fit are not asked again."""
    there = np.count_nonzero(is_there)
    return bool(min(there, is_there.size - there) >= LEAST_ROWS)


def _name(names: Sequence[str], cuts: Sequence[float]) -> dict[str, float]:
    """Return cuts of logits as probabilities."""
    return {name: float(1.0 / (1.0 + np.exp(-cut))) for name, cut in zip(names, cuts, strict=True)}


_Counts = NDArray[np.int64]
#: Counts for each cut (those answered that are right, those answered) and in all (those there, all) to what is wanted.
_Gain = Callable[[_Counts, _Counts, int, int], NDArray[np.float64]]


def _best_cut(scores: Logits, is_there: NDArray[np.bool_], gain: _Gain) -> float:
    """Return the score above which to answer, between two of scores (n,): of equally good ones the nearest to 0."""
    order = np.argsort(-scores, kind="stable")
    ordered, right = scores[order], np.cumsum(is_there[order], dtype=np.int64)
    cuts, answered = (ordered[:-1] + ordered[1:]) / 2, np.arange(1, len(scores))
    usable = (ordered[:-1] > ordered[1:]) & (np.abs(cuts) <= _WIDEST_CUT)
    if not usable.any():
        return 0.0
    gains = gain(right[:-1], answered, int(right[-1]), len(scores))[usable]
    best = cuts[usable][gains >= gains.max() - 1e-12]
    return float(best[np.abs(best).argmin()])


def _f1_of_present(right: _Counts, answered: _Counts, there: int, count: int) -> NDArray[np.float64]:
    return np.asarray(2.0 * right / (answered + there))


def _f1_of_both(right: _Counts, answered: _Counts, there: int, count: int) -> NDArray[np.float64]:
    absent = count - there
    right_absent = absent - (answered - right)
    return (_f1_of_present(right, answered, there, count) + 2.0 * right_absent / (count - answered + absent)) / 2


def _macro_f1(decided: Logits, targets: NDArray[Any], names: tuple[str, ...], *, several: bool) -> float:
    found: Mapping[str, Any] = (
        measure_multi_label(decide_several(decided), targets.astype(bool), names)
        if several
        else measure_single_label(decide_one(decided), targets, len(names))
    )
    return float(found["f1"])
