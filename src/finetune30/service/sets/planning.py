"""What runs a set is made of: seeds on the same rows, or folds or shares of them, each a version of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from finetune30.config import ExperimentConfig
from finetune30.errors import ConflictError, UsageError
from finetune30.problems import load_problem
from finetune30.service.sets.freezing import Frozen
from finetune30.service.sets.plans import HALF, LEAST_SEEDS, WHOLE, Plan
from finetune30.values import say_count

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.versions.manifest import Manifest
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
) -> Plan:
    """Return the plan of `repeats` times `folds` runs, each evaluated on the rows that the others train on.

    All rows of the version take part, test rows never. Rows of one text share a fold, and those of one group; each fold
    has its share of every class. The dealing and `training.seed` change with
    each repeat. Raises UsageError, and ConflictError where there are fewer groups than folds.
    """
    import polars as pl

    from finetune30.data.splitting import assign_folds

    if folds < 2:
        raise UsageError(f"{say_count(folds, 'folds leave')} nothing to train on", "give 2 or more")
    _require_runs(folds * repeats)
    manifest, config = frozen.manifest, frozen.config
    stored = pl.concat([versions.load_rows(manifest, split) for split in ("train", "evaluation")])
    keys, strata = _keys_and_strata(manifest, stored)
    if (count := keys.n_unique()) < folds:
        raise ConflictError(
            f"{say_count(count, 'groups')} of rows cannot fill {say_count(folds, 'folds')}", "choose fewer folds"
        )
    entries: list[dict[str, Any]] = []
    for repeat in range(1, repeats + 1):
        assigned = assign_folds(keys, strata, folds, config.row_seed + repeat - 1)
        for fold in range(folds):
            held_out = assigned == fold
            splits = {"train": stored.filter(~held_out), "evaluation": stored.filter(held_out)}
            digest = _store_part(versions, frozen, splits, f"fold {fold + 1} of {folds}")
            seed = config.training.seed + repeat - 1
            own = {"seed": seed, "dataset_digest": digest, "fold": fold + 1, "repeat": repeat}
            entries.append({"number": len(entries) + 1, **own})
    tree = config.as_tree()
    tree["training"] |= _NO_CHOICE
    chosen = ExperimentConfig.model_validate(tree)
    return Plan("folds", chosen, tuple(entries), frozen.explicit, manifest.digest)


def plan_curve(
    frozen: Frozen,
    versions: VersionStore,
    shares: Sequence[float],
    seeds: int,
) -> Plan:
    """Return the plan of `seeds` runs on each share of the training rows, all judged on the same evaluation rows.

    Under one seed the rows of a share are among those of every larger one: drawn by `data.split_seed`, the next number
    and so on, as folds are dealt; rows of one text or group together, each class with its share. The whole is the
    frozen version itself, so that its runs are those that `plan_seeds` plans. Shares and seeds as `require_curve` wants
    them. Raises ConflictError where two shares of so few rows are the same rows.
    """
    from finetune30.data.splitting import nested_shares

    manifest, config = frozen.manifest, frozen.config
    stored = versions.load_rows(manifest, "train")
    judged = versions.load_rows(manifest, "evaluation")
    keys, strata = _keys_and_strata(manifest, stored)
    drawn = [nested_shares(keys, strata, shares, config.row_seed + number) for number in range(seeds)]
    entries: list[dict[str, Any]] = []
    for place, share in enumerate(shares):
        for number, masks in enumerate(drawn):
            count = int(masks[place].sum())
            if place and count == int(masks[place - 1].sum()):
                both = f"shares {shares[place - 1]:g} and {share:g}"
                raise ConflictError(
                    f"{both} of {say_count(len(stored), 'training rows are')} the same {say_count(count, 'rows')}",
                    "give fewer shares, or larger ones",
                )
            digest = manifest.digest
            if count < len(stored):
                splits = {"train": stored.filter(masks[place]), "evaluation": judged}
                digest = _store_part(versions, frozen, splits, f"{share:g} of the training rows")
            own = {"seed": config.training.seed + number, "dataset_digest": digest, "share": share, "rows": count}
            entries.append({"number": len(entries) + 1, **own})
    return Plan("curve", config, tuple(entries), frozen.explicit, manifest.digest)


def _keys_and_strata(manifest: Manifest, stored: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """Return of each stored row by what it stays together with others, and what is spread evenly."""
    from finetune30.data.groups import keep_together
    from finetune30.data.prepare import rows_of_version
    from finetune30.data.validation.set_rules import question_keys

    problem = load_problem(manifest.problem_type)
    frame = problem.encode_targets(rows_of_version(stored, manifest.schema), manifest.targets)
    return keep_together(question_keys(frame), frame), problem.strata(frame["label"])


def _store_part(versions: VersionStore, frozen: Frozen, splits: dict[str, pl.DataFrame], note: str) -> str:
    """Store rows of the frozen version as a version of their own, with the same test rows; return its digest."""
    from finetune30.service.datasets.relabel import count_targets

    manifest = frozen.manifest
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


def require_curve(shares: Sequence[float], seeds: int) -> None:
    """Raise UsageError for shares that tell no doubling, and for too few or too many runs."""
    told = ",".join(f"{share:g}" for share in shares)
    if not all(0 < share <= WHOLE for share in shares) or any(a >= b for a, b in pairwise(shares)):
        raise UsageError(f"shares {told} are not above 0, at most 1 and ascending", "write them as 0.125,0.25,0.5,1")
    if HALF not in shares or WHOLE not in shares:
        raise UsageError(
            f"shares {told} lack 0.5 or 1: what more rows bring is told from half of the rows and all of them",
            "add 0.5 and 1 to the shares",
        )
    if seeds < LEAST_SEEDS:
        raise UsageError(f"{seeds} seed does not tell how far seeds differ", f"give {LEAST_SEEDS} seeds or more")
    _require_runs(len(shares) * seeds)


def _require_runs(count: int) -> None:
    if not 1 <= count <= MOST_RUNS:
        raise UsageError(f"a set of {say_count(count, 'runs')} cannot be made", f"a set has 1 to {MOST_RUNS} runs")
