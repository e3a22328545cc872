"""Rows and model of a set, settled once: all its runs use one dataset version and one commit of the base."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from finetune30.config import ExperimentConfig, TrainingConfig
from finetune30.config.conversations import follow_conversations
from finetune30.config.data import DataConfig
from finetune30.config.loading import LoadedConfig
from finetune30.config.offline_fallback import resolve_fallbacks
from finetune30.config.schema import VERSION_PREFIX
from finetune30.hub.reach import unreachable_reason
from finetune30.problems.of_rows import problem_of_rows
from finetune30.settings import Settings

if TYPE_CHECKING:
    from finetune30.data.prepare import PreparedData
    from finetune30.data.versions.manifest import Manifest
    from finetune30.data.versions.storage import VersionStore
    from finetune30.modeling.base import BaseSource

Log = Callable[[str], None]
#: Keys of the data section that say where rows come from and which are used: a version has all that decided.
_OF_THE_SOURCE = (
    *("dataset_config", "revision", "encoding", "sheet", "train_split", "eval_split", "eval_file"),
    *("test_split", "test_fraction", "text_column", "text_pair_column", "label_column", "label_columns"),
    *("label_separator", "train_samples", "eval_samples", "offline_fallback"),
)


@dataclass(frozen=True)
class Frozen:
    """What all runs of a set start from: `config` trains on the version of `manifest`; rows by split."""

    config: ExperimentConfig
    manifest: Manifest
    explicit: frozenset[str]

    @property
    def evaluation_rows(self) -> int:
        """Rows on which each run is judged."""
        return self.manifest.rows.get("evaluation", 0)


def freeze(loaded: LoadedConfig, settings: Settings, versions: VersionStore, log: Log) -> Frozen:
    """Prepare the rows, store them as a version, and return the configuration that trains on it.

    What would stand in for a default out of reach is settled here. The rows of `data.test_split` become test rows of
    the version, which no run of the set reads. Raises what loading of data and model raises.
    """
    from finetune30.data.prepare import prepare_data, record_version
    from finetune30.data.test_rows import hold_split_back
    from finetune30.modeling.base import find_base

    sources: dict[str, BaseSource] = {}
    prepared: dict[str, PreparedData] = {}

    def reach_model(wanted: ExperimentConfig) -> None:
        sources[wanted.model.name] = find_base(wanted.model, log, data_folder=settings.data_folder)

    def reach_data(wanted: ExperimentConfig) -> None:
        prepared[wanted.data.dataset_name] = prepare_data(
            wanted.data,
            problem=problem_of_rows(wanted.model.problem_type, wanted.data.dataset_name, settings.data_folder),
            num_labels=wanted.model.num_labels,
            seed=wanted.row_seed,
            log=log,
            data_folder=settings.data_folder,
        )

    resolved, replaced = resolve_fallbacks(loaded.config, loaded.explicit, reach_model, reach_data)
    for wanted, used in replaced.items():
        log(f"WARNING: {unreachable_reason()} and '{wanted}' is not cached: using '{used}' instead")
    if resolved.model.name not in sources:
        reach_model(resolved)
    if resolved.data.dataset_name not in prepared:
        reach_data(resolved)
    data = prepared[resolved.data.dataset_name]
    resolved, _ = follow_conversations(resolved, data.problem.name, loaded.explicit)
    if resolved.data.test_split is not None:
        data = replace(data, held_back=hold_split_back(data, resolved.data, resolved.model.num_labels, log))
    manifest = record_version(data, versions)
    revision = sources[resolved.model.name].revision
    config = _on_version(resolved, manifest.digest, data.problem.name, revision)
    return Frozen(config, manifest, loaded.explicit | {"model.name", "data.dataset_name"})


def _on_version(config: ExperimentConfig, digest: str, problem: str, revision: str | None) -> ExperimentConfig:
    tree: dict[str, Any] = config.as_tree()
    plain = DataConfig(dataset_name=VERSION_PREFIX).model_dump(mode="json")
    tree["data"] |= {key: plain[key] for key in _OF_THE_SOURCE} | {"dataset_name": f"{VERSION_PREFIX}{digest}"}
    tree["data"] |= {"split_seed": config.row_seed, "conversation_format": "auto"}
    tree["model"] |= {"problem_type": problem, "offline_fallback": None, "revision": revision or config.model.revision}
    tree["training"]["output_dir"] = TrainingConfig().output_dir  # where results lie is the settings' to say
    return ExperimentConfig.model_validate(tree)
