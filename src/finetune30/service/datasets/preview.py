"""Looking at rows without a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finetune30.config import ExperimentConfig
from finetune30.config.loading import LoadedConfig
from finetune30.config.offline_fallback import resolve_fallbacks
from finetune30.config.problem_types import has_token_kinds
from finetune30.data.problem import label_names
from finetune30.problems.of_rows import problem_of_rows
from finetune30.service.datasets.fetch_limit import limit_fetching
from finetune30.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.prepare import PreparedData
    from finetune30.data.versions.storage import VersionStore

SHOWN_ROWS = 20
SHOWN_CHARACTERS = 2000


def preview_data(loaded: LoadedConfig, settings: Settings) -> dict[str, Any]:
    """Return what a training with this configuration would see: first rows, columns, labels, findings, ledger.

    The gate stops nothing here, so that what it would refuse can be looked at. Of a hub set no more is fetched than the
    settings allow; where nobody answers, what would stand in for the default set is shown (`replaced`).

    Raises DataError, HubError, TooLargeError.
    """
    from finetune30.data.versions.storage import SPLITS

    config = loaded.config
    prepared, replaced = _prepare(loaded, settings)
    roles = prepared.problem.columns
    evaluation = prepared.report.get("evaluation") or {}
    return {
        "dataset_name": config.data.dataset_name,
        "replaced": replaced,
        "problem_type": prepared.problem.name,
        "has_token_kinds": has_token_kinds(prepared.problem.name),
        "label_names": list(label_names(prepared.targets)),
        "columns": prepared.report["columns"],
        "named_columns": {role.key: prepared.report["columns"][role.name] for role in roles},
        "row_columns": prepared.schema.as_tree(),
        "rows": [row for split in SPLITS for row in _first_rows(prepared.version_rows[split], split)],
        "label_counts": {
            "train": prepared.report.get("label_counts") or {},
            "evaluation": evaluation.get("label_counts") or {},
        },
        "report": prepared.report,
        "ledger": prepared.ledger,
    }


def _prepare(loaded: LoadedConfig, settings: Settings) -> tuple[PreparedData, dict[str, str]]:
    """Return the rows that a training would get, past the gate, and what stands in for what."""
    from finetune30.data.prepare import prepare_data

    found: list[PreparedData] = []

    def reach(wanted: ExperimentConfig) -> None:
        prepared = prepare_data(
            wanted.data,
            problem=problem_of_rows(wanted.model.problem_type, wanted.data.dataset_name, settings.data_folder),
            num_labels=wanted.model.num_labels,
            seed=wanted.row_seed,
            log=lambda _: None,
            data_folder=settings.data_folder,
            on_transfer=limit_fetching(settings.max_fetch_bytes),
            stops=False,
        )
        found.append(prepared)

    resolved, replaced = resolve_fallbacks(loaded.config, loaded.explicit, lambda _: None, reach)
    if not found:
        reach(resolved)
    return found[-1], replaced


def load_version_rows(versions: VersionStore, name: str, split: str, offset: int, limit: int) -> dict[str, Any]:
    """Return `limit` rows of a split from `offset` on, their columns, and how many there are. Raises NotFoundError."""
    manifest = versions.get(name)
    rows = versions.load_rows(manifest, split)
    shown = rows.slice(offset, limit).to_dicts()
    return {"digest": manifest.digest, "total": rows.height, "columns": manifest.schema.as_tree(), "rows": shown}


def _first_rows(frame: pl.DataFrame, split: str) -> list[dict[str, Any]]:
    rows = frame.head(SHOWN_ROWS).to_dicts()
    return [
        {"split": split, **{key: _cut(value, key) for key, value in row.items() if value is not None}} for row in rows
    ]


def _cut(value: Any, column: str) -> Any:
    """Return the beginning of a text; of a conversation those of all that is said, so that it stays one."""
    from finetune30.data.conversations.conversation import dump
    from finetune30.data.conversations.views import read_conversations
    from finetune30.data.texts import CONVERSATION

    if column == CONVERSATION and (found := read_conversations([value])[0]) is not None:
        return dump(found.with_contents([text[:SHOWN_CHARACTERS] for text in found.contents]))
    return value[:SHOWN_CHARACTERS] if isinstance(value, str) else value
