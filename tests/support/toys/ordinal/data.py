"""How rows ask for a class of an order; the order is that of the names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetune30.blocks import Block, Figure, Words
from finetune30.data.encoding import EncodedSplit, TextEncoder, encode_split
from finetune30.data.problem import Problem, Rank, Role, Settled, TargetRules, Targets, label_names
from finetune30.errors import DataError
from support.toys import ORDINAL
from support.toys.ordinal import SCORE


class Ordinal:
    """Targets are class ids, Int64; outputs are logits of thresholds, (n, classes - 1)."""

    name = ORDINAL
    columns = (
        Role("text", "text_column", "text", ("passage",)),
        Role("text_pair", "text_pair_column", "text", is_optional=True),
        Role("label", "label_column", "target", ("grade",)),
    )
    rules = TargetRules(classes=True)
    score = SCORE
    rank: Rank | None = None

    def settle(self, targets: pl.Series, separator: str | None, outputs: int | None) -> Settled:
        stripped = targets.str.strip_chars()
        return Settled(self, stripped.replace("", None))

    def plan(self, targets: pl.Series, outputs: int | None, declared: tuple[str, ...]) -> Targets:
        names = declared or tuple(sorted(targets.unique()))
        if outputs not in (None, len(names)):
            raise DataError(f"{len(names)} grades but model.num_labels is {outputs}", "set model.num_labels")
        return {"label_names": list(names), "thresholds": len(names) - 1}

    def choices(self, targets: Targets) -> tuple[str, ...] | None:
        return label_names(targets)

    def describe(self, targets: Targets) -> str:
        return " < ".join(label_names(targets))

    def read(self, cell: str, targets: Targets) -> str | None:
        return cell if cell in label_names(targets) else None

    def encode_targets(self, rows: pl.DataFrame, targets: Targets) -> pl.DataFrame:
        ids = {name: index for index, name in enumerate(label_names(targets))}
        return rows.with_columns(
            pl.col("label_text").replace_strict(ids, default=None, return_dtype=pl.Int64).alias("label")
        )

    def strata(self, labels: pl.Series) -> pl.Series:
        return labels

    def count(self, targets: pl.Series, known: Targets | None = None) -> dict[str, int]:
        found = dict(targets.drop_nulls().value_counts().iter_rows())
        return {name: int(found.get(name, 0)) for name in label_names(known or {}) or sorted(found)}

    def encode(self, rows: pl.DataFrame, encoder: TextEncoder, targets: Targets, max_length: int) -> EncodedSplit:
        return encode_split(rows, encoder, max_length, rows["label"].to_numpy().astype(np.int64))

    def predictions(self, split: EncodedSplit, outputs: NDArray[Any] | None, targets: Targets) -> pl.DataFrame:
        assert outputs is not None
        names = np.asarray(label_names(targets), dtype=object)
        given = (outputs > 0).sum(axis=1)
        steps = np.abs(given - split.targets).astype(np.float64)
        return pl.DataFrame(
            {
                "row_id": split.row_ids,
                "label": names[split.targets].tolist(),
                "prediction": names[given].tolist(),
                "outcome": steps,
            }
        )

    def view(self, metrics: Mapping[str, Any], targets: Targets) -> list[Block]:
        return [Figure(Words("steps off", "差幾級"), metrics["eval_steps_off"], "number", rows=metrics["eval_samples"])]


PROBLEMS: dict[str, Problem] = {ORDINAL: Ordinal()}
