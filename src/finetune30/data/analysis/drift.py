"""Do two sets of rows differ more than chance explains? Labels and lengths, each with its test and source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from finetune30.data.analysis.statistics import count_words
from finetune30.data.conversations.views import with_contents
from finetune30.data.problem import Problem
from finetune30.data.texts import text_columns

#: Below this p-value a difference counts as more than chance.
SIGNIFICANCE = 0.01
#: Effect sizes below these are too small to matter, however many rows prove them (Cohen 1988, chapter 7: w = 0.1).
SMALL_CRAMERS_V, SMALL_KS = 0.1, 0.1

CHI_SQUARED = "Pearson chi-squared test of homogeneity (Pearson 1900), effect: Cramér's V (Cramér 1946, page 282)"
KOLMOGOROV_SMIRNOV = "two-sample Kolmogorov-Smirnov test (Smirnov 1939), effect: the statistic D itself"


def compare_rows(reference: pl.DataFrame, other: pl.DataFrame, problem: Problem) -> dict[str, Any]:
    """Compare two sets of rows (main text and label_text); return tests of labels and lengths as a JSON tree.

    `drift` says whether any difference is both more than chance (p < 0.01) and not small (V or D at least 0.1).
    """
    if problem.rules.quantity:
        labels = _compare_values(*(_numbers(rows["label_text"]) for rows in (reference, other)))
    else:
        labels = compare_counts(*(problem.count(rows["label_text"]) for rows in (reference, other)))
    texts = [with_contents(rows)[text_columns(rows)[0]] for rows in (reference, other)]
    lengths = _compare_values(*(column.str.len_chars().to_numpy() for column in texts))
    return {
        "rows": [reference.height, other.height],
        "labels": labels,
        "lengths": lengths,
        "vocabulary": _compare_words(*texts),
        "drift": labels["differs"] or lengths["differs"],
    }


def compare_counts(reference: Mapping[str, int], other: Mapping[str, int]) -> dict[str, Any]:
    """Compare two label distributions. Source: see CHI_SQUARED."""
    from scipy.stats import chi2_contingency

    names = sorted({*reference, *other})
    table = np.array([[counts.get(name, 0) for name in names] for counts in (reference, other)], dtype=np.int64)
    tree: dict[str, Any] = {
        "test": CHI_SQUARED,
        "shares": {
            name: [round(float(share), 6) for share in column / np.maximum(table.sum(axis=1), 1)]
            for name, column in zip(names, table.T, strict=True)
        },
    }
    if len(names) < 2 or (table.sum(axis=1) == 0).any():
        return tree | {"statistic": 0.0, "p_value": 1.0, "degrees_of_freedom": 0, "effect": 0.0, "differs": False}
    statistic, p_value, degrees, _ = chi2_contingency(table, correction=False)
    effect = float(np.sqrt(statistic / table.sum()))  # two rows: the smaller dimension less one is 1
    return tree | {
        "statistic": round(float(statistic), 6),
        "p_value": float(p_value),
        "degrees_of_freedom": int(degrees),
        "effect": round(effect, 6),
        "differs": bool(p_value < SIGNIFICANCE and effect >= SMALL_CRAMERS_V),
    }


def _compare_values(reference: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """Compare two samples of numbers. Source: see KOLMOGOROV_SMIRNOV."""
    from scipy.stats import ks_2samp

    if not len(reference) or not len(other):
        return {"test": KOLMOGOROV_SMIRNOV, "statistic": 0.0, "p_value": 1.0, "effect": 0.0, "differs": False}
    result = ks_2samp(reference, other, method="asymp")
    statistic, p_value = float(result.statistic), float(result.pvalue)
    return {
        "test": KOLMOGOROV_SMIRNOV,
        "means": [round(float(reference.mean()), 4), round(float(other.mean()), 4)],
        "statistic": round(statistic, 6),
        "p_value": p_value,
        "effect": round(statistic, 6),
        "differs": bool(p_value < SIGNIFICANCE and statistic >= SMALL_KS),
    }


def _compare_words(reference: pl.Series, other: pl.Series) -> dict[str, Any]:
    known = count_words(reference)[1]
    words = count_words(other)[1]
    unknown = words.join(known, on="word", how="anti")
    total = int(words["count"].sum() or 0)
    return {
        "unknown_words": unknown.height,
        "unknown_share": round(int(unknown["count"].sum() or 0) / total, 6) if total else 0.0,
    }


def _numbers(labels: pl.Series) -> np.ndarray:
    return labels.cast(pl.Float64, strict=False).drop_nulls().to_numpy()
