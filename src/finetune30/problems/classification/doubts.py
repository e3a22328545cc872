"""Whether an evaluation shows that classes were learnt, or only what answering without reading reaches too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from finetune30.blocks import Words
from finetune30.problems.shared.doubts import NOT_ABOVE_BASELINE, ONE_ANSWER
from finetune30.problems.shared.intervals import mean_interval, wilson_interval
from finetune30.training.problem import Doubt


def doubt_single_label(predicted: NDArray[np.int64], labels: NDArray[np.int64], names: tuple[str, ...]) -> list[Doubt]:
    """Doubt one class for all rows; else an accuracy whose 95 % interval does not lie above the most frequent class.

    Class ids (n,). The interval is Wilson's (1927), the one that the result shows.
    """
    count = len(labels)
    if not count:
        return []
    right = int((predicted == labels).sum())
    if (predicted == predicted[0]).all() and right < count:
        return [_one_answer(names[int(predicted[0])], right / count, count)]
    sizes = np.bincount(labels, minlength=len(names))
    share = float(sizes.max()) / count
    if wilson_interval(right, count)[0] > share:
        return []
    return [_not_above(Words("accuracy", "準確率"), right, count, names[int(sizes.argmax())], share)]


def doubt_multi_label(predicted: NDArray[np.bool_], labels: NDArray[np.bool_], names: tuple[str, ...]) -> list[Doubt]:
    """Doubt one set of classes for all rows; else scores that do not lie above those of the most frequent set.

    Memberships (n, classes). It is enough that one score does: the exact matches (Wilson's interval against the share
    of the set) or the micro F1 (interval of the difference; against the most frequent set that is not empty, since the
    empty one has none).
    """
    count = len(labels)
    if not count:
        return []
    right = int((predicted == labels).all(axis=1).sum())
    if (predicted == predicted[0]).all() and right < count:
        return [_one_answer(_spell(predicted[0], names), right / count, count)]
    _, firsts, sizes = np.unique(np.packbits(labels, axis=1), axis=0, return_index=True, return_counts=True)
    share = float(sizes.max()) / count
    if wilson_interval(right, count)[0] > share:
        return []
    filled = labels[firsts].any(axis=1)
    if filled.any():
        usual = labels[firsts[np.where(filled, sizes, 0).argmax()]]
        if _gain_interval(predicted, np.broadcast_to(usual, labels.shape), labels)[0] > 0:
            return []
    most = _spell(labels[firsts[sizes.argmax()]], names)
    return [_not_above(Words("exact match", "完全相符率"), right, count, most, share)]


def _gain_interval(
    predicted: NDArray[np.bool_], other: NDArray[np.bool_], labels: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the 95 % interval of the micro F1 of predictions less that of others, on the same rows.

    Micro F1 is a ratio of sums over rows, so its error is that of the mean of its linearised rows (Cochran 1977,
    Sampling Techniques, section 6.3).
    """
    values = []
    for answers in (predicted, other):
        hits = 2.0 * (answers & labels).sum(axis=1)
        sizes = (answers.sum(axis=1) + labels.sum(axis=1)).astype(np.float64)
        f1 = hits.sum() / sizes.sum()  # some label is true where this is asked, so nothing is divided by 0
        values.append(f1 + (hits - f1 * sizes) / sizes.mean())
    return mean_interval(values[0] - values[1])


def _one_answer(answer: str, share: float, count: int) -> Doubt:
    en = f"all {count:,} evaluation rows got the same answer, '{answer}' (right for {100 * share:.1f} %)"
    zh = f"{count:,} 筆評估資料全部得到同一個答案「{answer}」（答對 {100 * share:.1f} %）"
    return Doubt(ONE_ANSWER, Words(en, zh))


def _not_above(score: Words, right: int, count: int, answer: str, share: float) -> Doubt:
    low, high = (100 * end for end in wilson_interval(right, count))
    value, usual = 100 * right / count, 100 * share
    en = (
        f"{score.en} {value:.1f} % on {count:,} evaluation rows (95 % interval {low:.1f} to {high:.1f} %) is not "
        f"clearly above the {usual:.1f} % of always answering '{answer}'"
    )
    zh = (
        f"{count:,} 筆評估資料的{score.zh} {value:.1f} %（95 % 信賴區間 {low:.1f} 至 {high:.1f} %）"
        f"未能明顯高於一律答「{answer}」的 {usual:.1f} %"
    )
    return Doubt(NOT_ABOVE_BASELINE, Words(en, zh))


def _spell(members: NDArray[np.bool_], names: tuple[str, ...]) -> str:
    return ", ".join(name for name, has in zip(names, members.tolist(), strict=True) if has) or "(none)"
