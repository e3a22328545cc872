"""Dataset work: load, clean and version any file, hub set or version."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from finetune30.config.chat import ChatConfig
from finetune30.config.data import DataConfig
from finetune30.config.loading import LoadedConfig, load_config
from finetune30.config.offline_fallback import fall_back_data
from finetune30.config.schema import ModelConfig
from finetune30.errors import ConfigError, DataError, HubUnavailableError
from finetune30.hub.reach import unreachable_reason
from finetune30.problems.of_rows import problem_of_rows
from finetune30.service.runs.open_records import open_records
from finetune30.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.loading import LoadedRows
    from finetune30.data.problem import Problem
    from finetune30.data.versions.manifest import Manifest
    from finetune30.data.versions.storage import VersionStore
    from finetune30.hub.fetching import OnTransfer
    from finetune30.store import RunStore

Log = Callable[[str], None]


@dataclass(frozen=True)
class DatasetRequest:
    """Which rows to look at: the data section of a configuration, sampled as a training would (`sampled`) or whole.

    `num_labels`, `problem_type` and `chat` are those of a configuration, where there is one; `models` are those whose
    tokenizer may count tokens, the first that can be had. `explicit` holds the dotted keys that were given: nothing
    stands in for a set that was named.
    """

    data: DataConfig
    sampled: bool = False
    num_labels: int | None = None
    problem_type: str = "auto"
    models: tuple[ModelConfig, ...] = ()
    seed: int = 42
    explicit: frozenset[str] = frozenset()
    chat: ChatConfig = field(default_factory=ChatConfig)


class StoredVersion(NamedTuple):
    """A version that holds the rows of a request, whether it is new, and what stood in for what (empty: nothing)."""

    manifest: Manifest
    is_new: bool
    replaced: dict[str, str]


def request_of_config(loaded: LoadedConfig) -> DatasetRequest:
    """Return the request that looks at the rows a training with this configuration would use."""
    config = loaded.config
    model = config.model
    return DatasetRequest(
        config.data,
        sampled=True,
        num_labels=model.num_labels,
        problem_type=model.problem_type,
        models=(model, *([ModelConfig(name=model.offline_fallback)] if model.offline_fallback else [])),
        seed=config.row_seed,
        explicit=loaded.explicit,
        chat=config.chat,
    )


def request_of_source(source: str, **data: Any) -> DatasetRequest:
    """Return the request that looks at all rows of a file, folder, hub set, starter or version.

    `data` are further keys of the data section. Raises ConfigError.
    """
    chosen = {"dataset_name": source, "dataset_config": None, "train_samples": None, "eval_samples": None, **data}
    loaded = load_config(None, {f"data.{key}": value for key, value in chosen.items()})
    return DatasetRequest(loaded.config.data, explicit=loaded.explicit)


@contextmanager
def open_versions(settings: Settings) -> Iterator[VersionStore]:
    """Open the versions of the data folder with the database that says which of them runs refer to."""
    with open_records(settings) as records:
        yield versions_of(settings, records.store)


def versions_of(settings: Settings, store: RunStore) -> VersionStore:
    """Return the versions of the data folder with an open database that says which of them runs refer to."""
    from finetune30.data.versions.storage import VersionStore
    from finetune30.store.dataset_versions import DatasetIndex

    return VersionStore(settings.data_folder, DatasetIndex(store))


def load_dataset_rows(
    request: DatasetRequest, settings: Settings, log: Log, on_transfer: OnTransfer | None = None
) -> LoadedRows:
    """Load the rows of a request; the default set falls back to the starter where the configuration allows it."""
    from finetune30.data.loading import load_rows
    from finetune30.data.versions.storage import VersionStore

    versions = VersionStore(settings.data_folder)

    def load(data: DataConfig) -> LoadedRows:
        return load_rows(
            data,
            log,
            problem=problem_of_rows(request.problem_type, data.dataset_name, settings.data_folder),
            num_labels=request.num_labels,
            load_version=versions.load_tables,
            on_transfer=on_transfer,
        )

    try:
        return load(request.data)
    except HubUnavailableError:
        instead = fall_back_data(request.data, request.explicit)
        if instead is None:
            raise
        name = request.data.dataset_name
        log(f"WARNING: {unreachable_reason()}: using '{instead.dataset_name}' instead of '{name}'")
        return replace(load(instead), replaced={name: instead.dataset_name})


def clean(
    request: DatasetRequest,
    settings: Settings,
    log: Log,
    recipe: Sequence[Mapping[str, Any]] | None,
    on_transfer: OnTransfer | None = None,
) -> tuple[LoadedRows, dict[str, Any], dict[str, pl.DataFrame]]:
    """Run a cleaning recipe (None: the default one of such rows).

    Returns what was loaded, what each step did with the `recipe`, and the rows by split as stored.
    """
    from finetune30.data.cleaning import clean_rows, default_recipe
    from finetune30.data.groups import number_as_stored
    from finetune30.data.validation.validate import broken_rules

    loaded = load_dataset_rows(request, settings, log, on_transfer)
    steps = default_recipe(loaded.rows) if recipe is None else [dict(step) for step in recipe]
    result = clean_rows(loaded.rows, steps, lambda rows, rules: broken_rules(rows, loaded, request.data, rules))
    kept = number_as_stored(result.rows.filter(result.rows["reason"].is_null()), loaded.groups)
    done = {"recipe": steps, "changed": result.changed, "dropped": result.dropped}
    return loaded, done, _by_split(kept, loaded.problem)


def create_version(
    request: DatasetRequest,
    settings: Settings,
    log: Log,
    *,
    recipe: Sequence[Mapping[str, Any]] | None = (),
    note: str = "",
    parent: str | None = None,
    on_transfer: OnTransfer | None = None,
) -> StoredVersion:
    """Store all rows of a request, after a recipe (None: the default one), as a version."""
    from finetune30.data.versions.schema import schema_of_roles
    from finetune30.service.datasets.relabel import count_targets

    loaded, done, splits = clean(request, settings, log, recipe, on_transfer)
    if not splits:
        raise DataError("no row is left after the recipe", "look at its steps with: ft30 data clean")
    problem, schema = loaded.problem, schema_of_roles(loaded.problem.columns, grouped=loaded.groups is not None)
    targets = problem.plan(_targets_of(splits, problem), None, loaded.declared)
    origin = next((file["version"] for file in loaded.source["files"] if "version" in file), None)
    with open_versions(settings) as versions:
        manifest, is_new = versions.create(
            splits,
            targets=targets,
            schema=schema,
            problem_type=problem.name,
            source=loaded.source,
            recipe=done["recipe"],
            statistics=count_targets(splits, schema, problem.name),
            parent=parent or origin,
            note=note,
            held_back=None if origin is None else versions.held_back(origin),
        )
    return StoredVersion(manifest, is_new, dict(loaded.replaced))


def load_recipe(path: Path | None) -> list[dict[str, Any]] | None:
    """Read a recipe: a YAML or JSON list of steps; None without a file. Raises ConfigError."""
    import yaml

    from finetune30.data.cleaning import check_recipe

    if path is None:
        return None
    try:
        steps = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the recipe {path} cannot be read: {error}", "write a YAML list of steps") from error
    if not isinstance(steps, list):
        raise ConfigError(f"the recipe {path} is no list", "write one '- step: name' a line")
    check_recipe(steps)
    return steps


def _by_split(rows: pl.DataFrame, problem: Problem) -> dict[str, pl.DataFrame]:
    from finetune30.data.prepare import version_rows_of

    return {
        str(split): version_rows_of(part, problem) for (split,), part in rows.group_by("split", maintain_order=True)
    }


def _targets_of(splits: Mapping[str, pl.DataFrame], problem: Problem) -> pl.Series:
    """Return the targets of the training rows (of all, where there are none); none where nothing is asked."""
    import polars as pl

    main = splits.get("train", next(iter(splits.values())))
    role = next((role for role in problem.columns if role.kind == "target"), None)
    return pl.Series([], dtype=pl.String) if role is None else main[role.name].drop_nulls()
