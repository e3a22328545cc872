"""What the answers of a saved classifier are worth on rows that nothing of it was fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune30.data.problem import ANSWERS
from finetune30.problems.classification.answering import Answering
from finetune30.problems.classification.metrics import measure_multi_label, measure_single_label


def judge_answers(
    outputs: NDArray[np.float32],
    targets: NDArray[Any],
    label_names: Sequence[str],
    answering: Answering,
    *,
    several: bool,
) -> dict[str, Any]:
    """Return `eval_answers`; nothing where weights alone decide. outputs (n, classes) are logits, n at least 1.

    `f1` (macro) by the saved thresholds, of all rows, beside `f1_at_one_half`; `rows`, and `given`, those that are
    answered; `wrong` among these (None where there are none) beside `wrong_of_all`. `several`: each label is decided by
    itself, targets (n, classes) of 0 and 1; else they are class ids (n,).
    """
    if not answering.thresholds and not answering.least_confidence:
        return {}
    names = tuple(label_names)

    def f1_of(chosen: NDArray[np.bool_]) -> float:
        if several:
            return float(measure_multi_label(chosen, targets.astype(bool), names)["f1"])
        return float(measure_single_label(chosen.argmax(axis=1), targets, len(names))["f1"])

    decided = answering.decide(outputs, names, several=several)
    wanted = targets.astype(bool) if several else targets[:, None] == np.arange(len(names))
    is_wrong, is_given = (decided.chosen != wanted).any(axis=1), decided.confidence >= answering.least_confidence
    found = {
        "f1": f1_of(decided.chosen),
        "f1_at_one_half": f1_of(Answering().decide(outputs, names, several=several).chosen),
        "rows": len(outputs),
        "given": int(is_given.sum()),
        "wrong": float(is_wrong[is_given].mean()) if is_given.any() else None,
        "wrong_of_all": float(is_wrong.mean()),
    }
    return {ANSWERS: found}
