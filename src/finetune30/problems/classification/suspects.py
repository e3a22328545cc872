"""Training rows in order of doubt in their labels, with cleanlab."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetune30.data.problem import Targets
from finetune30.problems.classification.decisions import decide_one, decide_several, sigmoid, softmax

METHOD = "confident learning, Northcutt, Jiang & Chuang 2021 (JAIR 70), with cleanlab"
METHOD_MULTI = "mean self-confidence over the labels of a row (Kuan & Mueller 2022), with cleanlab"


def rank_single_label(rows: pl.DataFrame, outputs: NDArray[Any], targets: Targets) -> tuple[pl.DataFrame, str]:
    """See `finetune30.data.problem.Rank`; outputs are logits (n, classes)."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    names, ids = _classes(targets)
    probabilities = softmax(np.asarray(outputs, dtype=np.float64))
    labels = np.array([ids[name] for name in rows["label"]], dtype=np.int64)
    scores = get_label_quality_scores(labels, probabilities, method="self_confidence")
    issues = find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)
    best = [names[index] for index in decide_one(probabilities)]
    return _ordered(rows, best, scores, issues), METHOD


def rank_multi_label(rows: pl.DataFrame, outputs: NDArray[Any], targets: Targets) -> tuple[pl.DataFrame, str]:
    """See `finetune30.data.problem.Rank`; outputs are logits (n, classes)."""
    from cleanlab.multilabel_classification import filter as multi_filter
    from cleanlab.multilabel_classification import get_label_quality_scores as multi_scores

    names, ids = _classes(targets)
    logits = np.asarray(outputs, dtype=np.float64)
    probabilities = sigmoid(logits)
    given = [[ids[name] for name in json.loads(cell)] for cell in rows["label"]]
    scores = np.asarray(multi_scores(given, probabilities))
    issues = np.asarray(multi_filter.find_label_issues(given, probabilities))
    chosen = decide_several(logits)
    best = [json.dumps([names[i] for i in np.flatnonzero(row)], ensure_ascii=False) for row in chosen]
    return _ordered(rows, best, scores, issues), METHOD_MULTI


def _classes(targets: Targets) -> tuple[list[str], dict[str, int]]:
    names = list(targets["label_names"])
    return names, {name: index for index, name in enumerate(names)}


def _ordered(rows: pl.DataFrame, best: list[str], scores: NDArray[Any], issues: NDArray[Any]) -> pl.DataFrame:
    found = rows.with_row_index("row").with_columns(
        pl.Series("suggested_label", best, dtype=pl.String),
        pl.Series("score", scores, dtype=pl.Float64).round(6),
        pl.Series("is_suspect", issues, dtype=pl.Boolean),
    )
    return found.sort(["is_suspect", "score", "row"], descending=[True, False, False])
