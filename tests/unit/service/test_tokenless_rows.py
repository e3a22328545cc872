"""Rows that give the model nothing to read: out of the training, and on every record with their reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune30.config import ExperimentConfig
from finetune30.errors import DataError, DataFileError
from finetune30.modeling.devices import choose_placement
from finetune30.modeling.predictor import Predictor
from finetune30.modeling.saved_targets import Reading, save_targets
from finetune30.service.datasets.operations import request_of_source
from finetune30.service.datasets.reports import check_data
from finetune30.service.execution.experiment import Experiment, build_experiment, load_inputs
from finetune30.settings import load_settings

GOOD = [f"the film was good number {n}" for n in range(60)]
#: Texts of five characters and more that BERT's normalizer drops, and one that has nothing to see.
ACUTE, ACCENTS, JOINERS = "\u0301", "\u0301\u0302\u0303\u0304\u0301\u0302", "\u200d\u200c\u200d\u200c\u200d\u200c"


@pytest.fixture
def base(tiny_model: Callable[..., Path], tmp_path: Path) -> Path:
    """A base whose tokenizer drops accents, as uncased BERT does."""
    return shutil.copytree(tiny_model(), tmp_path / "base")


def save(path: Path, texts: list[str]) -> Path:
    rows = [{"text": text, "label": ("bad", "good")[n % 2]} for n, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def build(base: Path, train: Path, evaluation: Path | None = None, **data: Any) -> tuple[Experiment, list[str]]:
    tree = {
        "model": {"name": str(base)},
        "lora": {"target_modules": "auto", "r": 2},
        "data": {
            "dataset_name": str(train),
            "eval_file": None if evaluation is None else str(evaluation),
            "max_length": 32,
            "gate": {"max_faulty_share": 0.2},
            **data,
        },
        "training": {"device": "cpu", "precision": "fp32"},
    }
    lines: list[str] = []
    inputs = load_inputs(ExperimentConfig.model_validate(tree), frozenset(), lines.append, None)
    return build_experiment(inputs, lines.append), lines


def test_they_are_set_aside_with_their_reason_in_every_record(base: Path, tmp_path: Path) -> None:
    train = save(tmp_path / "train.jsonl", [*GOOD[:10], ACCENTS, *GOOD[10:40], JOINERS, *GOOD[40:]])
    evaluation = save(tmp_path / "eval.jsonl", ["a fine film", ACCENTS + ACUTE, "a bad book", "a slow story"])
    experiment, lines = build(base, train, evaluation, gate={"max_faulty_share": 0.3})
    data = experiment.inputs.data
    aside = {"train.jsonl:11", "train.jsonl:42", "eval.jsonl:2"}
    assert (len(experiment.train_split), len(experiment.evaluation_split)) == (60, 3)
    assert aside.isdisjoint(experiment.train_split.row_ids + experiment.evaluation_split.row_ids)
    totals = data.ledger["totals"]
    assert (totals["train"]["input"], totals["train"]["used"], totals["train"]["dropped"]) == (62, 60, {"no_tokens": 2})
    assert totals["evaluation"]["dropped"] == {"no_tokens": 1}
    assert data.report["ledger"] == data.ledger
    assert (data.report["total_samples"], data.report["evaluation"]["total_samples"]) == (60, 3)
    found = {entry["row_id"]: entry for entry in data.report["findings"] if entry["rule"] == "no_tokens"}
    assert set(found) == aside
    assert (found["train.jsonl:42"]["file"], found["train.jsonl:42"]["line"]) == ("train.jsonl", 42)
    assert {(row["row_id"], row["reason"]) for row in data.quarantine.to_dicts()} == {(i, "no_tokens") for i in aside}
    assert data.version_rows["train"].height == 60
    assert "data: 2 train rows give the model no token of their own: train.jsonl:11, train.jsonl:42" in lines
    assert "ledger: train: 62 rows = 60 used + 2 no_tokens" in lines


def test_a_look_at_the_data_says_which_rows_a_training_sets_aside(base: Path, tmp_path: Path) -> None:
    train = save(tmp_path / "train.jsonl", [*GOOD[:10], ACCENTS, *GOOD[10:40], JOINERS, *GOOD[40:]])
    evaluation = save(tmp_path / "eval.jsonl", ["a fine film", "a bad book"])
    request = request_of_source(str(train), eval_file=str(evaluation), gate={"max_faulty_share": 0.01})
    said: list[str] = []
    seen = check_data(request, load_settings(), said.append, model=str(base))
    assert seen.quarantine.select("row_id", "reason").rows() == [
        ("train.jsonl:11", "no_tokens"),
        ("train.jsonl:42", "no_tokens"),
    ]
    assert seen.refusal is not None
    assert seen.refusal.startswith(
        "2 tokenless train rows (3.2%, allowed 1.0%: 2 no_tokens), for example train.jsonl:11"
    )
    blind = check_data(request, load_settings(), said.append)
    assert blind.quarantine.height == 0
    assert any("(no_tokens) is seen in the training; name a base model to see it here" in line for line in said)


def test_the_version_is_that_of_the_rows_that_are_left(base: Path, tmp_path: Path) -> None:
    evaluation = save(tmp_path / "eval.jsonl", ["a fine film", "a bad book"])
    without, _ = build(base, save(tmp_path / "a.jsonl", GOOD), evaluation)
    dirty, _ = build(base, save(tmp_path / "b.jsonl", [*GOOD, ACCENTS]), evaluation)
    assert dirty.inputs.data.digest == without.inputs.data.digest


def test_rows_split_off_for_the_evaluation_are_counted_where_they_came_from(base: Path, tmp_path: Path) -> None:
    train = save(tmp_path / "train.jsonl", [*GOOD, *[ACCENTS + ACUTE * n for n in range(6)]])
    experiment, _ = build(base, train, eval_fraction=0.5)
    dropped = [entry["dropped"].get("no_tokens", 0) for entry in experiment.inputs.data.ledger["files"]]
    assert sum(dropped) == 6
    assert len(experiment.train_split) + len(experiment.evaluation_split) == 60


def test_too_many_stop_the_run_and_the_limit_that_is_named_lets_it_go_on(base: Path, tmp_path: Path) -> None:
    train = save(tmp_path / "train.jsonl", [*GOOD, *[ACCENTS + ACUTE * n for n in range(20)]])
    evaluation = save(tmp_path / "eval.jsonl", ["a fine film", "a bad book"])
    with pytest.raises(DataError) as caught:
        build(base, train, evaluation)
    assert "20 train rows give the model no token of their own (25.0%, allowed 20.0%)" in caught.value.message
    assert caught.value.remedy == "fill those rows in or remove them, or raise data.gate.max_faulty_share"
    experiment, _ = build(base, train, evaluation, gate={"max_faulty_share": 0.3})
    assert len(experiment.train_split) == 60


def test_the_strict_gate_stops_at_the_first_with_its_place(base: Path, tmp_path: Path) -> None:
    train = save(tmp_path / "train.jsonl", [*GOOD, ACCENTS])
    with pytest.raises(DataFileError) as caught:
        build(
            base,
            train,
            save(tmp_path / "eval.jsonl", ["a fine film"]),
            gate={"mode": "strict", "off_rules": ["near_duplicate", "small_class"]},
        )
    assert (caught.value.file, caught.value.line) == ("train.jsonl", 61)
    assert "no_tokens" in caught.value.message


def test_nothing_else_than_such_rows_is_no_training(base: Path, tmp_path: Path) -> None:
    train = save(tmp_path / "train.jsonl", [ACCENTS + ACUTE * n for n in range(12)])
    with pytest.raises(DataError, match="none of the 12 train rows gives the model a token of its own"):
        build(base, train, save(tmp_path / "eval.jsonl", ["a fine film"]), gate={"mode": "report"})


def test_empty_texts_that_are_allowed_are_learnt_and_answered(base: Path, tmp_path: Path) -> None:
    train = save(tmp_path / "train.jsonl", [*GOOD, ACCENTS, "", " "])
    rules = {"allow_empty": True, "min_text_length": 0}
    experiment, _ = build(base, train, save(tmp_path / "eval.jsonl", ["a fine film"]), validation_rules=rules)
    assert len(experiment.train_split) == 63
    folder = tmp_path / "model"
    folder.mkdir()
    experiment.engine.save_adapter(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, folder / name)
    for allowed in (True, False):
        reading = Reading({"text": "text"}, marks_are_text=True, allow_empty=allowed)
        save_targets(folder, experiment.problem.name, experiment.problem.targets, 32, [], reading)
        predictor = Predictor(folder, choose_placement("cpu", "fp32"), experiment.problem.load_saved)
        found = predictor.find_tokenless(["fine", "", ACCENTS, JOINERS])
        assert found == ([] if allowed else [1, 2, 3])
