"""From a configuration to a planned set: frozen rows, what they can tell, the runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from finetune30.config.loading import LoadedConfig, validate_tree
from finetune30.errors import UsageError
from finetune30.problems import load_problem
from finetune30.service.sets.freezing import Frozen, freeze
from finetune30.service.sets.planning import plan_curve, plan_folds, plan_seeds, require_curve
from finetune30.service.sets.plans import Plan
from finetune30.service.sets.summary import describe_power, say_power
from finetune30.settings import Settings
from finetune30.values import say_count

if TYPE_CHECKING:
    from finetune30.data.versions.storage import VersionStore

Log = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What kind of set: `seeds` runs on the same rows, or on each of `shares` of the training rows, or `folds` with
    `repeats` of them.

    `group_column` is `data.group_column`, as it was given before there was that key.
    """

    seeds: int | None = None
    folds: int | None = None
    repeats: int = 1
    shares: Sequence[float] | None = None
    group_column: str | None = None


def plan_set(loaded: LoadedConfig, wanted: Wanted, settings: Settings, versions: VersionStore, log: Log) -> Plan:
    """Freeze the rows, say what so many rows can tell, and return the plan. Raises what freezing and planning raise."""
    if wanted.shares is not None:
        require_curve(wanted.shares, wanted.seeds or 1)
    frozen = freeze(_with_groups(loaded, wanted.group_column), settings, versions, log)
    for line in say_before(frozen, wanted):
        log(line)
    if wanted.folds is None and wanted.shares is None:
        return plan_seeds(frozen, wanted.seeds or 1)
    if wanted.shares is not None:
        return plan_curve(frozen, versions, wanted.shares, wanted.seeds or 1)
    assert wanted.folds is not None  # noqa: S101 - a set of neither seeds nor shares
    return plan_folds(frozen, versions, wanted.folds, wanted.repeats)


def _with_groups(loaded: LoadedConfig, column: str | None) -> LoadedConfig:
    """Return the configuration with a column of groups. Raises UsageError where it names another one itself."""
    own = loaded.config.data.group_column
    if column is None or column == own:
        return loaded
    if own is not None:
        raise UsageError(f"group_column is {column!r}, and data.group_column is {own!r}", "give one of them")
    tree = loaded.config.as_tree()
    tree["data"]["group_column"] = column
    explicit = loaded.explicit | {"data.group_column"}
    return replace(loaded, config=validate_tree(tree), explicit=explicit)


def say_before(frozen: Frozen, wanted: Wanted) -> list[str]:
    """Return what is said before anything starts: the runs, their rows, and which difference these can tell."""
    manifest = frozen.manifest
    rows = {split: manifest.rows.get(split, 0) for split in ("train", "evaluation")}
    told = (
        f"version {manifest.short}: {rows['train']:,} training and "
        f"{say_count(rows['evaluation'], 'evaluation rows', ',')}"
    )
    judged = rows["evaluation"]
    if wanted.folds is not None:
        judged = sum(rows.values())
        told += (
            f"; {say_count(wanted.folds * wanted.repeats, 'runs')}, each judged on one of "
            f"{say_count(wanted.folds, 'folds')} of {say_count(judged, 'rows', ',')}"
        )
        told += ", without evaluations on the way, early stopping and a choice of weights"
    elif wanted.shares is not None:
        shares = ", ".join(f"{share:g}" for share in wanted.shares)
        training = frozen.config.training
        told += (
            f"; {say_count(wanted.seeds or 1, 'runs')} on each of {shares} of the training rows, all judged on the "
            "same rows, "
        )
        told += (
            f"for {say_count(training.max_steps, 'steps')}"
            if training.max_steps
            else f"for {say_count(training.num_train_epochs, 'epochs')}"
        )
    else:
        told += f"; {say_count(wanted.seeds or 1, 'runs')} on these rows"
    score = load_problem(manifest.problem_type).score
    return [
        told,
        *(
            [say_power(describe_power(judged, grouped=manifest.schema.group is not None))]
            if score.share_right is not None
            else []
        ),
    ]


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON, for a dry run."""
    return {**plan.as_request(), "dataset_digest": plan.dataset_digest}
