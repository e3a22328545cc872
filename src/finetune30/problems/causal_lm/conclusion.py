"""What is found once at the end: the base model's own figures, and greedy answers with and without the adapter.

The rows are those of the evaluation; an answer is asked with the very tokens that stand before it in its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune30.data.encoding import IGNORED
from finetune30.errors import ModelError
from finetune30.modeling.conversations.chat_model import end_tokens, generate_in_batches
from finetune30.modeling.conversations.generation import Generated, Sampling
from finetune30.problems.causal_lm.text_metrics import chrf, is_same_text
from finetune30.training.engine import LendsModel
from finetune30.training.problem import Conclusion

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from finetune30.data.encoding import EncodedSplit
    from finetune30.problems.causal_lm.training import LanguageModel
    from finetune30.training.engine import Engine

#: The table of asked answers, as it is published.
GENERATIONS = "generations"
_BASE = "base_"


def conclude(problem: LanguageModel, engine: Engine, split: EncodedSplit, batch_size: int) -> Conclusion:
    """Return metrics `base_eval_…`, `eval_exact_match`, `eval_chrf` and the base's, and the answers themselves."""
    if not isinstance(engine, LendsModel):
        raise ModelError("this training path holds no language model", "set training.engine to general")
    chat = problem.targets["chat"]
    rows, prompts, wanted = choose_questions(split, chat["eval_generations"])
    tokenizer = problem.encoder.tokenizer
    sampling = Sampling(max_new_tokens=chat["max_new_tokens"])
    pad = engine.pad_token_id
    found: dict[str, list[Generated]] = {}
    with engine.lend() as model:
        ends = end_tokens(model.get_base_model(), problem.encoder.end_token_id)
        found["tuned"] = generate_in_batches(model, prompts, ends, sampling, pad, batch_size)
        with model.disable_adapter():
            found["base"] = generate_in_batches(model, prompts, ends, sampling, pad, batch_size)
            base = problem.evaluate(engine, split, batch_size).metrics
    metrics: dict[str, Any] = {f"{_BASE}{name}": value for name, value in base.items()}
    references = [_read(tokenizer, ids, ends) for ids in wanted]
    texts = {who: [_read(tokenizer, g.ids, ends) for g in generated] for who, generated in found.items()}
    if rows:
        metrics |= _measure("", texts["tuned"], references) | _measure(_BASE, texts["base"], references)
        metrics["eval_answers_ended"] = sum(g.reason == "stop" for g in found["tuned"]) / len(rows)
    table = [
        {
            "row_id": split.row_ids[row],
            "question": _read(tokenizer, prompts[i], frozenset(), keeps_marks=True),
            "reference": references[i],
            "answer": texts["tuned"][i],
            "finish_reason": found["tuned"][i].reason,
            "base_answer": texts["base"][i],
            "base_finish_reason": found["base"][i].reason,
            "is_exact": is_same_text(texts["tuned"][i], references[i]),
            "chrf": chrf([texts["tuned"][i]], [references[i]]),
        }
        for i, row in enumerate(rows)
    ]
    return Conclusion(metrics, {GENERATIONS: table})


def choose_questions(split: EncodedSplit, count: int) -> tuple[list[int], list[list[int]], list[list[int]]]:
    """Return the first `count` rows that ask for an answer, what stands before their last one, and that answer."""
    rows, prompts, answers = [], [], []
    for row in range(len(split)):
        if len(rows) == count:
            break
        start, stop = int(split.offsets[row]), int(split.offsets[row + 1])
        asked = np.flatnonzero(split.targets[start:stop] != IGNORED)
        breaks = np.flatnonzero(np.diff(asked) > 1)
        first = int(asked[breaks[-1] + 1] if len(breaks) else asked[0]) + 1
        last = int(asked[-1]) + 1
        tokens = split.tokens[start:stop]
        rows.append(row)
        prompts.append([int(token) for token in tokens[:first]])
        answers.append([int(token) for token in tokens[first : last + 1]])
    return rows, prompts, answers


def _measure(prefix: str, answers: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    same = sum(is_same_text(answer, wanted) for answer, wanted in zip(answers, references, strict=True))
    return {
        f"{prefix}eval_exact_match": same / len(answers),
        f"{prefix}eval_chrf": chrf(answers, references),
    }


def _read(tokenizer: Any, ids: Sequence[int], ends: frozenset[int], *, keeps_marks: bool = False) -> str:
    kept = [token for token in ids if token not in ends]
    return str(
        tokenizer.decode(kept, skip_special_tokens=not keeps_marks, clean_up_tokenization_spaces=False)
    ).strip()
