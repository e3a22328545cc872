"""From a configuration to all rows with provenance, before any rule: the ground of every data command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from finetune30.config.schema import DataConfig
from finetune30.data.columns import Columns, detect_columns, require_column
from finetune30.data.labels import MULTI, canonical_lists, normalize_labels, tell_problem_type
from finetune30.data.sources.resolve import LoadedSources, load_sources, with_unique_names
from finetune30.data.sources.table import SourceTable
from finetune30.hub.fetching import OnTransfer

LoadVersion = Callable[[str], Mapping[str, list[SourceTable]]]


@dataclass(frozen=True)
class LoadedRows:
    """All rows of a data set.

    `rows`: row_id (unique), file, origin and split (`train` or `evaluation`), text, text_pair, label_text, reason
    (null). `declared`: class names that the source itself declares, in order (`()`: none).
    """

    rows: pl.DataFrame
    tables: list[SourceTable]
    columns: Columns
    declared: tuple[str, ...]
    problem_type: str
    source: dict[str, Any]


def load_rows(
    config: DataConfig,
    log: Callable[[str], None],
    *,
    problem_type: str = "auto",
    num_labels: int | None = None,
    load_version: LoadVersion | None = None,
    on_transfer: OnTransfer | None = None,
) -> LoadedRows:
    """Load every row that `config` names.

    Raises DataError, DataFileError or a HubError.
    """
    sources = load_sources(config, log, load_version, on_transfer)
    columns = detect_columns(sources.train[0], config.text_column, config.text_pair_column, config.label_column)
    log(f"data: {config.dataset_name}: {columns.describe()}")
    tables = with_unique_names(sources.tables)
    for table in tables:
        for note in table.notes:
            log(f"data: {table.name}: {note}")
    rows, declared = _build_rows(tables, len(sources.train), columns)
    rows = _without_unlabelled_evaluation(rows, sources, log)
    labels = normalize_labels(rows["label_text"])
    if problem_type == "auto":
        problem_type = tell_problem_type(labels, num_labels, config.label_separator)
    if problem_type == MULTI:
        labels = canonical_lists(labels, config.label_separator)
    source = _describe_source(config, sources, tables, columns)
    return LoadedRows(rows.with_columns(labels), tables, columns, declared, problem_type, source)


def _build_rows(tables: list[SourceTable], train_count: int, columns: Columns) -> tuple[pl.DataFrame, tuple[str, ...]]:
    declared = tables[0].label_names.get(columns.label, ()) or tables[0].label_order.get(columns.label, ())
    chosen = (("text_column", columns.text), ("text_pair_column", columns.pair), ("label_column", columns.label))
    parts = []
    for index, table in enumerate(tables):
        for key, name in chosen:
            if name is not None:
                require_column(table, name, key)
        parts.append(_rows_of(table, columns, "train" if index < train_count else "evaluation", declared))
    return pl.concat(parts), declared


def _rows_of(table: SourceTable, columns: Columns, split: str, declared: tuple[str, ...]) -> pl.DataFrame:
    label = pl.col(columns.label)
    if declared and table.label_names.get(columns.label):
        names = {str(index): name for index, name in enumerate(declared)}
        label = label.replace_strict(names, default=None, return_dtype=pl.String)
    pair = pl.col(columns.pair) if columns.pair else pl.lit(None, dtype=pl.String)
    return table.frame.select(
        table.row_ids().alias("row_id"),
        pl.lit(table.name).alias("file"),
        pl.lit(split).alias("origin"),
        pl.lit(split).alias("split"),
        pl.col(columns.text).alias("text"),
        pair.alias("text_pair"),
        label.alias("label_text"),
        pl.lit(None, dtype=pl.String).alias("reason"),
    )


def _without_unlabelled_evaluation(
    rows: pl.DataFrame, sources: LoadedSources, log: Callable[[str], None]
) -> pl.DataFrame:
    """Leave out an evaluation split that has no label at all, as public test sets often are, unless it was named."""
    evaluation = rows.filter(pl.col("split") == "evaluation")
    if sources.chosen or not evaluation.height or evaluation["label_text"].null_count() < evaluation.height:
        return rows
    log(f"data: the split {sources.eval_split!r} has no labels; evaluation rows are split off from the training rows")
    return rows.filter(pl.col("split") == "train")


def _describe_source(
    config: DataConfig, sources: LoadedSources, tables: list[SourceTable], columns: Columns
) -> dict[str, Any]:
    return {
        "name": config.dataset_name,
        "kind": sources.kind,
        "config": config.dataset_config if sources.kind == "hub" else None,
        "hub": None if sources.reference is None else {"id": sources.reference.id, "commit": sources.reference.commit},
        "eval_split": sources.eval_split,
        "columns": {"text": columns.text, "text_pair": columns.pair, "label": columns.label},
        "files": [
            {
                "file": table.name,
                "format": table.format,
                "rows": table.frame.height,
                "notes": list(table.notes),
                **table.facts,
            }
            for table in tables
        ],
    }
