"""What runs a set is made of, as it is recorded: light enough for those who only hand them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune30.config import ExperimentConfig
from finetune30.config.loading import validate_tree
from finetune30.config.schema import VERSION_PREFIX, shorten_name

if TYPE_CHECKING:
    from finetune30.store.run_sets import Purpose

#: Seeds on each share of a learning curve, below which nothing tells how far seeds differ.
LEAST_SEEDS = 2
#: Shares between which a learning curve says what more rows brought.
HALF, WHOLE = 0.5, 1.0


@dataclass(frozen=True)
class Plan:
    """The configuration of all runs and what is each one's own (see `store.run_sets.RunSet`).

    `owner` names what the set belongs to, where it is not to be shared with others that plan the same.
    """

    purpose: Purpose
    config: ExperimentConfig
    entries: tuple[dict[str, Any], ...]
    explicit: frozenset[str]
    dataset_digest: str
    owner: str = ""

    def as_request(self) -> dict[str, Any]:
        """Return what tells two requests apart."""
        told = {"purpose": self.purpose, "config": self.config.as_tree(), "plan": list(self.entries)}
        return told | ({"owner": self.owner} if self.owner else {})


def restore_plan(told: Mapping[str, Any]) -> Plan:
    """Return the plan that `read_run_set` told of."""
    return Plan(
        told["purpose"],
        validate_tree(told["config"]),
        tuple(told["plan"]),
        frozenset(told["explicit"]),
        told["dataset_digest"],
    )


def config_of(config: ExperimentConfig, entry: Mapping[str, Any]) -> ExperimentConfig:
    """Return the configuration of one planned run, under a name of its own."""
    tree = on_version(config, entry["dataset_digest"]).as_tree()
    tree["training"]["seed"] = entry["seed"]
    tree["experiment_name"] = shorten_name(config.experiment_name, suffix=_suffix_of(entry))
    return ExperimentConfig.model_validate(tree)


def _suffix_of(entry: Mapping[str, Any]) -> str:
    if "fold" in entry:
        return f"-r{entry['repeat']}f{entry['fold']}"
    share = f"-share{entry['share']:g}" if "share" in entry else ""
    return f"{share}-seed{entry['seed']}"


def on_version(config: ExperimentConfig, digest: str) -> ExperimentConfig:
    """Return a frozen configuration that trains on another version."""
    tree = config.as_tree()
    tree["data"]["dataset_name"] = f"{VERSION_PREFIX}{digest}"
    return ExperimentConfig.model_validate(tree)
