"""Moving aliases: each promotion is held against what is under the alias now, and its event keeps the test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finetune30.errors import NotFoundError
from finetune30.service.registry.registering import verify_version
from finetune30.service.runs.comparable import group_runs
from finetune30.service.runs.judging import judge
from finetune30.service.runs.open_records import Records
from finetune30.store.model_names import ModelReference, require_alias
from finetune30.store.model_records import Alias, Model, ModelVersion
from finetune30.store.model_registry import (
    Move,
    build_stale,
    find_model,
    find_version,
    find_way_back,
    move_alias,
    roll_back_alias,
)

#: Of a pair, what the event need not keep: `ft30 compare` tells it anew.
_LEFT_OUT = frozenset({"by_label"})


@dataclass(frozen=True)
class Promotion:
    """What promoting a version did, or would do: the alias as it is, and how the version compares with what is there.

    `paired` holds `against` (None where the alias leads nowhere yet), `message` and, of what can be compared, the test.
    """

    alias: Alias | None
    from_version: int | None
    paired: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        alias = None if self.alias is None else self.alias.as_dict()
        return {"alias": alias, "from_version": self.from_version, "paired": self.paired}


def preview_promotion(records: Records, name: str, number: int, alias: str) -> Promotion:
    """Return what would be promoted over what, without doing it. Raises UsageError, NotFoundError."""
    version, now = _load(records, name, number, alias)
    return _hold_against(records, version, now)


def promote(
    records: Records, name: str, number: int, alias: str, *, reason: str, actor: str, seen: int | None = None
) -> Promotion:
    """Let an alias lead to a version, with the paired test against the one that is there in the event.

    `seen` is the generation that the caller decided on; None: whatever is there at the begin of this call. The alias is
    moved from the one that was tested against, or not at all. Raises NotFoundError, ConflictError, StaleGenerationError
    when somebody else moved the alias since, StorageError where a file of the version is not as it was registered.
    """
    version, now = _load(records, name, number, alias)
    generation = _generation(now)
    if seen not in (None, generation):
        raise build_stale(name, alias, now, seen)
    found = _hold_against(records, version, now)
    verify_version(records, version)
    move = move_alias(
        records.store, name, alias, number, seen=generation, actor=actor, reason=reason, detail={"paired": found.paired}
    )
    return Promotion(move.alias, move.from_version, found.paired)


def roll_back(records: Records, name: str, alias: str, *, reason: str, actor: str, seen: int | None = None) -> Move:
    """Let an alias lead to the version before the present one, whose files are hashed first. Raises as `promote`."""
    require_alias(alias)
    now = find_alias(find_model(records.store, name), alias)
    generation = _generation(now) if seen is None else seen
    verify_version(records, find_way_back(records.store, name, alias))
    return roll_back_alias(records.store, name, alias, seen=generation, actor=actor, reason=reason)


def compare_versions(records: Records, version: ModelVersion, before: int | None) -> dict[str, Any]:
    """Return how a version compares with another one of its model: the paired test, or why there is none."""
    if before is None:
        return {"against": None, "distinguishable": None, "message": "nothing was there to compare with"}
    other = find_version(records.store, ModelReference(version.model, None, before))
    try:
        runs = [records.store.get(other.run_id), records.store.get(version.run_id)]
    except NotFoundError as error:
        return {"against": before, "distinguishable": None, "message": f"not compared: {error.message}"}
    if other.number == version.number:
        return {"against": before, "distinguishable": None, "message": f"this version stands there: {version.name}"}
    groups, left_out = group_runs(records, runs)
    verdict = judge(groups, left_out)["verdict"]
    told = {"against": before, **{key: value for key, value in verdict.items() if key not in _LEFT_OUT}}
    if labels := _describe_labels(other, version):
        told["message"] = f"{labels}; {told['message']}"
    return told


def _describe_labels(before: ModelVersion, now: ModelVersion) -> str:
    """Say which labels another version answers with; nothing where they are the same."""
    gone, come = (
        sorted(set(one.facts["labels"]) - set(other.facts["labels"])) for one, other in ((before, now), (now, before))
    )
    if not gone and not come:
        return ""
    return f"it answers with other labels: without {', '.join(gone) or 'none'}, with {', '.join(come) or 'none'}"


def find_alias(model: Model, alias: str) -> Alias | None:
    """Return an alias of a model; None for one that was never moved."""
    return next((one for one in model.aliases if one.alias == alias), None)


def _load(records: Records, name: str, number: int, alias: str) -> tuple[ModelVersion, Alias | None]:
    require_alias(alias)
    version = find_version(records.store, ModelReference(name, None, number))
    return version, find_alias(find_model(records.store, name), alias)


def _hold_against(records: Records, version: ModelVersion, now: Alias | None) -> Promotion:
    before = None if now is None else now.number
    return Promotion(now, before, compare_versions(records, version, before))


def _generation(alias: Alias | None) -> int:
    return 0 if alias is None else alias.generation
