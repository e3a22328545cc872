"""Texts of any name and number go through reading, cleaning and checking as `text` and `text_pair` do."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from finetune30.config.data import DataConfig
from finetune30.data.analysis.statistics import analyze_rows
from finetune30.data.cleaning import clean_rows
from finetune30.data.columns import detect_columns
from finetune30.data.encoding import TokenCounts
from finetune30.data.loading import LoadedRows, load_rows
from finetune30.data.problem import Role
from finetune30.data.sources.table import VERSION, SourceTable
from finetune30.data.texts import filled_texts, text_columns, texts_and_pairs
from finetune30.data.validation.set_rules import text_keys
from finetune30.data.validation.validate import Validation, validate_rows
from finetune30.errors import ConfigError, DataFileError
from finetune30.problems.shared.columns import TEXT_AND_LABEL
from support.toys.answers.data import PROBLEMS

(GRADED,) = PROBLEMS.values()
GOOD = "a river runs through the quiet valley"


def check(path: Path, *rows: tuple[str, str, str], **data: Any) -> tuple[LoadedRows, Validation]:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("grade", "asked", "answer"), *rows])
    config = DataConfig(dataset_name=str(path), **data)
    loaded = load_rows(config, lambda _: None, problem=GRADED)
    return loaded, validate_rows(loaded, config)


def found(validation: Validation) -> set[tuple[str, str, str]]:
    rows = validation.findings.select("rule", "cell", "place").rows()
    return {(rule, cell, place.partition(":")[2]) for rule, cell, place in rows if rule != "small_class"}


def rows_of(**texts: list[str | None]) -> pl.DataFrame:
    count = len(next(iter(texts.values())))
    kept = {"row_id": [f"a:{i}" for i in range(count)], "split": ["train"] * count, "label_text": ["x"] * count}
    schema = dict.fromkeys((*texts, "reason"), pl.String)
    return pl.DataFrame({**kept, **texts, "reason": [None] * count}, schema_overrides=schema)


@pytest.mark.parametrize("name", ["split", "label_text", "place", "score", "_group"])
def test_a_text_has_no_name_that_rows_use_themselves(name: str) -> None:
    with pytest.raises(ConfigError):
        Role(name, "text_column", "text")
    assert Role(name, "label_column", "target").name == name  # targets lie in columns of their own


def test_texts_are_told_from_what_is_kept_about_rows() -> None:
    rows = rows_of(first=["a", "b"], second=[None, None], third=["c", None])
    assert text_columns(rows) == ["first", "second", "third"]
    assert filled_texts(rows) == ["first", "third"]
    assert texts_and_pairs(rows) == (["a", "b"], ["c", ""])
    assert texts_and_pairs(rows.select("row_id", "first")) == (["a", "b"], None)


def test_rows_are_the_same_by_all_texts() -> None:
    rows = rows_of(one=["a", "a ", "a"], two=["b", "b", "c"], three=["d", " d", "d"])
    assert text_keys(rows).rank("dense").to_list() == [1, 1, 2]
    assert clean_rows(rows, [{"step": "white_space"}, {"step": "dedupe"}]).dropped == {"dedupe": 1}


def test_a_row_that_two_texts_have_changed_is_counted_once() -> None:
    rows = rows_of(one=["<b>a</b>", "b"], two=["<i>c</i>", "<i>d</i>"])
    cleaned = clean_rows(rows, [{"step": "remove_html"}])
    assert cleaned.changed == {"remove_html": 2}
    assert cleaned.rows.select("one", "two").rows() == [("a", "c"), ("b", "d")]


def test_every_text_that_is_not_optional_is_checked(tmp_path: Path) -> None:
    _, checked = check(
        tmp_path / "a.csv",
        ("1 poor", GOOD, "   "),
        ("1 poor", "hm", f"{GOOD} indeed"),
        ("1 poor", "who walked along here", "no"),
        ("1 poor", "which bird was that", f"{GOOD} " * 9),
        ("1 poor", "where does it end", "so so so so"),
        ("1 poor", "what grade is it", "the class: 1 is given"),
        ("1 poor", "is <b>this</b> so", "it <i>is</i> so"),
        ("1 poor", "what sound is it", "a \x07 bell"),
        validation_rules={"min_text_length": 3, "max_text_length": 200},
    )
    assert found(checked) == {
        ("empty_text", "completion", f"2:{len('1 poor,' + GOOD) + 2}"),
        ("too_short", "prompt", "3:8"),
        ("too_short", "completion", "4:30"),
        ("too_long", "completion", "5:28"),
        ("constant_text", "completion", "6:26"),
        ("html", "prompt", "8:8"),
        ("control_characters", "completion", "9:25"),
    }
    assert checked.rows["prompt"][6] == "is this so"
    assert checked.rows["completion"][6] == "it is so"


def test_rows_repeat_and_contradict_each_other_by_both_texts(tmp_path: Path) -> None:
    answer = "it ends in the old harbour of the town"
    _, checked = check(
        tmp_path / "a.csv",
        ("1 poor", GOOD, answer),
        ("1 poor", GOOD, "nobody here has ever seen where it goes"),
        ("1 poor", GOOD, answer),
        ("2 fair", GOOD, "nobody here has ever seen where it goes"),
        ("1 poor", GOOD, f"{answer}!"),
    )
    kinds = {(rule, place.partition(":")[0]) for rule, _, place in found(checked)}
    assert kinds == {
        ("exact_duplicate", "4"),
        ("contradictory_label", "3"),
        ("contradictory_label", "5"),
        ("near_duplicate", "6"),
    }


def test_an_analysis_counts_the_main_text_and_tokens_of_both(tmp_path: Path) -> None:
    def count(texts: list[str], pairs: list[str] | None) -> TokenCounts:
        return TokenCounts([len(f"{one} {two}") for one, two in zip(texts, pairs or (), strict=True)])

    loaded, _ = check(tmp_path / "a.csv", ("1 poor", "one two three", "four"), ("2 fair", "five", "six seven"))
    counted = analyze_rows(loaded.rows, GRADED, count_tokens=count)["splits"]["train"]
    assert counted["lengths"]["words"]["mean"] == 2
    assert counted["lengths"]["tokens"]["max"] == len("one two three four")
    assert counted["examples"] == {"1 poor": ["one two three"], "2 fair": ["five"]}


def table(kind: str, *names: str) -> SourceTable:
    return SourceTable("t", kind, pl.DataFrame({name: ["some words"] for name in names} | {"__line__": [1]}))


def test_a_version_is_read_by_the_names_of_the_roles() -> None:
    chosen = {"prompt": "prompt", "completion": "completion", "grade": "grade"}
    stored = table(VERSION, "completion", "grade", "prompt", "asked")
    assert detect_columns(stored, GRADED.columns, {}).chosen == chosen
    again = table("csv", "completion", "grade", "prompt", "asked")
    assert detect_columns(again, GRADED.columns, {}).chosen == chosen | {"prompt": "asked"}
    named = detect_columns(stored, GRADED.columns, {"prompt_column": "asked"})
    assert named.chosen == chosen | {"prompt": "asked"}


def test_names_of_pairs_are_those_of_a_text_with_an_optional_second_one() -> None:
    pairs = table("csv", "question", "sentence", "label")
    assert detect_columns(pairs, TEXT_AND_LABEL, {}).chosen["text_pair"] == "sentence"
    with pytest.raises(DataFileError) as refused:
        detect_columns(table("csv", "question", "sentence", "grade"), GRADED.columns, {})
    assert "name a column 'asked'" in str(refused.value.remedy)
