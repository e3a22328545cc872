"""Analysis: documented keys, numbers that can be counted by hand, and drift with its test."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune30.data.analysis.drift import compare_counts, compare_rows
from finetune30.data.analysis.statistics import analyze_rows, balance, count_words, suggest_max_length
from finetune30.data.encoding import TokenCounts
from finetune30.problems import load_problem

SINGLE = load_problem("single_label_classification")


def rows_of(texts, labels, split="train"):
    columns = {"split": [split] * len(texts), "text": texts, "text_pair": None, "label_text": labels}
    return pl.DataFrame(columns, schema_overrides={"text_pair": pl.String, "label_text": pl.String})


def test_analysis_has_the_documented_keys_and_counts():
    rows = rows_of(["a bb", "a  bb", "ccc", "A bb!"], ["1", "0", "1", "1"])
    analysis = analyze_rows(rows, SINGLE, name="mine")
    assert {key: analysis[key] for key in ("total_samples", "label_counts", "imbalance_ratio", "is_balanced")} == {
        "total_samples": 4,
        "label_counts": {"0": 1, "1": 3},
        "imbalance_ratio": 3.0,
        "is_balanced": True,
    }
    train = analysis["splits"]["train"]
    assert train["vocabulary"]["most_frequent"] == {"a": 3, "bb": 3, "ccc": 1}
    assert train["vocabulary"]["words_seen_once"] == 1
    assert train["duplicates"] == {"distinct_texts": 4, "repeated_rows": 0, "same_but_for_case_and_punctuation": 2}
    assert train["examples"] == {"0": ["a  bb"], "1": ["a bb", "ccc", "A bb!"]}
    assert (train["lengths"]["characters"]["min"], train["lengths"]["characters"]["max"]) == (3, 5)


def test_imbalance_above_three_is_not_balanced():
    assert balance({"a": 31, "b": 10}) == {"imbalance_ratio": 3.1, "is_balanced": False}
    assert balance({"a": 5, "b": 0}) == {"imbalance_ratio": None, "is_balanced": False}
    assert balance({}) == {"imbalance_ratio": None, "is_balanced": True}


def test_han_characters_count_as_words():
    lengths, words = count_words(pl.Series(["我愛 Python 3", "", "don't"]))
    assert lengths.tolist() == [4, 0, 2]
    assert set(words["word"]) == {"我", "愛", "python", "3", "don", "t"}


def test_tokens_give_a_max_length_that_truncates_one_percent():
    rows = rows_of([f"text {index}" for index in range(200)], ["0", "1"] * 100)
    numbers = [int(text.split()[1]) for text in rows["text"]]
    analysis = analyze_rows(rows, SINGLE, count_tokens=lambda texts, pairs: TokenCounts(numbers))
    lengths = analysis["splits"]["train"]["lengths"]
    assert lengths["suggested_max_length"] == 200
    assert lengths["tokens"]["max"] == 199


@settings(max_examples=100, deadline=None)
@given(tokens=st.lists(st.integers(1, 5000), min_size=1, max_size=300))
def test_suggested_length_truncates_at_most_one_percent(tokens):
    suggested = suggest_max_length(np.array(tokens))
    assert suggested % 8 == 0
    assert sum(token > suggested for token in tokens) <= 0.01 * len(tokens)


def test_multi_label_rows_count_for_each_of_their_labels():
    analysis = analyze_rows(rows_of(["a", "b"], ['["x", "y"]', '["x"]']), load_problem("multi_label_classification"))
    assert analysis["label_counts"] == {"x": 2, "y": 1}


def test_regression_describes_its_values():
    analysis = analyze_rows(rows_of(["a", "b", "c"], ["1.5", "2.5", "3.5"]), load_problem("regression"))
    assert analysis["label_counts"] == {}
    assert analysis["splits"]["train"]["label_values"]["mean"] == 2.5


def test_regression_without_finite_values_is_described_too():
    analysis = analyze_rows(rows_of(["a", "b", "c"], ["inf", "1.5", "nan"]), load_problem("regression"))
    assert analysis["splits"]["train"]["label_values"]["max"] == 1.5
    analysis = analyze_rows(rows_of(["a"], ["nan"]), load_problem("regression"))
    assert analysis["splits"]["train"]["label_values"] == {}


def test_label_drift_is_the_textbook_chi_squared():
    tree = compare_counts({"a": 50, "b": 50}, {"a": 80, "b": 20})
    # by hand: expected 65 and 35 in each row, so 4 terms: 2 * 15**2 / 65 + 2 * 15**2 / 35
    assert tree["statistic"] == pytest.approx(2 * 15**2 / 65 + 2 * 15**2 / 35, abs=1e-6)
    assert tree["degrees_of_freedom"] == 1
    assert tree["differs"]
    assert "Pearson 1900" in tree["test"]
    assert not compare_counts({"a": 500, "b": 500}, {"a": 51, "b": 49})["differs"]


def test_drift_sees_other_lengths_and_words_and_none_between_halves():
    short = rows_of([f"word{index % 50} here" for index in range(600)], ["0", "1"] * 300)
    long = rows_of([f"word{index % 50} here and a good deal more of it" for index in range(600)], ["0", "1"] * 300)
    drift = compare_rows(short, long, SINGLE)
    assert (drift["labels"]["differs"], drift["lengths"]["differs"], drift["drift"]) == (False, True, True)
    assert drift["vocabulary"]["unknown_words"] == 7
    assert not compare_rows(short[:300], short[300:], SINGLE)["drift"]
