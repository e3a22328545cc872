"""From a configuration to the rows of one training: read, check, label, split, sample, and account for every row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from finetune30.config.schema import DataConfig
from finetune30.data.columns import Columns, detect_columns, require_column
from finetune30.data.digests import digest_rows
from finetune30.data.labels import LabelPlan, encode_labels, label_summary, normalize_labels, plan_labels
from finetune30.data.ledger import build_ledger, describe_ledger
from finetune30.data.rules import apply_row_rules
from finetune30.data.sources.resolve import LoadedSources, load_sources, with_unique_names
from finetune30.data.sources.table import SourceTable
from finetune30.data.splitting import sample_rows, split_off, strata_of
from finetune30.errors import DataError

#: Above this ratio of the largest to the smallest class a set counts as imbalanced.
BALANCED_RATIO = 3.0
#: Findings of one rule that the report shows in full.
_FINDINGS_SHOWN = 1000


@dataclass(frozen=True)
class PreparedData:
    """Rows of one training.

    `train`, `evaluation`: columns row_id (String, `<source>:<line>`, unique), text (String), text_pair
    (String or null) and label (Int64 class id; Float64 for regression; List(Int8) multi-hot for multi-label).
    `label_names`: index = class id, `()` for regression. `digest`: sha256 over both splits, order-sensitive.
    `ledger`, `report`, `source`: JSON trees.
    """

    train: pl.DataFrame
    evaluation: pl.DataFrame
    problem_type: str
    label_names: tuple[str, ...]
    digest: str
    ledger: dict[str, Any]
    report: dict[str, Any]
    source: dict[str, Any]


def prepare_data(
    config: DataConfig,
    *,
    problem_type: str,
    num_labels: int,
    seed: int,
    log: Callable[[str], None],
    data_folder: Path | None = None,
) -> PreparedData:
    """Prepare the rows that `config` names.

    Raises DataError (labels disagree with `num_labels`, no rows left …), DataFileError (a fault at a place) and
    HubUnavailableError.
    """
    sources = load_sources(config, log)
    columns = detect_columns(sources.train[0], config.text_column, config.text_pair_column, config.label_column)
    log(f"data: {config.dataset_name}: {columns.describe()}")
    for note in (f"{table.name}: {note}" for table in sources.tables for note in table.notes):
        log(f"data: {note}")
    rows, declared = build_rows(sources, columns)
    rows = _without_unlabelled_evaluation(rows, sources, log)
    outcome = apply_row_rules(rows, config.validation_rules)
    plan = plan_labels(
        outcome.rows,
        problem_type=problem_type,
        num_labels=num_labels,
        separator=config.label_separator,
        declared=declared,
    )
    rows = encode_labels(outcome.rows, plan, config.label_separator)
    rows = choose_rows(rows, config, seed)
    ledger = build_ledger(rows)
    for line in describe_ledger(ledger):
        log(f"data: {line}")
    train, evaluation = (_take(rows, split) for split in ("train", "evaluation"))
    digest = digest_rows(plan.names, train, evaluation)
    report = _build_report(train, evaluation, plan, outcome.findings, columns, ledger)
    source = _describe_source(config, sources, columns)
    return PreparedData(train, evaluation, plan.problem_type, plan.names, digest, ledger, report, source)


def build_rows(sources: LoadedSources, columns: Columns) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return all rows with provenance, and the class names that the source declares (`()`: none).

    Columns: row_id, file, origin and split (`train` or `evaluation`), text, text_pair, label_text, reason (null).
    """
    declared = sources.train[0].label_names.get(columns.label, ())
    parts = []
    count = len(sources.train)
    for index, table in enumerate(with_unique_names(sources.tables)):
        for key, name in (
            ("text_column", columns.text),
            ("text_pair_column", columns.pair),
            ("label_column", columns.label),
        ):
            if name is not None:
                require_column(table, name, key)
        parts.append(_rows_of(table, columns, "train" if index < count else "evaluation", declared))
    rows = pl.concat(parts)
    return rows.with_columns(normalize_labels(rows["label_text"])), declared


def choose_rows(rows: pl.DataFrame, config: DataConfig, seed: int) -> pl.DataFrame:
    """Split evaluation rows off where there are none, then sample both splits; reasons and splits are filled in.

    Raises DataError where no row is left on one side.
    """
    position = np.arange(rows.height)
    split = rows["split"].to_numpy().astype(object)
    kept = rows["reason"].is_null().to_numpy()
    if not (split == "evaluation").any():
        _require_rows(rows, int(kept.sum()), "train", least=2)
        pool = rows.filter(kept)
        strata = strata_of(pool["label"])
        over = split_off(text_keys(pool), strata, config.eval_fraction, seed)
        split[position[kept][over]] = "evaluation"
    reason = rows["reason"].to_numpy().astype(object)
    for name, wanted in (("train", config.train_samples), ("evaluation", config.eval_samples)):
        positions = position[kept & (split == name)]
        _require_rows(rows, len(positions), name, least=1)
        if wanted is not None and wanted < len(positions):
            chosen = sample_rows(strata_of(rows["label"][positions]), wanted, seed)
            left_out = np.ones(len(positions), dtype=bool)
            left_out[chosen] = False
            reason[positions[left_out]] = "not_sampled"
    return rows.with_columns(
        pl.Series("split", split.tolist(), dtype=pl.String), pl.Series("reason", reason.tolist(), dtype=pl.String)
    )


def text_keys(rows: pl.DataFrame) -> pl.Series:
    """Return what makes two rows the same text: text and second text without outer white space."""
    key = pl.concat_str(
        [pl.col("text").str.strip_chars(), pl.col("text_pair").fill_null("").str.strip_chars()], separator="\0"
    )
    return rows.select(key.alias("key")).to_series()


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


def _take(rows: pl.DataFrame, split: str) -> pl.DataFrame:
    wanted = (pl.col("split") == split) & pl.col("reason").is_null()
    return rows.filter(wanted).select("row_id", "text", "text_pair", "label").rechunk()


def _require_rows(rows: pl.DataFrame, count: int, split: str, least: int) -> None:
    if count >= least:
        return
    own = rows.filter(pl.col("origin") == split)["reason"].drop_nulls()
    reasons = (
        ", ".join(f"{number} {reason}" for reason, number in sorted(own.value_counts().rows())) or "nothing dropped"
    )
    message = f"{count} {split} rows are left after the rules ({reasons}); at least {least} are needed"
    raise DataError(message, "look at the rows with: ft30 data validate, or loosen data.validation_rules")


def _build_report(
    train: pl.DataFrame,
    evaluation: pl.DataFrame,
    plan: LabelPlan,
    findings: pl.DataFrame,
    columns: Columns,
    ledger: dict[str, Any],
) -> dict[str, Any]:
    counts = label_summary(train["label"], plan)
    return {
        "total_samples": train.height,
        "label_counts": counts,
        **balance(counts),
        "evaluation": {"total_samples": evaluation.height, "label_counts": label_summary(evaluation["label"], plan)},
        "columns": {"text": columns.text, "text_pair": columns.pair, "label": columns.label},
        "detected_columns": list(columns.detected),
        "findings_by_rule": dict(sorted(findings["rule"].value_counts().rows())),
        "findings": findings.group_by("rule", maintain_order=True).head(_FINDINGS_SHOWN).to_dicts(),
        "ledger": ledger,
    }


def balance(counts: dict[str, int]) -> dict[str, Any]:
    """Return `imbalance_ratio` (largest to smallest class, null where a class is empty or there is none) and
    `is_balanced` (ratio at most 3).
    """
    if not counts or min(counts.values()) == 0:
        return {"imbalance_ratio": None, "is_balanced": not counts}
    ratio = max(counts.values()) / min(counts.values())
    return {"imbalance_ratio": round(ratio, 2), "is_balanced": ratio <= BALANCED_RATIO}


def _describe_source(config: DataConfig, sources: LoadedSources, columns: Columns) -> dict[str, Any]:
    return {
        "name": config.dataset_name,
        "kind": sources.kind,
        "config": config.dataset_config if sources.kind == "hub" else None,
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
            for table in sources.tables
        ],
    }
