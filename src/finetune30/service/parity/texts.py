"""The serving reference of a model with a head: logits of evaluation rows, and how they are held together."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from finetune30.data.texts import texts_and_pairs
from finetune30.service.parity.bounds import REPEATED_BOUND
from finetune30.service.parity.found import Found, Referred
from finetune30.service.parity.predictions import hold_predictions
from finetune30.values import say_count

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.encoding import EncodedTexts, TextEncoder
    from finetune30.data.problem import Problem
    from finetune30.service.parity.predictions import Published
    from finetune30.service.parity.served_texts import ServedTexts
    from finetune30.training.engine import Engine

MOST_ROWS = 256
#: Rows that are asked one by one too.
ALONE = 32
_BATCH = 32


class _Reads:
    """How the served model reads texts, as the rows' encoder."""

    def __init__(self, served: ServedTexts) -> None:
        self._served = served

    def encode(self, texts: list[str], pairs: list[str] | None, _max_length: int) -> EncodedTexts:
        encoded: EncodedTexts = self._served.reader.encode(texts, pairs)
        return encoded


def refer_texts(served: ServedTexts, problem: Problem, rows: pl.DataFrame, published: Published) -> Referred:
    """Ask the serving path about evaluation rows (prepared ones), and hold it against what the run predicted."""
    import polars as pl

    trainable = served.problem
    split = problem.encode(rows, cast("TextEncoder", _Reads(served)), trainable.targets, served.reader.max_length)
    found = Found()
    evaluated = trainable.evaluate(cast("Engine", served), split, _BATCH)
    assert evaluated.outputs is not None  # noqa: S101 - heads keep their outputs
    logits = evaluated.outputs
    texts, pairs = texts_and_pairs(rows)
    reference = pl.DataFrame(
        {
            "row_id": split.row_ids,
            "text": texts,
            "text_pair": pl.Series(pairs or [None] * len(texts), dtype=pl.String),
            "ids": [split.tokens[start:stop].tolist() for start, stop in pairwise(split.offsets)],
            "logits": pl.Series(logits.tolist(), dtype=pl.List(pl.Float32)),
        }
    )  # fmt: skip
    found.add(repeat_texts(served, reference))
    found.add(hold_predictions(problem.predictions(split, logits, trainable.targets), published))
    return Referred(reference, found)


def repeat_texts(served: ServedTexts, reference: pl.DataFrame) -> Found:
    """Ask the rows of a reference again, all together and some alone, and hold that against what it says."""
    wanted = np.asarray(reference["logits"].to_list(), dtype=np.float32)
    pairs: Any = reference["text_pair"].to_list()
    read = served.read(reference["text"].to_list(), pairs if pairs[0] is not None else None)
    found = Found()
    others = [place for place, row in enumerate(read) if row.ids != reference["ids"][place].to_list()]
    if others:
        found.faults.append(f"{len(others)} of {say_count(len(read), 'texts are')} read as other tokens")
        return found
    together = np.concatenate([served.logits(read[start : start + _BATCH]) for start in range(0, len(read), _BATCH)])
    if together.shape != wanted.shape:
        found.faults.append(f"it gives outputs of shape {list(together.shape)} and not {list(wanted.shape)}")
        return found
    alone = np.concatenate([served.logits([row]) for row in read[:ALONE]])
    found.hold("in_a_batch", together, wanted, REPEATED_BOUND, "asked in a batch, its logits differ")
    found.hold("alone", alone, wanted[: len(alone)], REPEATED_BOUND, "asked alone, its logits differ")
    return found
