"""Classification as rows have it: a target is the name of a class, or a JSON list of names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetune30.data.encoding import EncodedSplit, TextEncoder, encode_split
from finetune30.data.problem import Problem, Rank, Settled, TargetRules, Targets, label_names
from finetune30.problems.classification.decisions import (
    MULTI_NAME,
    MULTI_SCORE,
    SINGLE_NAME,
    SINGLE_SCORE,
    decide_one,
    decide_several,
    sigmoid,
    softmax,
)
from finetune30.problems.classification.labels import (
    count_names,
    order_names,
    parse_lists,
    refuse_unknown,
    require_count,
    settle_lists,
    write_list,
)
from finetune30.problems.classification.suspects import rank_multi_label, rank_single_label
from finetune30.problems.classification.view import view_multi_label, view_single_label
from finetune30.problems.shared.columns import TEXT_AND_LABEL
from finetune30.problems.shared.spellings import are_measures
from finetune30.problems.shared.targets import settle_one

if TYPE_CHECKING:
    from finetune30.blocks import Block


class SingleLabel:
    """See `finetune30.data.problem.Problem`; encoded targets are class ids, Int64."""

    name = SINGLE_NAME
    columns = TEXT_AND_LABEL
    rules = TargetRules(classes=True)
    score = SINGLE_SCORE

    def settle(self, targets: pl.Series, separator: str | None, outputs: int | None) -> Settled:
        """Return itself and the class names."""
        return settle_one(self, targets)

    def plan(self, targets: pl.Series, outputs: int | None, declared: tuple[str, ...]) -> Targets:
        """Return the class names; the index is the class id.

        Numeric labels are ordered by value, text labels by code point; names declared by the source keep their order.
        Raises DataError where the labels disagree with `outputs`, naming both numbers and the key to set.
        """
        names = declared or order_names(targets.unique())
        require_count(names, outputs, quantities=are_measures(names), least=2)
        return {"label_names": list(names)}

    def choices(self, targets: Targets) -> tuple[str, ...] | None:
        """Return the class names."""
        return label_names(targets)

    def describe(self, targets: Targets) -> str:
        """Return the class names."""
        return ", ".join(label_names(targets))

    def read(self, cell: str, targets: Targets) -> str | None:
        """Return the name where it is a class."""
        return cell if cell in label_names(targets) else None

    def encode_targets(self, rows: pl.DataFrame, targets: Targets) -> pl.DataFrame:
        """Return the rows with `label` Int64. Raises DataFileError at the first label that is no class."""
        label = self._ids(rows, targets)
        refuse_unknown(rows, label.is_null(), label_names(targets))
        return rows.with_columns(label.alias("label"))

    def strata(self, labels: pl.Series) -> pl.Series:
        """Return the class of each row."""
        return labels

    def count(self, targets: pl.Series, known: Targets | None = None) -> dict[str, int]:
        """Return rows by class."""
        return count_names(targets.drop_nulls(), label_names(known or {}))

    def encode(self, rows: pl.DataFrame, encoder: TextEncoder, targets: Targets, max_length: int) -> EncodedSplit:
        """Return token ids and targets int64 (n,)."""
        ids = self._ids(rows, targets)
        return encode_split(rows, encoder, max_length, ids.to_numpy().astype(np.int64))

    def predictions(self, split: EncodedSplit, outputs: NDArray[Any] | None, targets: Targets) -> pl.DataFrame:
        """Return row_id, label, prediction (names), probabilities by class and outcome (right or wrong)."""
        assert outputs is not None  # noqa: S101 - heads keep their outputs
        names = np.asarray(label_names(targets), dtype=object)
        chosen = decide_one(outputs)
        return _frame(
            split, names[split.targets].tolist(), names[chosen].tolist(), softmax(outputs), chosen == split.targets
        )

    @staticmethod
    def _ids(rows: pl.DataFrame, targets: Targets) -> pl.Series:
        ids = {name: index for index, name in enumerate(label_names(targets))}
        return rows["label_text"].replace_strict(ids, default=None, return_dtype=pl.Int64)

    @property
    def rank(self) -> Rank | None:
        """Confident learning over the classes."""
        return rank_single_label

    def view(self, metrics: Mapping[str, Any], targets: Targets) -> list[Block]:
        """Return accuracy, figures a class and the confusion matrix."""
        return view_single_label(metrics, targets)


class MultiLabel:
    """See `finetune30.data.problem.Problem`; encoded targets are multi-hot, List(Int8)."""

    name = MULTI_NAME
    columns = TEXT_AND_LABEL
    rules = TargetRules()
    score = MULTI_SCORE

    def settle(self, targets: pl.Series, separator: str | None, outputs: int | None) -> Settled:
        """Return itself and sorted JSON lists of class names. Raises DataError."""
        return settle_lists(self, targets, separator)

    def plan(self, targets: pl.Series, outputs: int | None, declared: tuple[str, ...]) -> Targets:
        """Return the class names in order, as for a single label. Raises DataError."""
        found = parse_lists(targets).explode(empty_as_null=False).drop_nulls()
        names = declared or order_names(found.unique())
        require_count(names, outputs)
        return {"label_names": list(names)}

    def choices(self, targets: Targets) -> tuple[str, ...] | None:
        """None: a target is a list of names."""
        return None

    def describe(self, targets: Targets) -> str:
        """Return what a target may be."""
        return f"JSON lists of {', '.join(label_names(targets))}"

    def read(self, cell: str, targets: Targets) -> str | None:
        """Return a JSON list in canonical form where it holds class names only."""
        try:
            names = json.loads(cell)
        except (ValueError, RecursionError):
            return None
        if not isinstance(names, list) or not set(map(str, names)) <= set(label_names(targets)):
            return None
        return write_list(map(str, names))

    def encode_targets(self, rows: pl.DataFrame, targets: Targets) -> pl.DataFrame:
        """Return the rows with `label` List(Int8), 1 for each class of the row. Raises DataFileError."""
        hot, unknown = self._multi_hot(rows, targets)
        refuse_unknown(rows, pl.Series(unknown), label_names(targets))
        return rows.with_columns(pl.Series("label", hot).cast(pl.List(pl.Int8)))

    @staticmethod
    def _multi_hot(rows: pl.DataFrame, targets: Targets) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        """Return 1 for each class of each row, (n, classes), and which rows have a label of no class, (n,)."""
        ids = {name: index for index, name in enumerate(label_names(targets))}
        flat = pl.DataFrame({"row": np.arange(rows.height), "name": parse_lists(rows["label_text"])})
        flat = flat.explode("name", empty_as_null=False).drop_nulls()
        flat = flat.with_columns(pl.col("name").replace_strict(ids, default=None, return_dtype=pl.Int64).alias("id"))
        unknown = np.zeros(rows.height, dtype=bool)
        unknown[flat.filter(pl.col("id").is_null())["row"].to_numpy()] = True
        known = flat.drop_nulls()
        hot = np.zeros((rows.height, len(ids)), dtype=np.int8)
        hot[known["row"].to_numpy(), known["id"].to_numpy()] = 1
        return hot, unknown

    def strata(self, labels: pl.Series) -> pl.Series:
        """Return the set of classes of each row."""
        return labels.cast(pl.List(pl.String)).list.join("")

    def count(self, targets: pl.Series, known: Targets | None = None) -> dict[str, int]:
        """Return rows that have each class."""
        names = parse_lists(targets.drop_nulls()).explode(empty_as_null=False).drop_nulls()
        return count_names(names, label_names(known or {}))

    def encode(self, rows: pl.DataFrame, encoder: TextEncoder, targets: Targets, max_length: int) -> EncodedSplit:
        """Return token ids and targets float32 (n, classes)."""
        hot, _ = self._multi_hot(rows, targets)
        return encode_split(rows, encoder, max_length, hot.astype(np.float32))

    def predictions(self, split: EncodedSplit, outputs: NDArray[Any] | None, targets: Targets) -> pl.DataFrame:
        """Return row_id, label, prediction (lists of names), probabilities by class and outcome (all right)."""
        assert outputs is not None  # noqa: S101 - heads keep their outputs
        names = np.asarray(label_names(targets), dtype=object)
        asked, chosen = split.targets.astype(bool), decide_several(outputs)
        labels, predicted = ([names[row].tolist() for row in rows] for rows in (asked, chosen))
        return _frame(split, labels, predicted, sigmoid(outputs), (asked == chosen).all(axis=1))

    def score_resamples(self, rows: pl.DataFrame, targets: Targets, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the macro F1 of resamples: the mean over labels, 0 for one that is neither asked nor answered."""
        total = np.zeros(len(times))
        for name in label_names(targets):
            asked, answered = (rows[column].list.contains(name).to_numpy() for column in ("label", "prediction"))
            both = 2 * (times @ (asked & answered).astype(np.float64))
            either = times @ asked.astype(np.float64) + times @ answered.astype(np.float64)
            total += np.divide(both, either, out=np.zeros_like(both), where=either > 0)
        return total / len(label_names(targets))

    @property
    def rank(self) -> Rank | None:
        """Self-confidence over the classes of a row."""
        return rank_multi_label

    def view(self, metrics: Mapping[str, Any], targets: Targets) -> list[Block]:
        """Return exact matches and figures a class."""
        return view_multi_label(metrics)


def _frame(
    split: EncodedSplit, labels: list[Any], predicted: list[Any], shares: NDArray[Any], right: NDArray[np.bool_]
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "row_id": split.row_ids,
            "label": labels,
            "prediction": predicted,
            "probabilities": shares.tolist(),
            "outcome": right,
        }
    )


SINGLE, MULTI = SingleLabel(), MultiLabel()
PROBLEMS: dict[str, Problem] = {SINGLE_NAME: SINGLE, MULTI_NAME: MULTI}
