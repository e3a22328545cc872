"""What can be done with dataset versions: make, list, show, compare, write out, verify and clear them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.problems import find_problem
from finetune30.service.datasets.operations import (
    DatasetRequest,
    Log,
    create_version,
    load_recipe,
    open_versions,
    versions_of,
)
from finetune30.service.runs.open_records import open_records
from finetune30.settings import Settings
from finetune30.store.dataset_versions import DatasetIndex

if TYPE_CHECKING:
    from finetune30.data.versions.manifest import Manifest
    from finetune30.data.versions.storage import VersionStore
    from finetune30.hub.fetching import OnTransfer
    from finetune30.store import RunStore


def make_version(
    request: DatasetRequest,
    settings: Settings,
    log: Log,
    *,
    clean: bool = False,
    recipe: Path | None = None,
    note: str = "",
    tag: str | None = None,
    on_transfer: OnTransfer | None = None,
) -> dict[str, Any]:
    """Store rows as a version, after a recipe (a file, or with `clean` the default one); return its tree and `is_new`.

    A name that cannot be the `tag` of the version is refused before anything is stored; nothing is tagged yet.
    """
    from finetune30.data.versions.storage import require_tag_name

    if tag is not None:
        require_tag_name(tag)
    steps = load_recipe(recipe) if recipe or clean else ()
    stored = create_version(request, settings, log, recipe=steps, note=note, on_transfer=on_transfer)
    return {**stored.manifest.as_dict(), "is_new": stored.is_new}


def tag_version(settings: Settings, tag: str, name: str | None, *, move: bool = False) -> str | None:
    """Let a tag point at a version and return its digest; without a version, take the tag away."""
    with open_versions(settings) as versions:
        if name is None:
            versions.untag(tag)
            return None
        return versions.tag(tag, name, move=move).digest


def list_versions(versions: VersionStore) -> list[dict[str, Any]]:
    """Return the tree of every version, newest first."""
    tags = versions.tags()
    return [_describe(manifest, tags) for manifest in versions.list_all()]


def show_version(versions: VersionStore, store: RunStore, name: str) -> dict[str, Any]:
    """Return the tree of a version with its tags and the runs that were trained on it, the best first."""
    manifest = versions.get(name)
    return {**_describe(manifest, versions.tags()), "runs": DatasetIndex(store).runs_of(manifest.digest)}


def read_version(settings: Settings, name: str, count: int) -> dict[str, Any]:
    """Return the tree of a version (see `show_version`) with the first rows of every split that has any."""
    from finetune30.data.versions.storage import SPLITS

    with open_records(settings) as records:
        versions = versions_of(settings, records.store)
        manifest = versions.get(name)
        there = [split for split in SPLITS if manifest.rows.get(split)]
        rows = {split: versions.load_rows(manifest, split).head(count).to_dicts() for split in there}
        return {**show_version(versions, records.store, manifest.digest), "first_rows": rows}


def diff_trees(versions: VersionStore, before: str, after: str, limit: int | None = None) -> dict[str, Any]:
    """Return what differs between two versions (see `diff_versions`), of the rows the first `limit`."""
    from finetune30.data.versions.compare import diff_versions

    return diff_versions(versions, before, after).as_dict(limit)


def write_version(settings: Settings, name: str, folder: Path, format_name: str, *, overwrite: bool) -> list[Path]:
    """Write a version's rows as files and return their paths."""
    from finetune30.data.versions.checkout import checkout_version

    with open_versions(settings) as versions:
        return checkout_version(versions, name, folder, format_name, overwrite=overwrite)


def verify_versions(settings: Settings, names: tuple[str, ...]) -> dict[str, list[str]]:
    """Hash all rows of versions again (of every one, unless some are named); return what is wrong by digest."""
    with open_versions(settings) as versions:
        digests = [versions.resolve(name) for name in names] or versions.digests()
        return {digest: versions.verify(digest) for digest in digests}


def clear_versions(settings: Settings, *, keep_days: float, dry_run: bool) -> dict[str, list[str]]:
    """Remove what neither a run nor a tag refers to (see `VersionStore.collect_garbage`)."""
    with open_versions(settings) as versions:
        return versions.collect_garbage(keep_days=keep_days, dry_run=dry_run)


def _describe(manifest: Manifest, tags: dict[str, str]) -> dict[str, Any]:
    """Return the tree of a version with its tags and `choices`, the values of which a target is one.

    `choices` are None where there is no such list, or nobody here knows it.
    """
    problem = find_problem(manifest.problem_type)
    return {
        **manifest.as_dict(),
        "tags": [tag for tag, digest in tags.items() if digest == manifest.digest],
        "choices": None if problem is None else problem.choices(manifest.targets),
    }
