"""What a model with a head, adapter on its base, answers on evaluation rows; and how an export is held against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from finetune30.data.problem import label_names
from finetune30.data.texts import texts_and_pairs
from finetune30.service.exports.evaluated import Evaluated, count_flips, evaluate_outputs
from finetune30.service.exports.measured import Measured
from finetune30.service.parity.gap import Gap

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.encoding import EncodedSplit, EncodedTexts, TextEncoder
    from finetune30.data.problem import Problem
    from finetune30.modeling.predictor import Predictor
    from finetune30.training.problem import Trainable

MOST_ROWS = 512
_ALONE = 32
_BATCH = 32


@dataclass(frozen=True)
class TextReference:
    """Ids and logits (n, outputs) of the adapter; `alone`: those of the first rows, asked one by one."""

    problem: Problem
    trainable: Trainable
    split: EncodedSplit
    request: dict[str, Any]
    ids: list[list[int]]
    marked: frozenset[int]
    logits: NDArray[np.float32]
    alone: NDArray[np.float32]
    evaluated: Evaluated

    def measure(self, answer: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Measured:
        """Hold what a reader gave against the adapter."""
        logits, alone = arrays["logits"].astype(np.float32), arrays["alone"].astype(np.float32)
        faults = [f"its weights do not fit: {kind} {', '.join(names[:3])}" for kind, names in answer["misfits"].items()]
        names = list(label_names(self.trainable.targets))
        if names and answer["labels"] != names:
            faults.append(f"its labels are {', '.join(answer['labels'][:6])} and not {', '.join(names[:6])}")
        asked = [row for row in range(len(self.ids)) if row not in self.marked]
        if others := [row for row in asked if answer["ids"][row] != self.ids[row]]:
            faults.append(f"its tokenizer reads {len(others)} of {len(asked)} texts otherwise")
        if logits.shape != self.logits.shape:
            faults.append(f"it gives logits of shape {logits.shape} and not {self.logits.shape}")
            return Measured(Gap(np.inf, np.inf), 1.0, {}, faults)
        found = evaluate_outputs(self.problem, self.trainable, self.split, list(logits))
        gap = Gap.between(logits, self.logits)
        first = slice(len(alone))
        figures = {
            "rows": len(logits),
            "logits": gap.as_dict(),
            "flips": count_flips(self.evaluated.predictions, found.predictions),
            "score": {
                "name": self.problem.score.name,
                "adapter": self.evaluated.as_dict(),
                "export": found.as_dict(),
            },
            "alone_against_batch": {
                "rows": len(alone),
                "adapter": Gap.between(self.alone, self.logits[first]).as_dict(),
                "export": Gap.between(alone, logits[first]).as_dict(),
            },
            "ids": {"texts": len(asked), "equal": len(asked) - len(others), "with_special_tokens": len(self.marked)},
        }
        return Measured(gap, float(np.abs(self.logits).max(initial=0.0)), figures, faults)


class _Reads:
    """The predictor's own way to read texts, as the rows' encoder."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def encode(self, texts: list[str], pairs: list[str] | None, max_length: int) -> EncodedTexts:
        """Return what the predictor makes of texts; the longest length is its own."""
        return self._predictor.encode(texts, pairs)


def refer_to_texts(
    problem: Problem, trainable: Trainable, predictor: Predictor, rows: pl.DataFrame, max_length: int
) -> TextReference:
    """Ask the adapter about rows (prepared ones)."""
    from finetune30.modeling.conversations.template import special_marks

    split = problem.encode(rows, cast("TextEncoder", _Reads(predictor)), trainable.targets, max_length)
    texts, pairs = predictor.clean(*texts_and_pairs(rows))
    ids = [split.tokens[start:stop].tolist() for start, stop in zip(split.offsets, split.offsets[1:], strict=False)]
    size = 1 if predictor.reads_padding else _BATCH
    logits = predictor.answer_logits(texts, pairs, size)
    first = slice(min(_ALONE, len(texts)))
    alone = predictor.answer_logits(texts[first], pairs and pairs[first], 1)
    marks = special_marks(predictor.tokenizer)
    marked = frozenset(
        row for row, text in enumerate(texts) if any(mark in text or (pairs and mark in pairs[row]) for mark in marks)
    )
    request = {
        "kind": "texts", "texts": texts, "pairs": pairs, "max_length": max_length, "batch_size": size, "alone": _ALONE,
    }  # fmt: skip
    evaluated = evaluate_outputs(problem, trainable, split, list(logits))
    return TextReference(problem, trainable, split, request, ids, marked, logits, alone, evaluated)
