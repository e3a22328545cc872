"""What is found once at the end: the base model's own figures, and greedy answers with and without the adapter.

The rows are those of the evaluation; an answer is asked with the very tokens that stand before it in its row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune30.data.encoding import IGNORED
from finetune30.modeling.conversations.generation import (
    Generated,
    NextTokens,
    Sampling,
    generate_in_batches,
    stop_tokens,
)
from finetune30.problems.causal_lm.conclusion_names import BASE, EXAMPLES, GENERAL, GENERAL_ROWS, GENERATIONS
from finetune30.problems.causal_lm.expected import holds
from finetune30.problems.causal_lm.general import encode_general
from finetune30.problems.causal_lm.repeated_answer import GivenAnswer
from finetune30.problems.causal_lm.text_metrics import chrf, is_same_text
from finetune30.training import processes
from finetune30.training.engine import LendsModel
from finetune30.training.evaluation import within_everybodys_memory
from finetune30.training.problem import Conclusion

if TYPE_CHECKING:
    from finetune30.data.encoding import EncodedSplit
    from finetune30.problems.causal_lm.training import LanguageModel
    from finetune30.training.engine import Engine

_EXAMPLES_KEPT = 3


@dataclass(frozen=True)
class Question:
    """The last answer that a row asks for: the tokens before it and its own, with the mark that ends it.

    `asked`: what it answers, as it was written; "" where the row says nothing of the kind.
    """

    row_id: str
    prompt: list[int]
    reference: list[int]
    expected: tuple[str, ...] = ()
    asked: str = ""


@dataclass(frozen=True)
class _Answers:
    """Greedy answers to what evaluation rows and training rows ask, and the base model's to the evaluation rows."""

    tuned: list[Generated]
    recited: list[Generated]
    before: list[Generated]
    ends: frozenset[int]


def conclude(
    problem: LanguageModel, engine: Engine, train: EncodedSplit, evaluation: EncodedSplit, batch_size: int
) -> Conclusion:
    """Return the base model's evaluation (`base_…`), how like the wanted ones answers are, and the answers themselves.

    `train_memorised` is the share of as many training rows whose answer is given word for word. Of several processes
    the first one answers; all evaluate together.
    """
    assert isinstance(engine, LendsModel)  # noqa: S101 - engines that train language models do
    chat = problem.targets["chat"]
    asked = choose_questions(evaluation, chat["eval_generations"])
    learnt = choose_questions(train, chat["eval_generations"])
    general = encode_general(problem.encoder, chat.get("general_rows", 0))
    sampling = Sampling(max_new_tokens=chat["max_new_tokens"])

    def answer() -> _Answers | None:
        if processes.rank() != 0:
            return None
        return _answer(engine, problem.encoder.end_token_id, asked, learnt, sampling, batch_size)

    answers = within_everybodys_memory(answer, engine.device)

    def measure(split: EncodedSplit | None) -> dict[str, Any]:
        return {} if split is None else problem.evaluate(engine, split, batch_size).metrics

    kept = measure(general)
    with engine.lend_base():
        known, metrics = measure(general), _of_base(measure(evaluation))
    if general is not None:
        metrics |= {GENERAL: kept["eval_loss"], f"{BASE}{GENERAL}": known["eval_loss"], GENERAL_ROWS: len(general)}
    if answers is None or not asked:
        return Conclusion(metrics)
    reader = _Reader(problem.encoder.tokenizer, answers.ends)
    metrics |= _measure(reader, asked, answers.tuned) | _of_base(_measure(reader, asked, answers.before))
    metrics["train_memorised"] = _measure(reader, learnt, answers.recited)["eval_exact_match"]
    table = [_row(reader, *found) for found in zip(asked, answers.tuned, answers.before, strict=True)]
    given = [
        GivenAnswer(question.row_id, question.prompt, answered, sampling)
        for question, answered in zip(asked, answers.tuned, strict=True)
    ]
    ended = next((one for one in given if one.answer.reason == "stop"), given[0])
    return Conclusion({**metrics, EXAMPLES: table[:_EXAMPLES_KEPT]}, {GENERATIONS: table}, ended.repeat)


def _answer(
    engine: LendsModel,
    end_token_id: int | None,
    asked: Sequence[Question],
    learnt: Sequence[Question],
    sampling: Sampling,
    batch_size: int,
) -> _Answers:
    """Answer both kinds of questions with the adapter, and those of the evaluation without it."""

    def answer(model: NextTokens, questions: Sequence[Question]) -> list[Generated]:
        prompts = [question.prompt for question in questions]
        return generate_in_batches(model, prompts, ends, sampling, batch_size)

    with engine.lend() as model:
        ends = stop_tokens(model, end_token_id)
        tuned, recited = answer(model, asked), answer(model, learnt)
    with engine.lend_base() as base:
        return _Answers(tuned, recited, answer(base, asked), ends)


def _of_base(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures under the names that they have as the base model's."""
    return {f"{BASE}{name}": value for name, value in metrics.items()}


def choose_questions(split: EncodedSplit, count: int) -> list[Question]:
    """Return the last question of each of the first `count` rows."""
    found = []
    for row in range(min(count, len(split))):
        start, stop = int(split.offsets[row]), int(split.offsets[row + 1])
        asked = np.flatnonzero(split.targets[start:stop] != IGNORED)
        breaks = np.flatnonzero(np.diff(asked) > 1)
        first = int(asked[breaks[-1] + 1] if len(breaks) else asked[0]) + 1
        last = int(asked[-1]) + 1
        tokens = split.tokens[start:stop].tolist()
        expected = split.expected.get(row, ())
        asked_for = split.asked.get(row, "")
        found.append(Question(split.row_ids[row], tokens[:first], tokens[first : last + 1], expected, asked_for))
    return found


@dataclass(frozen=True)
class _Reader:
    tokenizer: Any
    ends: frozenset[int]

    def text(self, ids: Sequence[int]) -> str:
        """Return an answer as text, without the marks that end it."""
        return self._decode([token for token in ids if token not in self.ends], skips=True).strip()

    def prompt(self, ids: Sequence[int]) -> str:
        """Return what is asked with, marks and all."""
        return self._decode(ids, skips=False)

    def _decode(self, ids: Sequence[int], *, skips: bool) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=skips, clean_up_tokenization_spaces=False))


def _measure(reader: _Reader, questions: Sequence[Question], answers: Sequence[Generated]) -> dict[str, float]:
    given = [reader.text(answer.ids) for answer in answers]
    wanted = [reader.text(question.reference) for question in questions]
    same = sum(is_same_text(answer, reference) for answer, reference in zip(given, wanted, strict=True))
    told = [
        holds(text, question.expected) for text, question in zip(given, questions, strict=True) if question.expected
    ]
    return ({"eval_expected_share": sum(told) / len(told)} if told else {}) | {
        "eval_exact_match": same / len(questions),
        "eval_chrf": chrf(given, wanted),
        "eval_answers_ended": sum(answer.reason == "stop" for answer in answers) / len(questions),
    }


def _row(reader: _Reader, question: Question, tuned: Generated, before: Generated) -> dict[str, Any]:
    reference, answer, base_answer = reader.text(question.reference), reader.text(tuned.ids), reader.text(before.ids)
    prompt = reader.prompt(question.prompt)
    return {
        "row_id": question.row_id,
        "question": question.asked or prompt,
        "prompt": prompt,
        "reference": reference,
        "answer": answer,
        "finish_reason": tuned.reason,
        "base_answer": base_answer,
        "base_finish_reason": before.reason,
        "is_exact": is_same_text(answer, reference),
        "chrf": chrf([answer], [reference]),
        "expected": list(question.expected),
        "holds_expected": holds(answer, question.expected) if question.expected else None,
        "base_holds_expected": holds(base_answer, question.expected) if question.expected else None,
    }
