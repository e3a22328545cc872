"""What rules take away is said as a share; a limit of length that nobody set takes nothing."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from finetune30.config import DataConfig, ExperimentConfig
from finetune30.config.loading import LoadedConfig
from finetune30.data.loading import load_rows
from finetune30.data.prepare import PreparedData, prepare_data
from finetune30.data.validation.quarantine import open_gate
from finetune30.data.validation.rule_shares import RuleShare
from finetune30.data.validation.validate import Validation, broken_rules, validate_rows
from finetune30.errors import DataError
from finetune30.problems import choose_problem
from finetune30.service.datasets.preview import preview_data
from finetune30.settings import Settings

GOOD = [(f"a text of a sensible length with the number {n}", "ab"[n % 2]) for n in range(90)]
LONG = [(f"{n} is where a long text begins " + "that goes on and on " * 60, "ab"[n % 2]) for n in range(10)]


def save(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("text", "label"), *rows])
    return path


def validate(path: Path, **data: Any) -> Validation:
    config = DataConfig(dataset_name=str(path), **data)
    return validate_rows(load_rows(config, lambda _: None, problem=choose_problem("auto")), config)


def prepare(path: Path, lines: list[str] | None = None, **data: Any) -> PreparedData:
    config = DataConfig(dataset_name=str(path), train_samples=None, eval_samples=None, **data)
    log = (lambda _: None) if lines is None else lines.append
    return prepare_data(config, problem=choose_problem("auto"), num_labels=2, seed=0, log=log)


def test_long_and_short_texts_stay_where_no_limit_is_set_and_are_counted(tmp_path: Path) -> None:
    path, lines = save(tmp_path / "a.csv", [*GOOD, *LONG, ("ok", "a")]), list[str]()
    data = prepare(path, lines)
    assert data.ledger["totals"]["train"]["dropped"] == {}
    assert data.report["rule_shares"] == [
        {
            "rule": rule,
            "split": "train",
            "rows": rows,
            "of": 101,
            "share": pytest.approx(rows / 101, abs=1e-6),
            "drops": False,
            "limit": limit,
            "setting": f"data.validation_rules.{key}",
        }
        for rule, rows, limit, key in (("too_short", 1, 5, "min_text_length"), ("too_long", 10, 500, "max_text_length"))
    ]
    said = "10 of 101 train rows (9.9%) are longer than 500 characters and stay, as data.validation_rules."
    assert any(line.startswith(f"data: {said}max_text_length is not set") for line in lines)


def test_a_limit_that_is_set_drops_rows_and_stops_above_the_allowed_share(tmp_path: Path) -> None:
    path, lines = save(tmp_path / "a.csv", [*GOOD, *LONG]), list[str]()
    limit = {"max_text_length": 500}
    with pytest.raises(DataError, match=r"10 faulty train rows \(10\.0%, allowed 1\.0%: 10 too_long\)") as caught:
        prepare(path, lines, validation_rules=limit)
    assert "data.validation_rules.max_text_length" in str(caught.value.remedy)
    # The share stands in the log before the run stops.
    dropped = "data: too_long drops 10 of 100 train rows (10.0%), by data.validation_rules.max_text_length (500)"
    assert dropped in lines
    data = prepare(path, validation_rules=limit, gate=open_gate(DataConfig().gate).model_dump())
    assert data.ledger["totals"]["train"]["dropped"] == {"too_long": 10}
    assert prepare(path, validation_rules={"max_text_length": None}).ledger["totals"]["train"]["dropped"] == {}


def test_a_rule_that_the_gate_names_is_applied_at_the_usual_length(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", [*GOOD, *LONG, ("ok", "a")])
    validation = validate(path, gate={"error_rules": ["too_long", "too_short"]})
    assert validation.rows.filter(validation.rows["reason"].is_not_null())["reason"].to_list() == [
        *["too_long"] * 10,
        "too_short",
    ]
    assert {(share.rule, share.rows, share.drops) for share in validation.shares} == {
        ("too_long", 10, True),
        ("too_short", 1, True),
    }


def test_a_recipe_that_names_a_rule_of_length_does_what_it_did_before_limits_could_be_unset(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", [*GOOD, *LONG, ("ok", "a")])
    unset, set_as_before = (
        DataConfig(dataset_name=str(path), validation_rules=rules)
        for rules in ({}, {"min_text_length": 5, "max_text_length": 500})
    )
    marks = []
    for config in (unset, set_as_before):
        loaded = load_rows(config, lambda _: None, problem=choose_problem("auto"))
        marks.append(broken_rules(loaded.rows, loaded, config, ["too_short", "too_long"]).to_list())
    assert marks[0] == marks[1]
    assert sum(marks[0]) == 11


def test_shares_are_of_the_rows_that_no_other_rule_drops(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", [*GOOD, *LONG, *[("", "a")] * 10, *[("no label is here at all", "")] * 5])
    shares = {share.rule: (share.rows, share.of) for share in validate(path).shares}
    assert shares == {"empty_text": (10, 110), "missing_label": (5, 105), "too_long": (10, 100)}


def test_ordinary_sets_lose_no_row_by_default(shared_data: Path) -> None:
    for name in ("trec", "banking77", "sst2_sentence"):
        shares = validate(shared_data / name, gate={"near_duplicates": False}).shares
        assert [share for share in shares if share.rule.startswith("too_")] == []
    (short,) = (s for s in validate(shared_data / "sst2", gate={"near_duplicates": False}).shares if not s.drops)
    assert (short.rule, short.split, short.of > 60_000) == ("too_short", "train", True)


def test_a_share_reads_as_a_sentence() -> None:
    assert RuleShare("leakage", "train", 3, 1000, True).describe() == "leakage drops 3 of 1,000 train rows (0.3%)"


def test_a_gate_that_only_reports_says_which_rows_stay_and_they_do(tmp_path: Path) -> None:
    twice = [("two people read this otherwise", "a"), ("two people read this otherwise", "b")]
    path = save(tmp_path / "a.csv", [*GOOD, *twice, ("", "a")])
    said: list[str] = []
    prepared = prepare(path, said, gate={"mode": "report"})
    shares = {share["rule"]: (share["drops"], share["setting"]) for share in prepared.report["rule_shares"]}
    assert shares["contradictory_label"] == (False, "data.gate.mode")
    assert shares["empty_text"][0] is True
    assert any(
        "contradictory_label marks 2 of" in line and line.endswith("they stay, as data.gate.mode is report")
        for line in said
    )
    dropped = {reason for totals in prepared.ledger["totals"].values() for reason in totals["dropped"]}
    assert dropped == {"empty_text"}


def test_a_look_shows_rows_as_the_gate_would_set_them_aside_and_is_not_stopped(tmp_path: Path) -> None:
    twice = [("two people read this otherwise", "a"), ("two people read this otherwise", "b")]
    path = save(tmp_path / "a.csv", [*GOOD[:20], *twice])
    for mode in ("quarantine", "strict"):
        config = ExperimentConfig.model_validate({"data": {"dataset_name": str(path), "gate": {"mode": mode}}})
        seen = preview_data(LoadedConfig(config, frozenset({"data.dataset_name"})), Settings(data_folder=tmp_path))
        assert seen["ledger"]["totals"]["train"]["dropped"] == {"contradictory_label": 2}
        (entry,) = (one for one in seen["report"]["gate"].values() if one["limit"] == "max_contradictory_share")
        assert entry["share"] > entry["allowed"]
