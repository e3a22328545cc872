"""Labels: from the text in a cell to class ids, multi-hot vectors or numbers, checked against num_labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import polars as pl

from finetune30.errors import DataError, DataFileError

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
_INTEGER = r"^[+-]?\d+(?:\.0+)?$"
_EXAMPLES_SHOWN = 6
#: Whole numbers of more values than this are quantities unless the configuration says otherwise.
_MAX_NUMERIC_CLASSES = 100


@dataclass(frozen=True)
class LabelPlan:
    """How labels are read: kind of task and class names (`()` for regression; the index is the class id)."""

    problem_type: str
    names: tuple[str, ...]


def tell_problem_type(labels: pl.Series, num_labels: int | None, separator: str | None) -> str:
    """Tell the kind of task from normalized labels: lists are multi-label, one output is regression.

    Where `num_labels` is unknown, numbers that are not all whole, or whole ones of more than a hundred values, count
    as quantities.
    """
    present = labels.drop_nulls()
    sample = present.head(1000)
    if separator is not None or (len(sample) and (sample.str.starts_with("[") & sample.str.ends_with("]")).all()):
        return MULTI
    if num_labels is not None:
        return REGRESSION if num_labels == 1 else SINGLE
    distinct = present.unique()
    if not len(distinct) or distinct.cast(pl.Float64, strict=False).null_count():
        return SINGLE
    whole = distinct.str.contains(_INTEGER).all()
    return SINGLE if whole and len(distinct) <= _MAX_NUMERIC_CLASSES else REGRESSION


def plan_labels(rows: pl.DataFrame, *, problem_type: str, num_labels: int, declared: tuple[str, ...] = ()) -> LabelPlan:
    """Decide the class names from the training rows (columns `split`, `reason`, `label_text`, `row_id`).

    Numeric labels are ordered by value, text labels by code point; names declared by the source keep their order.
    Raises DataError where the labels disagree with `num_labels`, naming both numbers and the key to set.
    """
    if problem_type == REGRESSION:
        if num_labels != 1:
            message = f"regression has 1 output but model.num_labels is {num_labels}"
            raise DataError(message, "set model.num_labels to 1")
        return LabelPlan(REGRESSION, ())
    train = rows.filter((pl.col("split") == "train") & pl.col("reason").is_null())["label_text"].drop_nulls()
    names = declared or class_names({"train": train.to_frame("label")}, problem_type)
    if len(names) != num_labels:
        raise _wrong_count(names, num_labels, problem_type, train)
    return LabelPlan(problem_type, names)


def encode_labels(rows: pl.DataFrame, plan: LabelPlan) -> pl.DataFrame:
    """Return the rows with column `label` (Int64, Float64 or List(Int8)) for every row whose `reason` is null.

    Raises DataFileError at the first label that is no number (regression) or is unknown to the training rows.
    """
    if plan.problem_type == REGRESSION:
        label = rows["label_text"].cast(pl.Float64, strict=False)
        bad = rows.filter(pl.col("reason").is_null() & (label.is_null() | ~label.is_finite()))
        if bad.height:
            found = f"the label {bad['label_text'][0]!r} is no finite number, as regression needs"
            raise _at_row(bad["row_id"][0], found, "correct it, or set model.problem_type to the task you mean")
        return rows.with_columns(label.alias("label"))
    ids = {name: index for index, name in enumerate(plan.names)}
    if plan.problem_type == SINGLE:
        label = rows["label_text"].replace_strict(ids, default=None, return_dtype=pl.Int64)
        _refuse_unknown(rows, label.is_null(), plan)
        return rows.with_columns(label.alias("label"))
    return rows.with_columns(_multi_hot(rows, ids, plan).alias("label"))


def normalize_labels(series: pl.Series) -> pl.Series:
    """Return label texts without outer white space; blank is null; whole numbers lose sign plus and `.0`.

    A column counts as whole only if every label in it is a whole number. Among numbers, NaN is no label: that is how
    a table of floating-point numbers says that one is missing.
    """
    stripped = series.str.strip_chars()
    stripped = pl.select(pl.when(stripped.str.len_bytes() > 0).then(stripped)).to_series().rename(series.name)
    numbers = stripped.cast(pl.Float64, strict=False)
    if numbers.null_count() == stripped.null_count() and numbers.is_nan().any() and numbers.is_finite().any():
        stripped = pl.select(pl.when(~numbers.is_nan()).then(stripped)).to_series().rename(series.name)
    present = stripped.drop_nulls().unique()
    if len(present) and present.str.contains(_INTEGER).all():
        return stripped.cast(pl.Float64).cast(pl.Int64).cast(pl.String)
    return stripped


def canonical_lists(labels: pl.Series, separator: str | None) -> pl.Series:
    """Return several labels in one cell as a JSON list in sorted order: read from JSON, else cut at the separator."""

    def read(cell: str | None) -> str | None:
        if cell is None:
            return None
        pieces = cell.split(separator) if separator else [cell]
        if cell.startswith("["):
            with suppress(ValueError, TypeError):  # a label that merely begins with a bracket stays as it is
                pieces = [str(item) for item in json.loads(cell)]
        return json.dumps(sorted({piece.strip() for piece in pieces if piece.strip()}), ensure_ascii=False)

    distinct = labels.unique().drop_nulls().to_list()
    return labels.replace_strict({cell: read(cell) for cell in distinct}, default=None, return_dtype=pl.String)


def order_names(values: pl.Series) -> tuple[str, ...]:
    """Return distinct labels in class order: by value where all are whole numbers, else by code point."""
    names = values.to_list()
    if values.len() and values.str.contains(_INTEGER).all():
        return tuple(sorted(names, key=lambda name: (float(name), name)))
    return tuple(sorted(names))


def class_names(splits: Mapping[str, pl.DataFrame], problem_type: str) -> tuple[str, ...]:
    """Return the class names found in column `label` of the training rows (or of all, where there are none)."""
    frames = [splits["train"]] if "train" in splits else list(splits.values())
    labels = pl.concat([frame["label"] for frame in frames]).drop_nulls()
    values = _lists(labels).explode(empty_as_null=False).drop_nulls() if problem_type == MULTI else labels
    return order_names(values.unique())


def label_summary(labels: pl.Series, plan: LabelPlan) -> dict[str, int]:
    """Return rows by class name (multi-label: rows that carry the class); empty for regression."""
    if plan.problem_type == REGRESSION:
        return {}
    if plan.problem_type == MULTI:
        hot = np.array(labels.to_list(), dtype=np.int64).reshape(len(labels), len(plan.names))
        return {name: int(count) for name, count in zip(plan.names, hot.sum(axis=0), strict=True)}
    counts = np.bincount(labels.to_numpy(), minlength=len(plan.names))
    return {name: int(count) for name, count in zip(plan.names, counts, strict=True)}


def _lists(labels: pl.Series) -> pl.Series:
    """Return canonical label lists (JSON) as lists of texts."""
    return labels.str.json_decode(pl.List(pl.String))


def _multi_hot(rows: pl.DataFrame, ids: dict[str, int], plan: LabelPlan) -> pl.Series:
    lists = _lists(rows["label_text"])
    flat = pl.DataFrame({"row": np.arange(rows.height), "name": lists}).explode("name", empty_as_null=False)
    flat = flat.drop_nulls().with_columns(
        pl.col("name").replace_strict(ids, default=None, return_dtype=pl.Int64).alias("id")
    )
    unknown = np.zeros(rows.height, dtype=bool)
    unknown[flat.filter(pl.col("id").is_null())["row"].to_numpy()] = True
    _refuse_unknown(rows, pl.Series(unknown), plan)
    known = flat.drop_nulls()
    hot = np.zeros((rows.height, len(ids)), dtype=np.int8)
    hot[known["row"].to_numpy(), known["id"].to_numpy()] = 1
    return pl.Series("label", hot).cast(pl.List(pl.Int8))


def _refuse_unknown(rows: pl.DataFrame, unknown: pl.Series, plan: LabelPlan) -> None:
    bad = rows.filter(pl.col("reason").is_null() & unknown)
    if not bad.height:
        return
    found = f"the label {bad['label_text'][0]!r} does not occur in the training rows ({_shown(plan.names)})"
    if bad.height > 1:
        found += f"; {bad.height} rows have such labels"
    raise _at_row(bad["row_id"][0], found, "correct the label, or add training rows that carry it")


def _wrong_count(names: tuple[str, ...], num_labels: int, kind: str, train: pl.Series) -> DataError:
    message = f"the training rows have {len(names)} labels ({_shown(names)}) but model.num_labels is {num_labels}"
    if len(names) == 1:
        message = f"the training rows have one label ({_shown(names)}) but model.num_labels is {num_labels}"
    remedy = f"set model.num_labels to {len(names)}"
    numbers = train.drop_nulls().cast(pl.Float64, strict=False)
    if kind == SINGLE and len(names) > num_labels and not numbers.is_null().any() and len(names) > 20:
        remedy += ", or to 1 if the labels are quantities to predict (regression)"
    elif len(names) < 2 and kind == SINGLE:
        remedy = "a classifier needs at least 2 different labels in the training rows"
    return DataError(message, remedy, details={"labels_found": len(names), "num_labels": num_labels})


def _shown(names: tuple[str, ...]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:_EXAMPLES_SHOWN])
    return shown + (", …" if len(names) > _EXAMPLES_SHOWN else "")


def _at_row(row_id: str, found: str, remedy: str) -> DataFileError:
    file, line, column = split_row_id(row_id)
    return DataFileError(file, line, column, found, remedy)


def split_row_id(row_id: str) -> tuple[str, int, int]:
    """Return source, line and column (0: not part of the id) of `<source>:<line>[:<column>]`."""
    head, _, last = row_id.rpartition(":")
    source, _, middle = head.rpartition(":")
    if source and middle.isdigit():
        return source, int(middle), int(last)
    return head, int(last), 0
