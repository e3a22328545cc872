"""Conversations and texts as rows have them: nothing is asked but the text itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetune30.data.conversations.arranging import arrange_conversations
from finetune30.data.problem import Arranged, Problem, Rank, Role, Settled, TargetRules, Targets
from finetune30.data.texts import CONVERSATION
from finetune30.problems.causal_lm.score import NAME, SCORE
from finetune30.problems.causal_lm.view import view_language_model

if TYPE_CHECKING:
    from finetune30.blocks import Block
    from finetune30.config.data import DataConfig
    from finetune30.data.encoding import EncodedSplit, TextEncoder
    from finetune30.data.sources.table import SourceTable


class ConversationEncoder(Protocol):
    """A tokenizer with its chat template, seen from the rows."""

    def encode_rows(self, conversations: pl.Series, max_length: int) -> EncodedSplit:
        """Return token ids and, token by token, what is asked, for conversations in canonical form."""
        ...


class CausalLM:
    """See `finetune30.data.problem.Problem`; a row asks for the tokens of its own answers."""

    name = NAME
    columns = (Role(CONVERSATION, "conversation_column", "text", (CONVERSATION,)),)
    # Markup is often what a conversation is about.
    rules = TargetRules(severities=(("html", "off"),))
    score = SCORE
    rank: Rank | None = None

    def arrange(self, tables: Sequence[SourceTable], config: DataConfig) -> Arranged:
        """Return the tables with a column of conversations (see `data.conversations`)."""
        return arrange_conversations(tables, config, self)

    def settle(self, targets: pl.Series, separator: str | None, outputs: int | None) -> Settled:
        """Return itself: there are no targets beside the texts."""
        return Settled(self, targets)

    def plan(self, targets: pl.Series, outputs: int | None, declared: tuple[str, ...]) -> Targets:
        """Return nothing: what is asked stands in the rows."""
        return {}

    def choices(self, targets: Targets) -> tuple[str, ...] | None:
        """None: answers are not listed."""
        return None

    def describe(self, targets: Targets) -> str:
        """Return what a target may be."""
        return "the text itself"

    def read(self, cell: str, targets: Targets) -> str | None:
        """None: a row has no target of its own."""
        return None

    def encode_targets(self, rows: pl.DataFrame, targets: Targets) -> pl.DataFrame:
        """Return the rows with an empty `label`."""
        return rows.with_columns(pl.lit(None, dtype=pl.Int64).alias("label"))

    def strata(self, labels: pl.Series) -> pl.Series:
        """Return one stratum: all rows are of one kind."""
        return pl.Series(np.zeros(len(labels), dtype=np.int64))

    def count(self, targets: pl.Series, known: Targets | None = None) -> dict[str, int]:
        """Return nothing: there are no classes."""
        return {}

    def encode(self, rows: pl.DataFrame, encoder: TextEncoder, targets: Targets, max_length: int) -> EncodedSplit:
        """Return token ids, and what is asked token by token."""
        split = cast("ConversationEncoder", encoder).encode_rows(rows["conversation"], max_length)
        names = rows["row_id"].to_list()
        return replace(split, row_ids=[names[int(row)] for row in split.row_ids])

    def predictions(self, split: EncodedSplit, outputs: NDArray[Any] | None, targets: Targets) -> pl.DataFrame:
        """Return row_id and, where sums are given, outcome: the loss a token (null where none is asked).

        `outputs` (n, 3): sum of the negative log-likelihoods, tokens that were right, tokens that are asked for. Parts
        of a long text are one row.
        """
        rows = pl.DataFrame({"row_id": pl.Series(split.row_ids, dtype=pl.String)})
        if outputs is None:
            return rows.unique(maintain_order=True)
        sums = {name: outputs[:, column].astype(np.float64) for column, name in enumerate(("loss", "right", "asked"))}
        rows = rows.with_columns(pl.Series(name, values) for name, values in sums.items())
        rows = rows.group_by("row_id", maintain_order=True).sum()
        return rows.select(
            "row_id",
            pl.when(pl.col("asked") > 0).then(pl.col("loss") / pl.col("asked")).alias("outcome"),
            pl.col("right").cast(pl.Int64).alias("tokens_right"),
            pl.col("asked").cast(pl.Int64).alias("tokens_asked"),
        )

    def score_resamples(self, rows: pl.DataFrame, targets: Targets, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the loss a token of resamples: that of a row counts for each of its tokens."""
        tokens = rows["tokens_asked"].cast(pl.Float64).to_numpy()
        losses = rows["outcome"].fill_null(0.0).to_numpy() * tokens
        found: NDArray[np.float64] = (times @ losses) / np.maximum(times @ tokens, 1.0)
        return found

    def view(self, metrics: Mapping[str, Any], targets: Targets) -> list[Block]:
        """Return losses and answers beside those of the base model, and where the tokens went."""
        return view_language_model(metrics)


CAUSAL_LM = CausalLM()
PROBLEMS: dict[str, Problem] = {NAME: CAUSAL_LM}
