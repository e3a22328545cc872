"""Questions and answers at their borders; tests/integration/test_answers.py asks real models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from finetune30.errors import DataError
from finetune30.problems.trainables import load_trainable
from finetune30.service.models.predict import LoadedModel, Question, answer_questions


class KnownLogits:
    """A predictor whose logits are chosen."""

    def __init__(self, *rows: list[float]) -> None:
        self._rows = np.asarray(rows, dtype=np.float32)

    def answer_logits(self, *_: object) -> Any:
        return self._rows


def ask(problem_type: str, names: tuple[str, ...], *rows: list[float]) -> list[Any]:
    predictor: Any = KnownLogits(*rows)
    model = LoadedModel(predictor, load_trainable(problem_type, {"label_names": list(names)}))
    return [answer.as_dict() for answer in answer_questions(model, [Question("text") for _ in rows])]


def test_a_label_of_many_is_given_above_one_half_only() -> None:
    answers = ask("multi_label_classification", ("a", "b", "c"), [0.0, 0.001, 9.0], [-9.0, -0.001, 0.0])
    assert [answer["labels"] for answer in answers] == [["b", "c"], []]
    assert answers[0]["probabilities"]["a"] == 0.5


def test_of_equal_shares_the_first_label_is_given() -> None:
    (answer,) = ask("single_label_classification", ("a", "b"), [800.0, 800.0])
    assert (answer["labels"], answer["probabilities"]) == (["a"], {"a": 0.5, "b": 0.5})


def test_a_value_of_zero_is_a_value() -> None:
    (answer,) = ask("regression", (), [0.0])
    assert answer == {"text": "text", "value": 0.0}


def test_pairs_and_single_texts_are_not_mixed() -> None:
    predictor: Any = KnownLogits([1.0], [2.0])
    model = LoadedModel(predictor, load_trainable("regression", {}))
    with pytest.raises(DataError, match="some questions have a second text and some have none"):
        answer_questions(model, [Question("a", "b"), Question("c")])


@pytest.mark.parametrize("question", [Question("half \ud83d"), Question("a", "byte \udcff")])
def test_question_that_is_no_text_is_named(question: Question) -> None:
    predictor: Any = KnownLogits([1.0])
    model = LoadedModel(predictor, load_trainable("regression", {}))
    whole = Question("\U0001f600", "b" if question.text_pair else None)
    with pytest.raises(DataError, match="question 2 holds what is no text"):
        answer_questions(model, [whole, question])
