"""Questions and answers at their borders; tests/integration/test_answers.py asks real models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from finetune30.data.questions import NO_TOKENS, Asked, Question, require_sides
from finetune30.errors import DataError
from finetune30.modeling import devices
from finetune30.problems.trainables import load_trainable
from finetune30.service.models.predict import LoadedModel, answer_questions, place_answers

#: What is known of a model whose record does not say what it reads.
UNKNOWN = Asked((), None)
PAIRS = Asked((), {"text": "premise", "text_pair": "hypothesis"})


class KnownLogits:
    """A predictor whose logits are chosen."""

    def __init__(self, *rows: list[float], **described: Any) -> None:
        self._rows = np.asarray(rows, dtype=np.float32)
        self.described = described

    def answer_logits(self, *_: object) -> Any:
        return self._rows

    def find_tokenless(self, texts: list[str], _: object) -> list[int]:
        return [number for number, text in enumerate(texts) if not text.strip()]


def ask(problem_type: str, names: tuple[str, ...], *rows: list[float]) -> list[Any]:
    predictor: Any = KnownLogits(*rows)
    model = LoadedModel(predictor, load_trainable(problem_type, {"label_names": list(names)}), UNKNOWN)
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
    model = LoadedModel(predictor, load_trainable("regression", {}), UNKNOWN)
    with pytest.raises(DataError, match="some questions have a second text and some have none"):
        answer_questions(model, [Question("a", "b"), Question("c")])


@pytest.mark.parametrize("question", [Question("half \ud83d"), Question("a", "byte \udcff")])
def test_question_that_is_no_text_is_named(question: Question) -> None:
    predictor: Any = KnownLogits([1.0])
    model = LoadedModel(predictor, load_trainable("regression", {}), UNKNOWN)
    whole = Question("\U0001f600", "b" if question.text_pair else None)
    with pytest.raises(DataError, match="question 2 holds what is no text"):
        answer_questions(model, [whole, question])


def test_a_question_without_anything_to_read_has_no_answer_and_costs_the_others_nothing() -> None:
    predictor: Any = KnownLogits([1.0], [2.0])
    model = LoadedModel(predictor, load_trainable("regression", {}), UNKNOWN)
    answers = answer_questions(model, [Question("a"), Question(" ", row_id="line:2"), Question("c")])
    assert [answer.as_dict().get("value") for answer in answers] == [1.0, None, 2.0]
    assert answers[1].as_dict() == {
        "row_id": "line:2",
        "text": " ",
        "no_answer": {"code": "no_tokens", "message": NO_TOKENS},
    }
    assert answers[1].line == f"(no answer: {NO_TOKENS})"


def test_only_questions_without_anything_to_read_never_reach_the_model() -> None:
    predictor: Any = None
    with pytest.raises(AttributeError):
        answer_questions(LoadedModel(predictor, load_trainable("regression", {}), UNKNOWN), [Question("a")])
    silent: Any = KnownLogits()
    silent.answer_logits = None
    (answer,) = answer_questions(LoadedModel(silent, load_trainable("regression", {}), UNKNOWN), [Question("")])
    assert answer.answer is None


def test_single_texts_for_a_model_of_pairs_are_refused_with_its_columns() -> None:
    with pytest.raises(DataError) as caught:
        require_sides(PAIRS, [Question("a", "b"), Question("c", row_id="new.csv:3")], give="give it", leave="leave it")
    assert caught.value.message == (
        "the model was trained on pairs of texts ('premise' and 'hypothesis'); new.csv:3 has one text"
    )
    assert caught.value.remedy == "give it"


def test_pairs_for_a_model_of_single_texts_are_refused_and_what_is_not_known_is_not() -> None:
    with pytest.raises(DataError, match="trained on single texts; question 1 has two") as caught:
        require_sides(Asked((), {"text": "review"}), [Question("a", "b")], give="give it", leave="leave it")
    assert caught.value.remedy == "leave it"
    require_sides(UNKNOWN, [Question("a", "b")], give="", leave="")
    require_sides(PAIRS, [Question("a", "")], give="", leave="")


@pytest.mark.parametrize(
    ("device", "has", "trained", "answers"),
    [
        ("cuda:0", ["bf16", "fp16", "fp32"], "fp32", "fp32"),  # not the GPU's own choice, which training never saw
        ("cuda:0", ["bf16", "fp16", "fp32"], "bf16", "bf16"),
        ("cuda:0", ["fp16", "fp32"], "bf16", "fp32"),
        ("mps", ["fp32", "bf16"], "fp16", "fp32"),
        ("cpu", ["bf16", "fp32"], "bf16", "fp32"),
    ],
)
def test_a_model_answers_in_the_precision_that_it_was_trained_in(
    monkeypatch: pytest.MonkeyPatch, device: str, has: list[str], trained: str, answers: str
) -> None:
    monkeypatch.setattr(devices, "_find_device", lambda _: device)
    monkeypatch.setattr(devices, "_supported_precisions", lambda _: has)
    placed = place_answers(None, trained)
    assert (placed.device, placed.precision) == (device, answers)
