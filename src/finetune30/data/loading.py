"""From a configuration to all rows with provenance, before any rule: the ground of every data command."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from finetune30.config.data import DataConfig
from finetune30.config.problem_types import AUTO
from finetune30.data.column_evidence import explain_columns
from finetune30.data.columns import Columns, detect_columns, require_column
from finetune30.data.evidence import (
    declared_names,
    differing_classes,
    evaluated_on_test,
    structured_texts,
    swallowed_lines,
)
from finetune30.data.groups import Groups, find_groups, without_group_column
from finetune30.data.label_columns import with_label_columns, without_label_columns
from finetune30.data.ledger import list_lines
from finetune30.data.problem import Arranged, Arranges, Detected, Problem, ProblemChoice, Role
from finetune30.data.sources.resolve import LoadedSources, load_sources, with_unique_names
from finetune30.data.sources.table import SourceTable
from finetune30.errors import DataError
from finetune30.hub.fetching import OnTransfer

LoadVersion = Callable[[str], Mapping[str, list[SourceTable]]]


@dataclass(frozen=True)
class LoadedRows:
    """All rows of a data set.

    `rows`: row_id (unique), file, origin and split (`train` or `evaluation`), a column for each text role of `problem`,
    label_text (the target as `problem` reads it), reason (null). `declared`: names that the source itself declares for
    its target, in order (`()`: none). `detected`: what the rows were taken for, which no configuration said.
    `replaced`: the set that was asked for -> the one whose rows these are, where that could not be reached. `faults`:
    rows that could not be read, row_id, rule and fix (None: there are none of that kind). `groups`: what is known of
    rows that belong together, whose number is then a column of `rows`; None: rows are independent.
    """

    rows: pl.DataFrame
    tables: list[SourceTable]
    columns: Columns
    declared: tuple[str, ...]
    problem: Problem
    source: dict[str, Any]
    detected: tuple[Detected, ...] = ()
    replaced: Mapping[str, str] = field(default_factory=dict)
    faults: pl.DataFrame | None = None
    groups: Groups | None = None

    def describe_files(self) -> list[dict[str, Any]]:
        """Return how each file was read: format, rows, encoding, separator, quotes, notes; and where its lines went."""
        lines = {entry["file"]: entry for entry in list_lines(self.tables)}
        return [
            {
                "file": table.name,
                "format": table.format,
                "rows": table.frame.height,
                **table.reading,
                "notes": list(table.notes),
                "lines": lines.get(table.name),
            }
            for table in self.tables
        ]


def load_rows(
    config: DataConfig,
    log: Callable[[str], None],
    *,
    problem: ProblemChoice,
    num_labels: int | None = None,
    load_version: LoadVersion | None = None,
    on_transfer: OnTransfer | None = None,
) -> LoadedRows:
    """Load every row that `config` names.

    Raises DataError, DataFileError or a HubError.
    """
    sources = load_sources(config, log, load_version, on_transfer)
    arranged = _arrange(problem, with_unique_names(sources.tables), config)
    chosen, problem, count = problem, arranged.problem, len(sources.train)
    sources = replace(sources, train=[*arranged.tables[:count]], evaluation=[*arranged.tables[count:]])
    sources, named = with_label_columns(sources, config, named_columns(config, problem))
    columns = detect_columns(_without_named(sources.train[0], config), problem.columns, named)
    log(f"data: {config.dataset_name}: {columns.describe()}")
    tables = sources.tables
    for table in tables:
        for note in table.notes:
            log(f"data: {table.name}: {note}")
    rows, declared = _build_rows(tables, len(sources.train), columns, problem.columns, chosen=sources.chosen)
    if columns.target is not None:
        rows = _without_unlabelled_evaluation(rows, sources, log)
    rows, groups = find_groups(rows, tables, len(sources.train), config, log)
    if not (rows["split"] == "evaluation").any():  # they are split off, whatever the set calls a split
        sources = replace(sources, eval_split=None)
    settled = problem.settle(rows["label_text"], config.label_separator, num_labels)
    declared = settled.names or tuple(dict.fromkeys(settled.spellings.get(name, name) for name in declared))
    detected = (
        *arranged.detected,
        *settled.detected,
        *explain_columns(_unread(sources.train[0], config, arranged), columns, problem.columns, named, config),
        *differing_classes(tables, columns),
        *structured_texts(rows, columns),
        *swallowed_lines(tables),
        *evaluated_on_test(sources.eval_split),
    )
    if settled.problem is chosen:
        log(f"data: the problem is {settled.problem.name}")
    for found in detected:
        log(f"data: {found.describe()}")
    source = _describe_source(config, sources, tables, columns)
    rows = rows.with_columns(settled.targets)
    return LoadedRows(
        rows, tables, columns, declared, settled.problem, source, detected, faults=arranged.faults, groups=groups
    )


def _arrange(problem: ProblemChoice, tables: list[SourceTable], config: DataConfig) -> Arranged:
    arranged = problem.arrange(tables, config) if isinstance(problem, Arranges) else Arranged(tables, problem)
    if config.conversation_format != AUTO and arranged.column is None:
        raise DataError(
            f"data.conversation_format is {config.conversation_format}, but the problem reads no conversations",
            "leave data.conversation_format out, or set model.problem_type to causal_lm",
        )
    return arranged


def _without_named(table: SourceTable, config: DataConfig) -> SourceTable:
    """Return the table without the columns that are classes or tell groups: none of them is a text."""
    rest = without_label_columns(table, config)
    return replace(rest, frame=without_group_column(rest, config))


def _unread(table: SourceTable, config: DataConfig, arranged: Arranged) -> SourceTable:
    """Return the table without the columns that are classes or that others were made of."""
    rest = _without_named(table, config)
    return replace(
        rest, frame=rest.frame.drop(arranged.read - {arranged.column}, strict=False)
    )  # some only in other files


def named_columns(config: DataConfig, problem: ProblemChoice) -> dict[str, str | None]:
    """Return the columns that a configuration names for a problem's roles, by key; None where it names none."""
    return {role.key: getattr(config, role.key, None) for role in problem.columns}


def _build_rows(
    tables: list[SourceTable], train_count: int, columns: Columns, roles: Sequence[Role], *, chosen: bool
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    declared = declared_names(tables[:train_count], columns.target_column)
    keys = {role.name: role.key for role in roles}
    texts = [role.name for role in roles if role.kind == "text"]
    parts = []
    for index, table in enumerate(tables):
        for role, name in columns.chosen.items():
            # Public test sets often have no column of labels: they are left out, unless they were named.
            may_lack = role == columns.target and index >= train_count and not chosen
            if name is not None and not may_lack:
                require_column(table, name, keys[role], is_first=index == 0)
        parts.append(_rows_of(table, columns, texts, "train" if index < train_count else "evaluation"))
    return pl.concat(parts), declared


def _rows_of(table: SourceTable, columns: Columns, texts: Sequence[str], split: str) -> pl.DataFrame:
    target = _cells(columns.target_column if columns.target_column in table.columns else None)
    if own := table.label_names.get(columns.target_column or ""):
        names = {str(index): name for index, name in enumerate(own)}
        target = target.replace_strict(names, default=None, return_dtype=pl.String)
    return table.frame.select(
        table.row_ids().alias("row_id"),
        pl.lit(table.name).alias("file"),
        pl.lit(split).alias("origin"),
        pl.lit(split).alias("split"),
        *(_cells(columns.chosen[name]).alias(name) for name in texts),
        target.alias("label_text"),
        pl.lit(None, dtype=pl.String).alias("reason"),
    )


def _cells(column: str | None) -> pl.Expr:
    return pl.lit(None, dtype=pl.String) if column is None else pl.col(column)


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
        "splits": list(sources.splits),
        "columns": dict(columns.chosen),
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
