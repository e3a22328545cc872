"""Tuned thresholds: where F1 is best, told of rows that they were not tuned on, and used by answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from finetune30.blocks import Figure, Table
from finetune30.config import ExperimentConfig
from finetune30.errors import ConfigError
from finetune30.problems.classification.answering import Answering
from finetune30.problems.classification.concluding import AnswerOptions, conclude_classes
from finetune30.problems.classification.decisions import sigmoid
from finetune30.problems.classification.thresholds import measure_thresholds
from finetune30.problems.classification.view import view_multi_label, view_single_label
from finetune30.problems.trainables import load_trainable

TWO = ("ham", "spam")


def draw(rows: int, *, there: float, seed: int = 0) -> tuple[Any, Any]:
    """Return logits of two classes, hesitant about the rarer one, and the classes."""
    stream = np.random.default_rng(seed)
    labels = (stream.random(rows) < there).astype(np.int64)
    margins = stream.normal(size=rows) + 1.5 * labels - 3.0
    return np.stack([np.zeros(rows), margins], axis=1).astype(np.float32), labels


def several(rows: int) -> tuple[Any, Any]:
    """Return logits and memberships of three labels, each asked for at another height; the last one is rare."""
    stream = np.random.default_rng(3)
    there = stream.random((rows, 3)) < np.array([0.4, 0.3, 0.02])
    logits = stream.normal(size=there.shape) + 3.0 * there - np.array([4.0, 1.0, 2.5])
    return logits.astype(np.float32), there.astype(np.float32)


def test_the_threshold_of_two_labels_is_the_best_of_all_places() -> None:
    logits, labels = draw(600, there=0.2)
    found = measure_thresholds(logits.astype(np.float64), labels, TWO, several=False)
    ((name, share),) = found["thresholds"].items()
    assert name == "spam"
    shares = sigmoid(logits[:, 1].astype(np.float64))
    best = max(f1_score(labels, shares > place, average="macro") for place in shares)
    assert f1_score(labels, shares > share, average="macro") == pytest.approx(best)
    assert found["f1"] == pytest.approx(f1_score(labels, shares > 0.5, average="macro"))
    assert found["f1"] < found["crossfitted_f1"] <= best


def test_each_label_of_several_has_its_own_and_rare_ones_share_one() -> None:
    logits, there = several(500)
    found = measure_thresholds(logits.astype(np.float64), there, "abc", several=True)
    shares = sigmoid(logits.astype(np.float64))
    cuts = list(found["thresholds"].values())
    for place in range(2):
        best = max(f1_score(there[:, place], shares[:, place] > one) for one in shares[:, place])
        assert f1_score(there[:, place], shares[:, place] > cuts[place]) == pytest.approx(best)
    common = max(f1_score(there.ravel(), shares.ravel() > one) for one in shares.ravel()[::3])
    assert f1_score(there.ravel(), shares.ravel() > cuts[2]) >= common
    assert found["crossfitted_f1"] > found["f1"] == pytest.approx(f1_score(there, shares > 0.5, average="macro"))


def test_what_tuning_brings_is_told_of_other_rows() -> None:
    """Of labels without sense the rows that were tuned on promise more than new rows keep; the told figure does not."""
    stream = np.random.default_rng(5)

    def rows(count: int) -> tuple[Any, Any]:
        return stream.normal(size=(count, 2)), (stream.random((count, 2)) < 0.3).astype(np.float32)

    promised, told, kept = [], [], []
    for _ in range(30):
        logits, there = rows(200)
        found = measure_thresholds(logits, there, "ab", several=True)
        answering = Answering(thresholds=found["thresholds"])
        new_logits, new_there = rows(2000)
        promised.append(f1_score(there, answering.shift(logits, "ab") > 0, average="macro"))
        kept.append(f1_score(new_there, answering.shift(new_logits, "ab") > 0, average="macro"))
        told.append(found["crossfitted_f1"])
    assert np.mean(promised) > np.mean(kept) + 0.01
    assert np.mean(told) < np.mean(kept) + 0.005


def test_of_few_rows_and_where_nothing_is_gained_answers_stay() -> None:
    options = AnswerOptions(tunes=True)
    few, labels = draw(100, there=0.2)
    metrics, answering = conclude_classes(few, labels, TWO, options, several=False)
    assert (metrics["eval_thresholds"]["thresholds"], answering) == ({}, Answering())
    sure = np.where(np.arange(200)[:, None] % 2 == np.arange(2), 4.0, -4.0).astype(np.float32)
    metrics, answering = conclude_classes(sure, np.arange(200) % 2, TWO, options, several=False)
    assert (metrics["eval_thresholds"]["f1"], metrics["eval_thresholds"]["is_applied"]) == (1.0, False)
    assert answering.as_tree() == {}
    alike = np.zeros((200, 2), np.float32)
    metrics, _ = conclude_classes(alike, np.arange(200) % 2, TWO, options, several=False)
    assert metrics["eval_thresholds"]["thresholds"] == {"spam": 0.5}


def test_thresholds_hold_with_and_without_a_temperature() -> None:
    logits, labels = draw(600, there=0.2)
    plain, scaled = (
        conclude_classes(3 * logits, labels, TWO, AnswerOptions(scales=scales, tunes=True), several=False)[1]
        for scales in (False, True)
    )
    assert plain.temperature == 1.0 < scaled.temperature
    decided = [one.shift(one.scale(3 * logits), TWO).argmax(axis=1).tolist() for one in (plain, scaled)]
    assert decided[0] == decided[1]
    assert Answering.restore(scaled.as_tree()) == scaled


def test_thresholds_are_for_two_labels_or_several_a_row() -> None:
    nowhere: Any = None
    config = ExperimentConfig.model_validate({"training": {"threshold_tuning": True}})
    for problem_type, names in (("single_label_classification", TWO), ("multi_label_classification", ("a", "b", "c"))):
        load_trainable(problem_type, {"label_names": list(names)}).with_base(nowhere, config, lambda _: None)
    three = load_trainable("single_label_classification", {"label_names": ["a", "b", "c"]})
    with pytest.raises(ConfigError, match=r"training.threshold_tuning is for two labels, .* one of 3 labels"):
        three.with_base(nowhere, config, lambda _: None)
    weighted = ExperimentConfig.model_validate({"training": {"class_weights": "balanced"}})
    split: Any = SimpleNamespace(targets=np.array([0, 0, 1, 2]))
    three.with_base(nowhere, weighted, lambda _: None).with_baseline_of(split)  # as the remedy says


def test_answers_are_given_by_the_saved_thresholds() -> None:
    rows = np.array([[0.0, -1.0], [0.0, -2.0]], dtype=np.float32)

    def answer(problem_type: str, **described: Any) -> list[Any]:
        model: Any = SimpleNamespace(answer_logits=lambda *_: rows, described=described)
        return load_trainable(problem_type, {"label_names": list(TWO)}).answer(model, ["", ""], None, 2)

    one = answer("single_label_classification", thresholds={"spam": 0.2})
    assert [found.tree["labels"] for found in one] == [["spam"], ["ham"]]
    assert one[0].line == "spam\t0.2689"
    assert one[0].tree["probabilities"]["spam"] == pytest.approx(0.268941, abs=1e-6)
    assert [a.tree["labels"] for a in answer("single_label_classification")] == [["ham"], ["ham"]]
    many = answer("multi_label_classification", thresholds={"ham": 0.6, "spam": 0.2}, temperature=1.0)
    assert [found.tree["labels"] for found in many] == [["spam"], []]


def test_all_faces_show_what_thresholds_bring() -> None:
    logits, labels = draw(600, there=0.2)
    metrics, _ = conclude_classes(logits, labels, TWO, AnswerOptions(tunes=True), several=False)
    blocks = view_single_label(metrics, {"label_names": list(TWO)})
    (figure,) = [one for one in blocks if isinstance(one, Figure) and one.title.en.startswith("F1 (macro) by tuned")]
    assert figure.baseline is not None
    assert (figure.value, figure.baseline[1]) == tuple(
        metrics["eval_thresholds"][key] for key in ("crossfitted_f1", "f1")
    )
    (table,) = [one for one in blocks if isinstance(one, Table) and one.title.en == "Thresholds of answers"]
    assert [row[0] for row in table.rows] == ["spam"]
    titles = {}
    for key, changed in (("worse", {"is_applied": False}), ("few", {"thresholds": {}, "is_applied": False})):
        blocks = view_multi_label({"eval_thresholds": metrics["eval_thresholds"] | changed})
        (titles[key],) = [one.title.en for one in blocks]
    assert "not applied" in titles["worse"]
    assert "too few rows" in titles["few"]
