"""Statistics of a data set: labels, lengths, vocabulary, duplicates and examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from finetune30.data.analysis.conversations import describe_conversations
from finetune30.data.conversations.views import has_conversations, with_contents
from finetune30.data.encoding import CountTokens
from finetune30.data.problem import Problem
from finetune30.data.texts import text_columns, texts_and_pairs
from finetune30.data.validation.near_duplicates import normalize
from finetune30.data.validation.set_rules import text_keys

PERCENTILES = (5, 25, 50, 75, 90, 95, 99)
#: Above this ratio of the largest to the smallest class a set counts as imbalanced.
BALANCED_RATIO = 3.0
#: The suggested max_length leaves at most this share of the rows truncated …
_TRUNCATED_SHARE = 0.01
#: … and is a multiple of this, which suits the hardware.
_LENGTH_STEP = 8
_WORDS = r"\p{Han}|[\w--\p{Han}]+"
_CHUNK_ROWS = 50_000
_TOP_WORDS = 20
_EXAMPLES = 3
_EXAMPLE_CHARACTERS = 160
_BINS = 30


def analyze_rows(
    rows: pl.DataFrame, problem: Problem, *, name: str = "", count_tokens: CountTokens | None = None
) -> dict[str, Any]:
    """Return the analysis of rows (columns split, texts, label_text) as a JSON tree.

    The top-level keys total_samples, label_counts, imbalance_ratio and is_balanced speak of the training rows;
    `splits` has the whole analysis of each split. Lengths are characters and words (a Han character counts as one) of
    the main text and, where `count_tokens` is given, tokens of the first two texts together.
    """
    splits = {
        str(split): _analyze_split(part, problem, count_tokens)
        for (split,), part in rows.group_by("split", maintain_order=True)
    }
    main = splits.get("train") or next(iter(splits.values()))
    head = {key: main[key] for key in ("total_samples", "label_counts", "imbalance_ratio", "is_balanced")}
    return {**head, "dataset_name": name, "problem_type": problem.name, "splits": splits}


def balance(counts: dict[str, int]) -> dict[str, Any]:
    """Return `imbalance_ratio` (largest to smallest class; null where a class is empty or there are no classes) and
    `is_balanced` (ratio at most 3).
    """
    if not counts or min(counts.values()) == 0:
        return {"imbalance_ratio": None, "is_balanced": not counts}
    ratio = max(counts.values()) / min(counts.values())
    return {"imbalance_ratio": round(ratio, 2), "is_balanced": ratio <= BALANCED_RATIO}


def describe_lengths(lengths: np.ndarray) -> dict[str, Any]:
    """Return mean, extremes, percentiles and a histogram of lengths (n,)."""
    if not len(lengths):
        return {"mean": None, "min": None, "max": None, "percentiles": {}, "histogram": {"edges": [], "counts": []}}
    top = max(int(np.percentile(lengths, 99.5)), 1)
    step = max(1, -(-top // _BINS))
    edges = np.arange(0, top + step, step)
    counts, _ = np.histogram(np.minimum(lengths, edges[-1]), bins=edges)
    return {
        "mean": round(float(lengths.mean()), 2),
        "min": int(lengths.min()),
        "max": int(lengths.max()),
        "percentiles": {str(p): float(np.percentile(lengths, p)) for p in PERCENTILES},
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def suggest_max_length(tokens: np.ndarray) -> int:
    """Return the least multiple of 8 that truncates at most 1 % of the rows."""
    needed = int(np.percentile(tokens, 100 * (1 - _TRUNCATED_SHARE), method="higher"))
    return -(-needed // _LENGTH_STEP) * _LENGTH_STEP


def count_words(texts: pl.Series) -> tuple[np.ndarray, pl.DataFrame]:
    """Return the number of words of every text (n,) and a frame of words with their counts, chunk by chunk."""
    lengths: list[np.ndarray] = []
    counts: pl.DataFrame | None = None
    for start in range(0, len(texts), _CHUNK_ROWS):
        words = texts[start : start + _CHUNK_ROWS].str.to_lowercase().str.extract_all(_WORDS)
        lengths.append(words.list.len().to_numpy())
        part = words.explode(empty_as_null=False).drop_nulls().rename("word").value_counts(name="count")
        counts = part if counts is None else pl.concat([counts, part]).group_by("word").agg(pl.col("count").sum())
    if counts is None:
        return np.zeros(0, dtype=np.int64), pl.DataFrame(schema={"word": pl.String, "count": pl.UInt32})
    return np.concatenate(lengths).astype(np.int64), counts


def _analyze_split(rows: pl.DataFrame, problem: Problem, count_tokens: CountTokens | None) -> dict[str, Any]:
    conversations, rows = rows, with_contents(rows)
    texts = rows[text_columns(rows)[0]].fill_null("")
    words, vocabulary = count_words(texts)
    lengths: dict[str, Any] = {
        "characters": describe_lengths(texts.str.len_chars().to_numpy().astype(np.int64)),
        "words": describe_lengths(words),
        "tokens": None,
        "suggested_max_length": None,
    }
    if count_tokens is not None and rows.height:
        tokens = np.array(count_tokens(*texts_and_pairs(conversations)).lengths, dtype=np.int64)
        lengths |= {"tokens": describe_lengths(tokens), "suggested_max_length": suggest_max_length(tokens)}
    counts = problem.count(rows["label_text"])
    return {
        "total_samples": rows.height,
        "unlabelled": rows["label_text"].null_count(),
        "label_counts": counts,
        **balance(counts),
        "label_values": _describe_quantity(rows["label_text"]) if problem.rules.quantity else None,
        "lengths": lengths,
        "vocabulary": _describe_vocabulary(vocabulary),
        "duplicates": _count_duplicates(rows),
        "examples": _pick_examples(rows, problem),
        "conversations": describe_conversations(conversations) if has_conversations(conversations) else None,
    }


def _describe_quantity(labels: pl.Series) -> dict[str, Any]:
    numbers = labels.cast(pl.Float64, strict=False).drop_nulls()
    values = numbers.filter(numbers.is_finite()).to_numpy()
    if not len(values):
        return {}
    counts, edges = np.histogram(values, bins=_BINS)
    return {
        "mean": round(float(values.mean()), 6),
        "standard_deviation": round(float(values.std()), 6),
        "min": float(values.min()),
        "max": float(values.max()),
        "histogram": {"edges": edges.round(6).tolist(), "counts": counts.tolist()},
    }


def _describe_vocabulary(counts: pl.DataFrame) -> dict[str, Any]:
    total = int(counts["count"].sum() or 0)
    top = counts.sort(["count", "word"], descending=[True, False]).head(_TOP_WORDS)
    return {
        "total_words": total,
        "distinct_words": counts.height,
        "words_seen_once": counts.filter(pl.col("count") == 1).height,
        "type_token_ratio": round(counts.height / total, 4) if total else None,
        "most_frequent": {word: int(count) for word, count in top.iter_rows()},
    }


def _count_duplicates(rows: pl.DataFrame) -> dict[str, int]:
    keys = text_keys(rows)
    distinct = keys.unique()
    return {
        "distinct_texts": len(distinct),
        "repeated_rows": rows.height - len(distinct),
        "same_but_for_case_and_punctuation": len(distinct) - normalize(distinct).n_unique(),
    }


def _pick_examples(rows: pl.DataFrame, problem: Problem) -> dict[str, list[str]]:
    """Return the first texts of every label (of a quantity: of its lowest and highest value)."""
    shown = pl.col(text_columns(rows)[0]).str.slice(0, _EXAMPLE_CHARACTERS)
    present = rows.filter(pl.col("label_text").is_not_null())
    if problem.rules.quantity:
        ordered = present.sort(pl.col("label_text").cast(pl.Float64, strict=False), maintain_order=True)
        ends = {"lowest": ordered.head(_EXAMPLES), "highest": ordered.tail(_EXAMPLES)}
        return {name: part.select(shown).to_series().to_list() for name, part in ends.items()}
    grouped = present.group_by("label_text", maintain_order=True).agg(shown.head(_EXAMPLES))
    return {str(label): list(texts) for label, texts in sorted(grouped.iter_rows())}
