"""What runs a set is made of: seeds on the same rows, or folds, each a dataset version of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from finetune30.config import ExperimentConfig
from finetune30.errors import ConflictError, DataError, UsageError
from finetune30.problems import load_problem
from finetune30.service.sets.freezing import Frozen
from finetune30.service.sets.plans import Plan

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.versions.storage import VersionStore

MOST_RUNS = 100
#: What a fold's training leaves out: its held-out rows must choose neither the step to stop at nor the best weights.
_NO_CHOICE = {"eval_strategy": "no", "early_stopping_patience": None, "load_best_model_at_end": False}


def plan_seeds(frozen: Frozen, seeds: int) -> Plan:
    """Return the plan of runs under `training.seed`, the next one, and so on. Raises UsageError."""
    _require_runs(seeds)
    first = frozen.config.training.seed
    entries = tuple(
        {"number": number, "seed": first + number - 1, "dataset_digest": frozen.manifest.digest}
        for number in range(1, seeds + 1)
    )
    return Plan("seeds", frozen.config, entries, frozen.explicit, frozen.manifest.digest)


def plan_folds(
    frozen: Frozen,
    versions: VersionStore,
    folds: int,
    repeats: int,
    groups: Mapping[str, str] | None = None,
) -> Plan:
    """Return the plan of `repeats` times `folds` runs, each evaluated on the rows that the others train on.

    All rows of the version take part, test rows never. Rows of one text share a fold, and those of one group where
    `groups` gives it by row id; each fold has its share of every class. The dealing and `training.seed` change with
    each repeat. Raises UsageError, and ConflictError where there are fewer groups than folds.
    """
    import polars as pl

    from finetune30.data.prepare import rows_of_version
    from finetune30.data.splitting import assign_folds
    from finetune30.data.validation.set_rules import question_keys

    if folds < 2:
        raise UsageError(f"{folds} folds leave nothing to train on", "give 2 or more")
    _require_runs(folds * repeats)
    manifest, config = frozen.manifest, frozen.config
    problem = load_problem(manifest.problem_type)
    stored = pl.concat([versions.load_rows(manifest, split) for split in ("train", "evaluation")])
    frame = problem.encode_targets(rows_of_version(stored, manifest.schema), manifest.targets)
    keys = _join_groups(question_keys(frame), frame["row_id"], groups)
    if (count := keys.n_unique()) < folds:
        raise ConflictError(f"{count} groups of rows cannot fill {folds} folds", "choose fewer folds")
    entries: list[dict[str, Any]] = []
    for repeat in range(1, repeats + 1):
        assigned = assign_folds(keys, problem.strata(frame["label"]), folds, config.row_seed + repeat - 1)
        for fold in range(folds):
            digest = _store_fold(versions, frozen, stored, assigned == fold, f"fold {fold + 1} of {folds}")
            seed = config.training.seed + repeat - 1
            own = {"seed": seed, "dataset_digest": digest, "fold": fold + 1, "repeat": repeat}
            entries.append({"number": len(entries) + 1, **own})
    tree = config.as_tree()
    tree["training"] |= _NO_CHOICE
    chosen = ExperimentConfig.model_validate(tree)
    return Plan("folds", chosen, tuple(entries), frozen.explicit, manifest.digest)


def _store_fold(versions: VersionStore, frozen: Frozen, rows: pl.DataFrame, held_out: Any, note: str) -> str:
    from finetune30.service.datasets.relabel import count_targets

    manifest = frozen.manifest
    splits = {"train": rows.filter(~held_out), "evaluation": rows.filter(held_out)}
    made, _ = versions.create(
        splits,
        targets=manifest.targets,
        schema=manifest.schema,
        problem_type=manifest.problem_type,
        source=manifest.source,
        recipe=manifest.recipe,
        statistics=count_targets(splits, manifest.schema, manifest.problem_type),
        parent=manifest.digest,
        note=note,
        held_back=versions.held_back(manifest.digest),
    )
    return made.digest


def _join_groups(keys: pl.Series, row_ids: pl.Series, groups: Mapping[str, str] | None) -> pl.Series:
    """Return a key for each row, equal for rows that share a text or a group, also over several steps."""
    import polars as pl

    if groups is None:
        return keys
    if missing := [row_id for row_id in row_ids if row_id not in groups]:
        raise DataError(f"{len(missing)} rows have no group, for example {missing[0]}", "fill the column in")
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    pairs = [(f"text {key}", f"group {groups[row_id]}") for key, row_id in zip(keys, row_ids, strict=True)]
    for text, group in pairs:
        leader[find(text)] = find(group)
    return pl.Series("key", [find(text) for text, _ in pairs], dtype=pl.String)


def _require_runs(count: int) -> None:
    if not 1 <= count <= MOST_RUNS:
        raise UsageError(f"a set of {count} runs cannot be made", f"a set has 1 to {MOST_RUNS} runs")
