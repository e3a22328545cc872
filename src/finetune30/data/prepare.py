"""From a configuration to the rows of one training: read, check, label, split, sample, and account for every row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from finetune30.config.data import DataConfig
from finetune30.config.schema import VERSION_PREFIX
from finetune30.data.analysis.statistics import balance
from finetune30.data.groups import GROUP, keep_together, number_as_stored, require_several
from finetune30.data.ledger import build_ledger
from finetune30.data.loading import LoadedRows, load_rows
from finetune30.data.problem import Problem, ProblemChoice, Targets
from finetune30.data.splitting import sample_rows, split_off
from finetune30.data.texts import filled_texts, text_columns
from finetune30.data.validation.findings import describe_findings
from finetune30.data.validation.quarantine import GateResult, apply_gate
from finetune30.data.validation.set_rules import question_keys
from finetune30.data.validation.validate import Validation, validate_rows
from finetune30.data.versions.held_back import HeldBackRows, hold_back
from finetune30.data.versions.manifest import Manifest
from finetune30.data.versions.schema import ORIGIN, Schema, schema_of_roles
from finetune30.data.versions.storage import SPLITS, VersionStore, digest_version
from finetune30.errors import DataError
from finetune30.hub.fetching import OnTransfer
from finetune30.values import say_count

#: Why a row is neither trained nor evaluated on, in ledgers: it is kept for a test.
SET_ASIDE_AS_TEST = "set_aside_as_test"


@dataclass(frozen=True)
class PreparedData:
    """Rows of one training.

    `train`, `evaluation`: columns row_id (String, `<source>:<line>`, unique), the texts of `problem` (String; an
    optional one may be null), label_text and label (the target as read, and as `problem` encodes it), and where rows
    belong together group (Int64). `targets`: what
    the rows ask, JSON. `digest`: sha256 over both splits, order-sensitive.
    `ledger`, `report`, `source`: JSON trees. `quarantine`: the rows set aside, with their cells as read and why.
    `version_rows`: the same rows as a dataset version stores them; `digest` is the digest of that version. `held_back`:
    test rows, which belong to that version and to nothing that is trained or evaluated.
    """

    train: pl.DataFrame
    evaluation: pl.DataFrame
    problem: Problem
    targets: Targets
    digest: str
    ledger: dict[str, Any]
    report: dict[str, Any]
    source: dict[str, Any]
    quarantine: pl.DataFrame
    version_rows: dict[str, pl.DataFrame]
    recipe: tuple[dict[str, Any], ...]
    held_back: HeldBackRows | None = None

    @property
    def schema(self) -> Schema:
        """The columns of its version."""
        return schema_of_roles(self.problem.columns, grouped=GROUP in self.train.columns)


def prepare_data(
    config: DataConfig,
    *,
    problem: ProblemChoice,
    num_labels: int,
    seed: int,
    log: Callable[[str], None],
    data_folder: Path | None = None,
    on_transfer: OnTransfer | None = None,
    stops: bool = True,
) -> PreparedData:
    """Prepare the rows that `config` names; `stops` False: also those that the gate would refuse, to look at them.

    Raises DataError (labels disagree with `num_labels`, no rows left …), DataFileError (a fault at a place) and
    HubError.
    """
    versions = None if data_folder is None else VersionStore(data_folder)
    load_version = None if versions is None else versions.load_tables
    loaded = load_rows(
        config,
        log,
        problem=problem,
        num_labels=num_labels,
        load_version=load_version,
        on_transfer=on_transfer,
    )
    validation = validate_rows(loaded, config, expected_labels=num_labels)
    for line in describe_findings(validation.findings, examples=1):
        log(f"data: {line}")
    for share in validation.shares:
        log(f"data: {share.describe()}")
    gate = apply_gate(validation, loaded.rows, config.gate, stops=stops)
    settled = loaded.problem
    kept = gate.rows.filter((pl.col("split") == "train") & pl.col("reason").is_null())
    _require_rows(gate.rows, kept.height, "train", least=1)  # or else it would seem to be the labels that are missing
    targets = settled.plan(kept["label_text"].drop_nulls(), num_labels, loaded.declared)
    rows = choose_rows(settled.encode_targets(gate.rows, targets), config, seed, settled)
    rows = number_as_stored(rows, loaded.groups)
    ledger = build_ledger(rows, loaded.tables)
    used = {split: _take(rows, split) for split in SPLITS}
    version_rows = {split: version_rows_of(frame, settled) for split, frame in used.items()}
    schema = schema_of_roles(settled.columns, grouped=GROUP in rows.columns)
    held_back = _hold_back(rows, settled, config, versions)
    digest = digest_version(targets, version_rows, schema, held_back)
    report = _build_report(used, targets, validation, gate, loaded) | {"ledger": ledger}
    if held_back is not None:
        report["test"] = {"total_samples": held_back.count}
        log(
            f"data: {say_count(held_back.count, 'rows are', ',')} set aside as test rows, which nothing reads "
            f"before the test"
        )
    train, evaluation = (used[split] for split in SPLITS)
    return PreparedData(
        train,
        evaluation,
        settled,
        targets,
        digest,
        ledger,
        report,
        loaded.source,
        gate.quarantine,
        version_rows,
        validation.recipe,
        held_back,
    )


def record_version(prepared: PreparedData, store: VersionStore, note: str = "") -> Manifest:
    """Store the rows of a training as a dataset version (its digest is `prepared.digest`) and return its manifest."""
    manifest, _ = store.create(
        prepared.version_rows,
        targets=prepared.targets,
        schema=prepared.schema,
        problem_type=prepared.problem.name,
        source=prepared.source,
        recipe=prepared.recipe,
        statistics={key: prepared.report[key] for key in ("total_samples", "label_counts", "imbalance_ratio")},
        parent=next((file["version"] for file in prepared.source["files"] if "version" in file), None),
        note=note,
        held_back=prepared.held_back,
    )
    return manifest


def choose_rows(rows: pl.DataFrame, config: DataConfig, seed: int, problem: Problem) -> pl.DataFrame:
    """Set test rows aside, split evaluation rows off where there are none, then sample both splits.

    Reasons and splits are filled in. Raises DataError where no row is left on one side.
    """
    position = np.arange(rows.height)
    split = rows["split"].to_numpy().astype(object)
    reason = rows["reason"].to_numpy().astype(object)
    kept = rows["reason"].is_null().to_numpy()
    if config.test_fraction is not None:
        pool = position[kept & (split == "train")]
        _require_rows(rows, len(pool), "train", least=2)
        keys = keep_together(question_keys(rows[pool]), rows[pool])
        require_several(keys, rows[pool], "test")
        aside = pool[split_off(keys, problem.strata(rows["label"][pool]), config.test_fraction, seed, for_test=True)]
        reason[aside] = SET_ASIDE_AS_TEST
        kept[aside] = False
    if not (split == "evaluation").any():
        _require_rows(rows, int(kept.sum()), "train", least=2)
        left = rows.filter(kept)
        strata = problem.strata(left["label"])
        keys = keep_together(question_keys(left), left)
        require_several(keys, left, "evaluation")
        over = split_off(keys, strata, config.eval_fraction, seed)
        split[position[kept][over]] = "evaluation"
    for name, wanted in (("train", config.train_samples), ("evaluation", config.eval_samples)):
        positions = position[kept & (split == name)]
        _require_rows(rows, len(positions), name, least=1)
        if wanted is not None and wanted < len(positions):
            chosen = sample_rows(problem.strata(rows["label"][positions]), wanted, seed)
            left_out = np.ones(len(positions), dtype=bool)
            left_out[chosen] = False
            reason[positions[left_out]] = "not_sampled"
    return rows.with_columns(
        pl.Series("split", split.tolist(), dtype=pl.String), pl.Series("reason", reason.tolist(), dtype=pl.String)
    )


def _hold_back(
    rows: pl.DataFrame, problem: Problem, config: DataConfig, versions: VersionStore | None
) -> HeldBackRows | None:
    """Return the test rows: those just set aside, or, unread, those of the version that is trained on."""
    aside = rows.filter(pl.col("reason") == SET_ASIDE_AS_TEST)
    known = None
    if versions is not None and config.dataset_name.startswith(VERSION_PREFIX):
        known = versions.held_back(config.dataset_name.removeprefix(VERSION_PREFIX))
    if known is None:
        schema = schema_of_roles(problem.columns, grouped=GROUP in rows.columns)
        return hold_back(version_rows_of(aside, problem), schema) if aside.height else None
    if aside.height:
        message = (
            f"{config.dataset_name} has {say_count(known.count, 'test rows')} of its own, and data.test_fraction "
            f"asks for others"
        )
        raise DataError(message, "leave data.test_fraction out")
    return known


def _take(rows: pl.DataFrame, split: str) -> pl.DataFrame:
    wanted = (pl.col("split") == split) & pl.col("reason").is_null()
    return rows.filter(wanted).select("row_id", *text_columns(rows), "label", "label_text", *_group(rows)).rechunk()


def _group(rows: pl.DataFrame) -> list[str]:
    return [GROUP] if GROUP in rows.columns else []


def version_rows_of(rows: pl.DataFrame, problem: ProblemChoice) -> pl.DataFrame:
    """Return rows as a version stores them: the columns of the problem, targets as texts, and where a row came from."""
    stored = [pl.col("label_text" if role.kind == "target" else role.name).alias(role.name) for role in problem.columns]
    return rows.select(*stored, *_group(rows), pl.col("row_id").alias("origin"))


def rows_of_version(stored: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Return rows that a version stores as prepared ones, with targets in `label_text` and no reason."""
    renamed = stored.rename({target.name: "label_text" for target in schema.targets} | {ORIGIN: "row_id"})
    return renamed.with_columns(pl.lit(None, dtype=pl.String).alias("reason"))


def count_used(used: Mapping[str, pl.DataFrame], problem: Problem, targets: Targets) -> dict[str, Any]:
    """Return what the report says of the rows used, by split: their number, by class, and how even the classes are."""
    train, evaluation = (used[split] for split in SPLITS)
    counts, evaluation_counts = (problem.count(part["label_text"], targets) for part in (train, evaluation))
    return {
        "total_samples": train.height,
        "label_counts": counts,
        **balance(counts),
        "evaluation": {"total_samples": evaluation.height, "label_counts": evaluation_counts},
    }


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
    used: dict[str, pl.DataFrame],
    targets: Targets,
    validation: Validation,
    gate: GateResult,
    loaded: LoadedRows,
) -> dict[str, Any]:
    columns = loaded.columns
    return {
        **count_used(used, loaded.problem, targets),
        **({} if loaded.groups is None else {"groups": loaded.groups.as_dict()}),
        "columns": {**columns.chosen, "available": loaded.tables[0].columns},
        "texts": {name: columns.chosen[name] for name in filled_texts(used["train"])},
        "detected_columns": list(columns.detected),
        "detected": [asdict(found) for found in loaded.detected],
        "files": loaded.describe_files(),
        "recipe": list(validation.recipe),
        "rule_shares": [share.as_tree() for share in validation.shares],
        "findings_summary": validation.summary(),
        "findings": validation.findings.to_dicts(),
        "gate": gate.limits,
    }
