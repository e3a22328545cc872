"""From a configuration to an engine: what the base model already is, is kept and said."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from finetune30.config import ExperimentConfig
from finetune30.data.batching import collate
from finetune30.errors import ModelError
from finetune30.modeling.devices import Placement
from finetune30.service.execution.experiment import Experiment, build_experiment, load_inputs
from support.tiny_models import save_with_head

HEAD = ("contradiction", "neutral", "entailment")
MARKS = {"good": "entailment", "fine": "neutral", "bad": "contradiction"}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Rows of three labels, whose order by name is not that of HEAD."""
    path = tmp_path / "rows.csv"
    texts = product(("film", "book", "room", "food", "staff"), ("again", "so fast", "and nice"), MARKS.items())
    with path.open("w", encoding="utf-8", newline="") as stream:
        listed = [(f"the {noun} was {mark} {end}", label) for noun, end, (mark, label) in texts]
        csv.writer(stream).writerows([("text", "label"), *listed])
    return path


def configure(model: Path, rows: Path, **training: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        {
            "model": {"name": str(model), "num_labels": 3, "dropout": 0.0},
            "lora": {"target_modules": "auto", "r": 2},
            "data": {"dataset_name": str(rows), "max_length": 24},
            "training": {"device": "cpu", "precision": "fp32", **training},
        }
    )


def build(config: ExperimentConfig) -> tuple[Experiment, list[str]]:
    lines: list[str] = []
    inputs = load_inputs(config, frozenset(), lines.append, None)
    return build_experiment(inputs, lines.append), lines


@pytest.mark.parametrize(("family", "engine"), [("bart", "general"), ("bert", "general"), ("bert", "packed")])
def test_rows_of_a_given_head_mean_what_they_meant(
    tiny_model: Callable[..., Path], tmp_path: Path, rows: Path, family: str, engine: str
) -> None:
    folder = save_with_head(tiny_model(family), tmp_path / "nli", HEAD)
    experiment, lines = build(configure(folder, rows, engine=engine))
    assert experiment.problem.targets["label_names"] == list(HEAD)
    assert f"labels: in the order of the head of '{folder}': contradiction, neutral, entailment" in lines
    split, texts = experiment.evaluation_split, experiment.inputs.data.evaluation["text"].to_list()
    batch = collate(split, np.arange(len(split)), experiment.engine.pad_token_id)
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        wanted = plain(**AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(experiment.engine.outputs(batch), wanted, atol=1e-5)
    # The rows' labels are numbered in the same order.
    assert [HEAD[label] for label in split.targets] == [
        next(label for mark, label in MARKS.items() if f" {mark} " in text) for text in texts
    ]


def test_data_are_the_same_whatever_head_learns_them(
    tiny_model: Callable[..., Path], tmp_path: Path, rows: Path
) -> None:
    given, _ = build(configure(save_with_head(tiny_model("bert"), tmp_path / "nli", HEAD), rows))
    bare, lines = build(configure(tiny_model("bert"), rows))
    assert given.inputs.data.digest == bare.inputs.data.digest
    assert bare.problem.targets["label_names"] == sorted(HEAD)
    assert not [line for line in lines if line.startswith("labels:")]


def test_head_with_other_labels_is_trained_further_and_said(
    tiny_model: Callable[..., Path], tmp_path: Path, rows: Path
) -> None:
    folder = save_with_head(tiny_model("bert"), tmp_path / "stars", ("low", "middle", "high"))
    experiment, lines = build(configure(folder, rows))
    assert experiment.problem.targets["label_names"] == ["contradiction", "entailment", "neutral"]
    assert (
        f"labels: the head of '{folder}' is trained further, under other labels: "
        "low as contradiction, middle as entailment, high as neutral"
    ) in lines


@pytest.mark.parametrize("engine", ["general", "packed"])
def test_head_of_another_size_is_left_out_and_said(
    tiny_model: Callable[..., Path], tmp_path: Path, rows: Path, engine: str
) -> None:
    folder = save_with_head(tiny_model("bert"), tmp_path / "stars", ("low", "high"))
    experiment, lines = build(configure(folder, rows, engine=engine))
    assert (
        f"head: that of '{folder}' has 2 outputs (low, high), asked for are 3: it is left out and a new one is trained"
    ) in lines
    assert experiment.left_out_head == ("low", "high")
    (_, weight), *_ = [pair for pair in experiment.engine.adapter_state().items() if "classifier.weight" in pair[0]]
    assert len(weight) == 3


def test_head_that_is_kept_or_missing_is_not_left_out(
    tiny_model: Callable[..., Path], tmp_path: Path, rows: Path
) -> None:
    for model in (save_with_head(tiny_model("bert"), tmp_path / "nli", HEAD), tiny_model("bert")):
        experiment, lines = build(configure(model, rows))
        assert experiment.left_out_head == ()
        assert not [line for line in lines if line.startswith("head:")]


@pytest.mark.parametrize(
    ("saved", "order"),
    [
        (["contradiction", "entailment", "neutral"], ["contradiction", "entailment", "neutral"]),
        (["neutral", "contradiction", "entailment"], ["neutral", "contradiction", "entailment"]),
        ([], ["contradiction", "entailment", "neutral"]),  # weights of a checkpoint, in the order of the data
        (None, list(HEAD)),  # nothing says what the rows of the saved head are
    ],
)
def test_adapter_to_start_from_says_the_order_of_the_labels(
    tiny_model: Callable[..., Path], tmp_path: Path, rows: Path, saved: list[str] | None, order: list[str]
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    if saved is not None:
        (start / "labels.json").write_text(json.dumps({"label_names": saved}))
    folder = save_with_head(tiny_model("bert"), tmp_path / "nli", HEAD)
    experiment, _ = build(configure(folder, rows, start_adapter=str(start)))
    assert experiment.problem.targets["label_names"] == order


def test_precision_on_the_record_is_the_one_that_was_computed_in(tiny_model: Callable[..., Path], rows: Path) -> None:
    lines: list[str] = []
    inputs = load_inputs(configure(tiny_model("xlnet"), rows, precision="auto"), frozenset(), lines.append, None)
    experiment = build_experiment(replace(inputs, placement=Placement("cpu", "bf16", "test")), lines.append)
    assert experiment.inputs.placement.precision == experiment.engine.precision == "fp32"
    assert experiment.inputs.config.training.precision == "auto"
    assert any(line.startswith("the model cannot be computed in bf16") and "fp32" in line for line in lines)


def test_quantised_model_is_refused_before_rows_are_read(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "quantised"
    shutil.copytree(tiny_model("bert"), folder)
    described = json.loads((folder / "config.json").read_text())
    described["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(ModelError, match=r"quantised \(bitsandbytes\)"):
        load_inputs(configure(folder, tmp_path / "no-such-rows.csv"), frozenset(), lambda _: None, None)
