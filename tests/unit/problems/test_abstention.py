"""Answers that are withheld: the curve by hand, a promise that new rows keep, and what is said in their place."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from finetune30.blocks import Curve, Figure
from finetune30.data.questions import Asked, Question
from finetune30.problems.classification.abstention import choose_confidence, trace_risk
from finetune30.problems.classification.answering import Answering
from finetune30.problems.classification.concluding import AnswerOptions, conclude_classes
from finetune30.problems.classification.view import view_multi_label, view_single_label
from finetune30.problems.trainables import load_trainable
from finetune30.service.models.answer_files import save_answers
from finetune30.service.models.predict import LoadedModel, answer_questions, say_missing

NAMES = ("ham", "spam")


def draw(rows: int, stream: np.random.Generator) -> tuple[Any, Any]:
    """Return confidences, and answers that are as often right as they say."""
    confidence = stream.uniform(0.5, 1.0, rows)
    return confidence, stream.random(rows) < confidence


def test_the_curve_counts_wrong_answers_surest_first() -> None:
    confidence = np.array([0.9, 0.6, 0.8, 0.7])
    is_right = np.array([True, False, False, True])
    assert trace_risk(confidence, is_right) == [[0.25, 0.0], [0.5, 0.5], [0.75, pytest.approx(1 / 3)], [1.0, 0.5]]
    assert trace_risk(np.ones(4), is_right) == [[0.25, 0.5], [0.5, 0.5], [0.75, 0.5], [1.0, 0.5]]
    assert len(trace_risk(*draw(300, np.random.default_rng(0)))) == 20
    assert trace_risk(np.ones(1), np.array([True])) == [[1.0, 0.0]]


def test_the_bound_is_that_of_the_binomial_test() -> None:
    found = choose_confidence(*draw(4000, np.random.default_rng(1)), 0.2)
    given = round(found["coverage"] * 4000)
    certainty = 1 - 0.05 / 13  # twelve halvings of 4,000 places, and all rows
    exact = binomtest(round(found["wrong"] * given), given, alternative="less").proportion_ci(certainty)
    assert found["bound"] == pytest.approx(exact.high, rel=1e-6)
    assert found["wrong"] < found["bound"] <= 0.2


def test_weights_that_were_chosen_on_the_rows_pay_for_it() -> None:
    """The best of sixty models that are alike looks better on the rows that it was chosen on than on new ones."""
    stream, broken = np.random.default_rng(6), {1: 0, 60: 0}
    sure = np.ones(200)
    for _ in range(100):
        tries = stream.random((60, 200)) < 0.9
        best = tries[tries.sum(axis=1).argmax()]
        for chosen_of in broken:
            broken[chosen_of] += bool(choose_confidence(sure, best, 0.0999, chosen_of))
    assert broken[60] <= 5 < broken[1]
    bounds = [choose_confidence(sure, np.arange(200) > 5, 0.2, chosen_of)["bound"] for chosen_of in broken]
    assert bounds[0] < bounds[1]


def test_new_rows_keep_what_is_promised() -> None:
    stream, broken = np.random.default_rng(2), 0
    for _ in range(100):
        found = choose_confidence(*draw(300, stream), 0.15)
        # Between least and 1 the confidences are even: their mean says how often the answers are right.
        broken += bool(found) and 1 - (max(found["least_confidence"], 0.5) + 1) / 2 > 0.15
    assert broken <= 5


def test_too_few_rows_promise_nothing_and_certain_ones_withhold_nothing() -> None:
    assert choose_confidence(*draw(20, np.random.default_rng(3)), 0.05) == {}
    assert choose_confidence(np.ones(1), np.array([True]), 0.5) == {}
    found = choose_confidence(np.linspace(0.5, 1.0, 400), np.ones(400, dtype=bool), 0.05)
    assert (found["least_confidence"], found["coverage"], found["wrong"]) == (0.0, 1.0, 0.0)


def test_no_row_lies_at_the_confidence_that_is_asked() -> None:
    """A batch that is rounded otherwise decides no evaluation row otherwise."""
    confidence = np.repeat([0.6, 0.8, 0.9], 200)
    found = choose_confidence(confidence, confidence > 0.7, 0.05)
    assert found["least_confidence"] == pytest.approx(0.7)
    assert found["coverage"] == pytest.approx(2 / 3)
    assert found["wrong"] == 0.0
    side_by_side = np.repeat([0.6, 0.8, np.nextafter(0.8, 1)], 200)
    found = choose_confidence(side_by_side, side_by_side > 0.8, 0.05)
    assert found["least_confidence"] == np.nextafter(0.8, 1)


def test_answers_are_decided_in_float64() -> None:
    """In float32 both rows would be as sure as each other, or wholly sure."""
    logits = np.array([[0.0, 17.5], [0.0, 18.5]], dtype=np.float32)
    decided = Answering().decide(logits, NAMES, several=False)
    assert {decided.confidence.dtype, decided.shares.dtype} == {np.dtype(np.float64)}
    assert 0 < 1 - decided.confidence[1] < 1 - decided.confidence[0] < 1e-7


@pytest.mark.parametrize("several", [False, True])
def test_what_is_answered_is_as_seldom_wrong_as_was_asked(several: bool) -> None:
    stream = np.random.default_rng(4)
    logits = stream.normal(scale=3.0, size=(1500, 2)).astype(np.float32)
    shares = 1 / (1 + np.exp(-(logits if several else logits[:, 1:] - logits[:, :1])))
    targets: Any = stream.random(shares.shape) < shares
    targets = targets.astype(np.float32) if several else targets[:, 0].astype(np.int64)
    options = AnswerOptions(scales=True, tunes=True, risk=0.1)
    metrics, answering = conclude_classes(3 * logits, targets, NAMES, options, several=several)
    assert metrics["eval_abstention"]["is_applied"]
    assert metrics["eval_abstention"]["is_approximate"]
    decided = answering.decide(3 * logits, NAMES, several=several)
    given = decided.confidence >= answering.least_confidence
    wanted = targets.astype(bool) if several else targets[:, None] == np.arange(2)
    wrong = (decided.chosen != wanted).any(axis=1)
    assert wrong.mean() > 0.1 > wrong[given].mean()
    assert given.mean() == pytest.approx(metrics["eval_abstention"]["coverage"], abs=0.02)
    assert Answering.restore(answering.as_tree()) == answering


@pytest.mark.parametrize(
    ("problem_type", "sure", "unsure", "unsure_of"),
    [
        ("single_label_classification", [0.0, 3.0], [0.0, 0.5], 0.622459),
        ("multi_label_classification", [-3.0, 3.0], [-0.1, 3.0], 0.524979),
    ],
)
def test_not_sure_stands_in_the_place_of_an_answer(
    problem_type: str, sure: list[float], unsure: list[float], unsure_of: float, tmp_path: Path
) -> None:
    rows = np.array([sure, unsure], dtype=np.float32)
    predictor: Any = SimpleNamespace(
        answer_logits=lambda *_: rows, find_tokenless=lambda *_: [2], described={"least_confidence": 0.8}
    )
    model = LoadedModel(predictor, load_trainable(problem_type, {"label_names": list(NAMES)}), Asked((), None))
    answers = answer_questions(model, [Question(text) for text in ("a", "b", " ")])
    given, withheld, silent = (answer.as_dict() for answer in answers)
    assert given["labels"] == ["spam"]
    assert "labels" not in withheld
    assert len(withheld["probabilities"]) == 2
    assert (withheld["no_answer"]["code"], silent["no_answer"]["code"]) == ("not_sure", "no_tokens")
    assert (given["confidence"], withheld["confidence"]) == (pytest.approx(0.952574), pytest.approx(unsure_of))
    assert answers[0].line == "spam\t0.9526"
    assert answers[1].line == f"(not sure)\t{unsure_of:.4f}"
    assert say_missing(answers) == [
        "1 of 3 texts have no answer: they give the model nothing to read",
        "1 of 3 texts have no answer: the model is not sure enough about them",
    ]
    assert say_missing(answers[:1]) == []
    save_answers(tmp_path / "answers.jsonl", answers)
    kept = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [row["confidence"] for row in kept] == [given["confidence"], withheld["confidence"], None]
    assert [row["prediction"] for row in kept] == ["spam", None, None]
    assert [bool(row["no_answer"]) for row in kept] == [False, True, True]
    assert kept[1]["no_answer"] != kept[2]["no_answer"]


def test_all_faces_show_the_curve_and_what_is_withheld() -> None:
    confident = np.linspace(0.0, 6.0, 400, dtype=np.float32)
    outputs = np.stack([np.zeros(400, np.float32), confident], axis=1)
    labels = (np.arange(400) % 50 != 0).astype(np.int64)
    metrics, _ = conclude_classes(outputs, labels, NAMES, AnswerOptions(risk=0.06), several=False)
    blocks = view_single_label(metrics, {"label_names": list(NAMES)})
    (curve,) = [one for one in blocks if isinstance(one, Curve) and one.title.en.startswith("Wrong answers")]
    assert len(curve.lines["rows"]) == 20
    figures = {one.title.en: one for one in blocks if isinstance(one, Figure)}
    assert figures["Questions answered (the others: not sure)"].value == metrics["eval_abstention"]["coverage"]
    assert figures["Wrong among these"].baseline is not None
    (_, bound), told = figures["Wrong among these"].baseline, metrics["eval_abstention"]
    assert (bound, told["chosen_of"], told["is_approximate"]) == (told["bound"], 1, False)
    about = view_multi_label({"eval_abstention": told | {"is_approximate": True}})
    (said,) = [one.baseline[0].en for one in about if isinstance(one, Figure) and one.baseline]
    assert "about 95 %" in said
    metrics, answering = conclude_classes(outputs, labels, NAMES, AnswerOptions(risk=0.001), several=False)
    assert answering == Answering()
    (figure,) = [one for one in view_multi_label(metrics | {"eval_calibration": None}) if isinstance(one, Figure)]
    assert figure.title.en == "Questions answered (not applied: these rows cannot show 0.10 % or less wrong)"
