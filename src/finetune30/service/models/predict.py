"""Questions to a finished run's model, and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.data.questions import NO_TOKENS, Asked, Question, require_sides
from finetune30.errors import DataError, UsageError
from finetune30.problems.trainables import load_trainable
from finetune30.service.runs.asked_texts import describe_texts, texts_of
from finetune30.service.runs.details import require_intact_model, require_model
from finetune30.service.runs.open_records import open_records, require_records
from finetune30.settings import Settings
from finetune30.values import is_text

if TYPE_CHECKING:
    from finetune30.modeling.devices import Placement
    from finetune30.training.problem import Answer, SavedModel, Trainable


@dataclass(frozen=True)
class Answered:
    """A question with the model's answer; None where the question gives the model nothing to read."""

    question: Question
    answer: Answer | None

    def as_dict(self) -> dict[str, Any]:
        """Return what is there, as JSON values."""
        question = self.question
        asked: dict[str, Any] = {
            "row_id": question.row_id,
            "text": question.text,
            "text_pair": question.text_pair,
            "columns": dict(question.others) or None,
        }
        given = {"no_answer": {"code": "no_tokens", "message": NO_TOKENS}} if self.answer is None else self.answer.tree
        return {key: value for key, value in asked.items() if value is not None} | given

    @property
    def is_withheld(self) -> bool:
        """Whether the model is less sure of its answer than it is to be, and so gives none."""
        return self.answer is not None and "no_answer" in self.answer.tree

    @property
    def line(self) -> str:
        """What a terminal shows before the text."""
        return f"(no answer: {NO_TOKENS})" if self.answer is None else self.answer.line


@dataclass(frozen=True)
class LoadedModel:
    """A finished run's model, what it learnt, and what its texts are."""

    predictor: SavedModel
    problem: Trainable
    asked: Asked


def predict(
    settings: Settings,
    output_dir: Path | None,
    run_name: str,
    questions: list[Question],
    *,
    device: str | None = None,
    batch_size: int = 32,
) -> list[Answered]:
    """Answer the questions with the model of a SUCCEEDED run, in their order.

    Raises NotFoundError, ConflictError (the run has no model), StorageError (its files are damaged), UsageError (no
    questions) and DataError (single texts for a model of pairs, or pairs for one of single texts).
    """
    if not questions:
        raise UsageError("there is nothing to predict", "give texts, --file FILE, or lines on standard input")
    asked = describe_texts(settings, output_dir, run_name)
    require_sides(
        asked,
        questions,
        give="give --text_pair TEXT for each text, or --file FILE with a column for each of the two",
        leave="leave --text_pair out, or --text_pair_column",
    )
    return answer_questions(load_model(settings, output_dir, run_name, device), questions, batch_size)


def say_missing(answers: Sequence[Answered]) -> list[str]:
    """Return how many questions have no answer, a sentence for each reason."""
    counts = {
        "they give the model nothing to read": sum(answer.answer is None for answer in answers),
        "the model is not sure enough about them": sum(answer.is_withheld for answer in answers),
    }
    return [f"{count} of {len(answers)} texts have no answer: {why}" for why, count in counts.items() if count]


def load_model(settings: Settings, output_dir: Path | None, run_name: str, device: str | None = None) -> LoadedModel:
    """Load the model of a SUCCEEDED run: in fp32 on a CPU, elsewhere in the precision that it was trained with.

    Where a device lacks that one it is fp32 too, never a coarser one that the training has not seen.
    Raises StorageError when its files are not as they were published.
    """
    require_records(settings, output_dir)
    with open_records(settings, output_dir) as records:
        run = require_model(records.store.get(run_name))
        folder = require_intact_model(records, run)
        asked = texts_of(records, run)
    from finetune30.modeling.saved_targets import load_targets

    described = load_targets(folder)
    problem = load_trainable(described["problem_type"], described["targets"])
    placement = place_answers(device, run.precision or "fp32")
    return LoadedModel(problem.open_saved(folder, placement), problem, asked)


def place_answers(device: str | None, trained: str) -> Placement:
    """Return where and how a model answers that was trained in a precision."""
    from finetune30.modeling.devices import choose_placement

    placement = choose_placement(device, "auto", trained)
    if placement.device == "cpu" or placement.precision != trained:
        return choose_placement(placement.device, "fp32")
    return placement


def answer_questions(model: LoadedModel, questions: list[Question], batch_size: int = 32) -> list[Answered]:
    """Answer with a loaded model; what gives it nothing to read has no answer.

    Raises DataError for what is no text, and for pairs beside single texts.
    """
    for number, question in enumerate(questions, start=1):
        if not is_text(question.text) or not (question.text_pair is None or is_text(question.text_pair)):
            raise DataError(
                f"question {number} holds what is no text: bytes that are not UTF-8, or half of a character",
                "give it as UTF-8",
            )
    pairs = [question.text_pair for question in questions]
    if any(pair is None for pair in pairs) and any(pair is not None for pair in pairs):
        raise DataError("some questions have a second text and some have none", "give all of them one, or none")
    texts = [question.text for question in questions]
    given = [pair or "" for pair in pairs] if pairs[0] is not None else None
    tokenless = set(model.predictor.find_tokenless(texts, given))
    readable = [number for number in range(len(texts)) if number not in tokenless]
    answers: dict[int, Answer] = {}
    if readable:
        asked = [texts[number] for number in readable]
        beside = given and [given[number] for number in readable]
        found = model.problem.answer(model.predictor, asked, beside, batch_size)
        answers = dict(zip(readable, found, strict=True))
    return [Answered(question, answers.get(number)) for number, question in enumerate(questions)]
