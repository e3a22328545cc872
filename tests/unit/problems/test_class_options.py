"""Weights of classes, smoothed targets: what is learnt from changes, what is measured does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from finetune30.config import ExperimentConfig
from finetune30.data.batching import Batch
from finetune30.errors import ConfigError
from finetune30.modeling.base import find_base
from finetune30.problems.classification.class_weights import weigh_classes, weigh_presence
from finetune30.problems.trainables import load_trainable
from finetune30.training.paths import build_engine
from support.engines import CPU_FP32, configure, random_batch, switch_off_dropout

LABELS = ["ham", "spam", "a=b"]
ROWS = np.array([0] * 90 + [1] * 9 + [2])
SEVERAL = np.array([[1, 0]] * 3 + [[0, 1]] * 1 + [[0, 0]] * 36, dtype=np.float32)


def head(problem_type: str, targets: Any, **training: Any) -> Any:
    config = ExperimentConfig.model_validate({"training": training})
    nowhere: Any = None
    problem = load_trainable(problem_type, {"label_names": LABELS[: 2 if targets is SEVERAL else 3]})
    split: Any = SimpleNamespace(targets=targets)
    return problem.with_base(nowhere, config, lambda _: None).with_baseline_of(split)


@pytest.mark.parametrize("wanted", ["balanced", "effective", ["spam=5", "a=b=0.5"]])
def test_rows_weigh_one_on_average_whatever_the_weights(wanted: Any) -> None:
    weights = weigh_classes(wanted, ROWS, LABELS)
    assert weights is not None
    assert weights[ROWS].mean() == pytest.approx(1.0, rel=1e-6)
    assert weights[1] > weights[0]


def test_weights_are_those_of_the_field() -> None:
    balanced = weigh_classes("balanced", ROWS, LABELS)
    assert balanced == pytest.approx(100 / (3 * np.array([90, 9, 1])), rel=1e-6)
    effective = (1 - 0.999) / (1 - 0.999 ** np.array([90.0, 9, 1]))
    assert weigh_classes("effective", ROWS, LABELS) == pytest.approx(
        effective * 100 / (effective[ROWS].sum()), rel=1e-6
    )
    named = weigh_classes(["spam=5", "a=b=0.5"], ROWS, LABELS)
    assert named is not None
    assert named / named[0] == pytest.approx([1, 5, 0.5])
    assert weigh_presence("balanced", SEVERAL, LABELS[:2]) == pytest.approx([10.0, 10.0]), "37 / 3 and 39, at most 10"
    assert weigh_presence(["spam=3"], SEVERAL, LABELS[:2]) == pytest.approx([1, 3])
    assert weigh_classes(None, ROWS, LABELS) is None
    assert weigh_presence(None, SEVERAL, LABELS[:2]) is None


def test_a_label_without_training_rows_weighs_nothing_and_breaks_nothing() -> None:
    assert weigh_classes("balanced", np.array([0, 0, 1]), LABELS) == pytest.approx([0.75, 1.5, 0.0])
    assert weigh_presence("balanced", np.zeros((4, 2), np.float32), LABELS[:2]) == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["other=2"], "'other=2' names no label"),
        (["spam"], "'spam' names no label"),
        (["spam=x"], "weight of 'spam' is 'x'"),
        (["spam=2", "spam=3"], "'spam' has two weights"),
        (["spam=1e30"], "weight of 'spam' is '1e30'"),
        (["spam=0"], "weight of 'spam' is '0'"),
        (["spam=inf"], "weight of 'spam' is 'inf'"),
    ],
)
def test_weights_that_mean_nothing_are_refused(entries: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        weigh_classes(entries, ROWS, LABELS)


@pytest.mark.parametrize("problem_type", ["regression", "causal_lm"])
@pytest.mark.parametrize(
    "option", [{"class_weights": "balanced"}, {"label_smoothing": 0.1}, {"temperature_scaling": True}]
)
def test_options_of_classifiers_are_refused_for_other_problems(problem_type: str, option: dict[str, Any]) -> None:
    config = ExperimentConfig.model_validate({"training": option})
    nowhere: Any = None
    with pytest.raises(ConfigError, match=f"{next(iter(option))} is for classifiers"):
        load_trainable(problem_type, {}).with_base(nowhere, config, lambda _: None)
    load_trainable("regression", {}).with_base(nowhere, ExperimentConfig(), lambda _: None)  # as the remedy says


def test_losses_are_weighted_and_smoothed_in_training_only() -> None:
    outputs = torch.randn(4, 3, dtype=torch.float64)
    targets = torch.tensor([0, 1, 2, 0])
    problem = head("single_label_classification", ROWS, class_weights=["spam=3"], label_smoothing=0.2)
    weights = torch.from_numpy(problem._weights).double()
    logs = torch.log_softmax(outputs, dim=1)
    smoothed = -(0.8 * logs[range(4), targets] + 0.2 * logs.mean(dim=1))
    torch.testing.assert_close(problem.training_losses(outputs, targets), smoothed * weights[targets])
    torch.testing.assert_close(problem.row_losses(outputs, targets), -logs[range(4), targets])
    wanted = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    several = head("multi_label_classification", SEVERAL, class_weights=["spam=3"], label_smoothing=0.2)
    drawn = wanted * 0.8 + 0.1
    sure = torch.sigmoid(outputs[:2, :2])
    by_hand = -(torch.tensor([1.0, 3.0]) * drawn * sure.log() + (1 - drawn) * (1 - sure).log()).mean(dim=1)
    torch.testing.assert_close(several.training_losses(outputs[:2, :2], wanted), by_hand)
    plain = functional.binary_cross_entropy_with_logits(outputs[:2, :2], wanted, reduction="none").mean(dim=1)
    torch.testing.assert_close(several.row_losses(outputs[:2, :2], wanted), plain)


@pytest.mark.parametrize(
    ("problem_type", "rows", "targets"),
    [
        ("single_label_classification", ROWS, torch.tensor([0, 1, 2, 1])),
        ("multi_label_classification", SEVERAL, torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])),
    ],
)
def test_gradients_are_those_of_finite_differences_in_float64(problem_type: str, rows: Any, targets: Any) -> None:
    problem = head(problem_type, rows, class_weights=["spam=4"], label_smoothing=0.1)
    outputs = torch.randn(4, len(problem.label_names), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda logits: problem.loss(logits, targets), (outputs,))


def test_both_paths_learn_from_the_weighted_and_smoothed_loss(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny_model("bert"), folder)  # others use that one too
    switch_off_dropout(folder)
    chosen: dict[str, Any] = {"class_weights": ["spam=4"], "label_smoothing": 0.1}
    batch = random_batch([9, 4, 12, 5])
    batch.targets[:] = [0, 1, 2, 1]

    def learn(path: str, options: dict[str, Any]) -> tuple[float, float]:
        config = configure(folder, **options)
        problem = head("single_label_classification", ROWS, **options)
        engine = build_engine(path, config, find_base(config.model), problem, CPU_FP32)
        return float(engine.accumulate(batch, 0.25)), float(engine.step(0.0))

    losses, norms = zip(*(learn(path, chosen) for path in ("general", "packed")), strict=True)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert learn("packed", {}) != pytest.approx((losses[1], norms[1]), rel=1e-2)


@pytest.mark.parametrize("path", ["general", "packed"])
def test_a_weighted_step_is_the_same_however_its_rows_are_cut(
    path: str, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny_model("bert"), folder)  # others use that one too
    switch_off_dropout(folder)
    chosen: dict[str, Any] = {"class_weights": ["spam=4", "a=b=9"], "label_smoothing": 0.1}
    batch = random_batch([9, 4, 12, 5, 7, 7, 3, 10])
    batch.targets[:] = [0, 1, 2, 0, 0, 0, 0, 1]

    def step(micro_batch: int) -> list[float]:
        config = configure(folder, **chosen)
        problem = head("single_label_classification", ROWS, **chosen)
        engine = build_engine(path, config, find_base(config.model), problem, CPU_FP32)
        columns = ("rows", "input_ids", "attention_mask", "token_type_ids", "targets", "lengths")
        cuts = [slice(start, start + micro_batch) for start in range(0, 8, micro_batch)]
        parts = [Batch(*(getattr(batch, column)[cut] for column in columns)) for cut in cuts]
        return [sum(float(engine.accumulate(part, 1 / 8)) for part in parts), float(engine.step(0.0))]

    assert step(1) == pytest.approx(step(8), rel=1e-4)
    assert step(2) == pytest.approx(step(8), rel=1e-4)
