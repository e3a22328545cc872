"""Rows of a split or file that is kept for a test: read like the evaluation rows of the same data set, by its rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from finetune30.config.data import DataConfig
from finetune30.data.groups import count_shared
from finetune30.data.loading import load_rows
from finetune30.data.prepare import PreparedData, version_rows_of
from finetune30.data.validation.validate import validate_rows
from finetune30.data.versions.held_back import HeldBackRows, hold_back
from finetune30.errors import DataError
from finetune30.values import say_count

if TYPE_CHECKING:
    from finetune30.data.problem import ProblemChoice

Log = Callable[[str], None]
_NEAR = "near_leakage"
_NOTHING = {"eval_file": None, "eval_split": None, "test_file": None, "test_split": None, "test_fraction": None}


@dataclass(frozen=True)
class ReadTestRows:
    """Test rows with the rules' reasons, how many training rows nearly are such rows (`near`), and how many test rows
    are of groups that training rows are of too (`shared`)."""

    rows: pl.DataFrame
    near: int
    shared: int


def read_test_rows(
    config: DataConfig,
    named: Mapping[str, Any],
    log: Log,
    *,
    problem: ProblemChoice,
    num_labels: int,
    load_version: Callable[..., Any] | None = None,
) -> ReadTestRows:
    """Return the rows that `named` (eval_file or eval_split) names, with the rules' reasons; no limit stops them here.

    Raises what reading raises.
    """
    data = config.model_copy(update={**_NOTHING, **named})
    loaded = load_rows(data, log, problem=problem, num_labels=num_labels, load_version=load_version)
    validation = validate_rows(loaded, data)
    near = validation.findings.filter(pl.col("rule") == _NEAR)["row_id"].n_unique()
    rows = validation.rows.filter(pl.col("split") == "evaluation")
    return ReadTestRows(rows, near, count_shared(validation.rows.filter(pl.col("reason").is_null())))


def hold_split_back(prepared: PreparedData, config: DataConfig, num_labels: int, log: Log) -> HeldBackRows:
    """Return the rows of `data.test_split` as those that a version keeps for a test, where it has no such split.

    Rows that rules set aside are left out. Raises DataError where none is left.
    """
    read = read_test_rows(
        config, {"eval_split": config.test_split}, log, problem=prepared.problem, num_labels=num_labels
    )
    rows = read.rows
    if read.shared:
        log(f"WARNING: data: {say_shared(read.shared)}")
    kept = rows.filter(pl.col("reason").is_null())
    out = Counter(rows["reason"].drop_nulls())
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(out.items()))
    if not kept.height:
        raise DataError(
            f"no row of the split {config.test_split!r} is left for the test ({told})", "look at the rows of this split"
        )
    left_out = f"; left out: {told}" if told else ""
    log(
        f"data: {say_count(kept.height, 'rows', ',')} of the split {config.test_split!r} are kept as test "
        f"rows{left_out}"
    )
    return hold_back(version_rows_of(kept, prepared.problem), prepared.schema)


def say_shared(count: int) -> str:
    """Say how many test rows belong together with training rows."""
    return f"{say_count(count, 'test rows are', ',')} of groups that training rows are of too"
