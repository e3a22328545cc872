"""The blocks that show what the answers of a saved classifier are worth on test rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune30.blocks import Block, Figure, Words
from finetune30.data.problem import ANSWERS
from finetune30.problems.shared.intervals import wilson_interval

_F1 = Words("F1 (macro) of answers, by the saved thresholds", "回答的 F1（macro，依儲存的門檻）")
_ONE_HALF = Words("at one half", "以一半為門檻")
_COVERAGE = Words("Rows answered (the others: not sure)", "有回答的資料（其餘：不確定）")
_WRONG = Words("Wrong among answered rows", "有回答的資料中答錯")
_OF_ALL = Words("of all rows", "所有資料")


def answer_figures(metrics: Mapping[str, Any]) -> list[Block]:
    """Return F1 by thresholds, the share that is answered, and how much of it is wrong; nothing without `eval_answers`.

    metrics: those of a look at test rows.
    """
    found: Any = metrics.get(ANSWERS)
    if not isinstance(found, Mapping):
        return []
    rows, given = found["rows"], found["given"]
    figures: list[Block] = [
        Figure(_F1, found["f1"], "percent", rows=rows, baseline=(_ONE_HALF, found["f1_at_one_half"])),
        Figure(_COVERAGE, given / rows, "percent", wilson_interval(given, rows), rows),
    ]
    if given:
        wrong = found["wrong"]
        interval, baseline = wilson_interval(round(wrong * given), given), (_OF_ALL, found["wrong_of_all"])
        figures.append(Figure(_WRONG, wrong, "percent", interval, given, baseline))
    return figures
