"""Language models as rows ask them: a conversation a row, and nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetune30.blocks import Block
from finetune30.data.problem import Problem, Rank, Role, Settled, TargetRules, Targets
from finetune30.problems.causal_lm.score import NAME, SCORE
from finetune30.problems.causal_lm.view import view_language_model

if TYPE_CHECKING:
    from finetune30.data.encoding import EncodedSplit


class CausalLm:
    name = NAME
    columns = (Role("conversation", "conversation_column", "text", ("conversation",)),)
    rules = TargetRules()
    score = SCORE
    rank: Rank | None = None

    def settle(self, targets: pl.Series, separator: str | None, outputs: int | None) -> Settled:
        return Settled(self, targets)

    def plan(self, targets: pl.Series, outputs: int | None, declared: tuple[str, ...]) -> Targets:
        return {}

    def choices(self, targets: Targets) -> tuple[str, ...] | None:
        return None

    def describe(self, targets: Targets) -> str:
        return "nothing but the conversation itself"

    def read(self, cell: str, targets: Targets) -> str | None:
        return None

    def encode_targets(self, rows: pl.DataFrame, targets: Targets) -> pl.DataFrame:
        return rows.with_columns(pl.lit(None, dtype=pl.Int64).alias("label"))

    def strata(self, labels: pl.Series) -> pl.Series:
        return pl.Series(np.zeros(len(labels), dtype=np.int64))

    def count(self, targets: pl.Series, known: Targets | None = None) -> dict[str, int]:
        return {}

    def encode(self, rows: pl.DataFrame, encoder: Any, targets: Targets, max_length: int) -> EncodedSplit:
        return encoder.encode_rows(rows["conversation"].to_list(), rows["row_id"].to_list(), max_length)

    def predictions(self, split: EncodedSplit, outputs: NDArray[Any] | None, targets: Targets) -> pl.DataFrame:
        frame = pl.DataFrame({"row_id": split.row_ids})
        if outputs is None:
            return frame
        loss, right, asked = (outputs[:, column].astype(np.float64) for column in range(3))
        return frame.with_columns(
            pl.Series("outcome", loss / np.maximum(asked, 1)),
            pl.Series("right_tokens", right.astype(np.int64)),
            pl.Series("supervised_tokens", asked.astype(np.int64)),
        )

    def view(self, metrics: Mapping[str, Any], targets: Targets) -> list[Block]:
        return view_language_model(metrics)


PROBLEMS: dict[str, Problem] = {NAME: CausalLm()}
