"""What is found once at the end: the base model's own figures, and greedy answers with and without the adapter.

The rows are those of the evaluation; an answer is asked with the very tokens that stand before it in its row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune30.modeling.conversations.generation import (
    Generated,
    NextTokens,
    Sampling,
    generate_in_batches,
    stop_tokens,
)
from finetune30.problems.causal_lm.conclusion_names import (
    ASKED_ROWS,
    BASE,
    EXAMPLES,
    GENERAL,
    GENERAL_ROWS,
    GENERATIONS,
    NOTHING_NEW,
)
from finetune30.problems.causal_lm.expected import holds
from finetune30.problems.causal_lm.general import encode_general
from finetune30.problems.causal_lm.questions import Question, choose_questions, encode_questions
from finetune30.problems.causal_lm.repeated_answer import GivenAnswer
from finetune30.problems.causal_lm.text_metrics import chrf, is_same_text
from finetune30.training import processes
from finetune30.training.engine import LendsModel
from finetune30.training.evaluation import within_everybodys_memory
from finetune30.training.problem import OF_ANSWERS, Conclusion

if TYPE_CHECKING:
    from finetune30.data.encoding import EncodedSplit
    from finetune30.problems.causal_lm.training import LanguageModel
    from finetune30.training.engine import Engine
    from finetune30.training.problem import Evaluation

_EXAMPLES_KEPT = 3


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

    `train_memorised` is the share of as many training rows whose answer is given word for word, `train_nothing_new` of
    those whose answer the base model would give already, token for token: greedily, so each token is its likeliest one.
    Of several processes the first one answers; all evaluate together.
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
        if learnt:
            metrics[NOTHING_NEW] = _share_known(problem.evaluate(engine, encode_questions(learnt), batch_size))
    if general is not None:
        metrics |= {GENERAL: kept["eval_loss"], f"{BASE}{GENERAL}": known["eval_loss"], GENERAL_ROWS: len(general)}
    if answers is None or not asked:
        return Conclusion(metrics)
    reader = _Reader(problem.encoder.tokenizer, answers.ends)
    of_answers = _measure(reader, asked, answers.tuned) | _of_base(_measure(reader, asked, answers.before))
    of_answers[ASKED_ROWS] = len(asked)
    if learnt:
        of_answers["train_memorised"] = _measure(reader, learnt, answers.recited)["eval_exact_match"]
    table = [_row(reader, *found) for found in zip(asked, answers.tuned, answers.before, strict=True)]
    metrics |= {**of_answers, EXAMPLES: table[:_EXAMPLES_KEPT]}
    metrics[OF_ANSWERS] = sorted({*of_answers, EXAMPLES, NOTHING_NEW})
    given = [
        GivenAnswer(question.row_id, question.prompt, answered, sampling)
        for question, answered in zip(asked, answers.tuned, strict=True)
    ]
    ended = next((one for one in given if one.answer.reason == "stop"), given[0])
    return Conclusion(metrics, {GENERATIONS: table}, ended.repeat)


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


def _share_known(evaluation: Evaluation) -> float:
    """Return the share of rows of which every token that carries loss is the likeliest one."""
    _, right, asked = np.asarray(evaluation.outputs).T
    return float((right == asked).mean())


def _of_base(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures under the names that they have as the base model's."""
    return {f"{BASE}{name}": value for name, value in metrics.items()}


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
