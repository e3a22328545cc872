"""How rows ask: a text and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetune30.blocks import Block, Figure, Words
from finetune30.data.encoding import IGNORED, EncodedSplit, TextEncoder, encode_split
from finetune30.data.problem import Problem, Rank, Role, Settled, TargetRules, Targets
from support.toys import NEXT_TOKEN
from support.toys.next_token import SCORE


class NextToken:
    """Targets are one a token; the last token of a row asks nothing."""

    name = NEXT_TOKEN
    columns = (Role("passage", "text_column", "text", ("passage",)),)
    rules = TargetRules()
    score = SCORE
    rank: Rank | None = None

    def settle(self, targets: pl.Series, separator: str | None, outputs: int | None) -> Settled:
        return Settled(self, targets)

    def plan(self, targets: pl.Series, outputs: int | None, declared: tuple[str, ...]) -> Targets:
        return {"shift": 1}

    def choices(self, targets: Targets) -> tuple[str, ...] | None:
        return None

    def describe(self, targets: Targets) -> str:
        return "nothing but the text itself"

    def read(self, cell: str, targets: Targets) -> str | None:
        return None

    def encode_targets(self, rows: pl.DataFrame, targets: Targets) -> pl.DataFrame:
        return rows.with_columns(pl.lit(None, dtype=pl.Int64).alias("label"))

    def strata(self, labels: pl.Series) -> pl.Series:
        return pl.Series(np.zeros(len(labels), dtype=np.int64))

    def count(self, targets: pl.Series, known: Targets | None = None) -> dict[str, int]:
        return {}

    def encode(self, rows: pl.DataFrame, encoder: TextEncoder, targets: Targets, max_length: int) -> EncodedSplit:
        split = encode_split(rows, encoder, max_length, np.zeros(rows.height))
        following = np.append(split.tokens[1:], IGNORED).astype(np.int32)
        following[split.offsets[1:] - 1] = IGNORED
        return replace(split, targets=following, targets_per_token=True)

    def predictions(self, split: EncodedSplit, outputs: NDArray[Any] | None, targets: Targets) -> pl.DataFrame:
        return pl.DataFrame({"row_id": split.row_ids})

    def view(self, metrics: Mapping[str, Any], targets: Targets) -> list[Block]:
        return [
            Figure(Words("perplexity", "困惑度"), metrics["eval_perplexity"], "number", rows=metrics["eval_samples"])
        ]


PROBLEMS: dict[str, Problem] = {NEXT_TOKEN: NextToken()}
