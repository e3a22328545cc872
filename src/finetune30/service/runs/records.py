"""Looking at runs: where the database and the results folder are, and what a listing may ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, get_args

from sqlalchemy.engine import make_url

from finetune30.errors import NotFoundError, StorageError, UsageError
from finetune30.files import load_json, sha256_of
from finetune30.settings import Settings
from finetune30.store import Run, RunFilter, RunFolder, RunPage, RunStatus, RunStore, open_store
from finetune30.store.records import SortKey

#: What decides most about a run, in the order in which people ask.
SUMMARY_KEYS = (
    "model.name",
    "data.dataset_name",
    "data.dataset_config",
    "data.train_samples",
    "training.num_train_epochs",
    "training.learning_rate",
    "training.per_device_train_batch_size",
    "training.seed",
    "lora.r",
    "lora.lora_alpha",
    "lora.target_modules",
)


@dataclass(frozen=True)
class Records:
    """The runs of one results folder and the store that knows them."""

    store: RunStore
    results_root: Path

    def folder(self, run: Run) -> RunFolder:
        """Return the run's folder."""
        return RunFolder(self.results_root / run.folder)


def locate_records(settings: Settings, output_dir: Path | str | None = None) -> tuple[str, Path]:
    """Return database URL and results folder: `output_dir` (of the configuration or a flag) else the settings'.

    A database URL of the settings always counts; without one the database lies in the results folder.
    """
    root = Path(output_dir) if output_dir is not None else settings.results_folder
    return settings.database_url or f"sqlite:///{(root / 'experiments.db').as_posix()}", root


@contextmanager
def open_records(settings: Settings, output_dir: Path | str | None = None) -> Iterator[Records]:
    """Open the store, settle runs whose process is gone, and close it afterwards. Raises StorageError."""
    database_url, root = locate_records(settings, output_dir)
    store = open_store(database_url)
    try:
        store.reconcile()
        yield Records(store, root)
    finally:
        store.close()


def has_records(settings: Settings, output_dir: Path | str | None = None) -> bool:
    """Tell whether there is a database to look at, without making one."""
    database = make_url(locate_records(settings, output_dir)[0])
    return database.get_backend_name() != "sqlite" or Path(database.database or "").is_file()


def require_records(settings: Settings, output_dir: Path | str | None = None) -> None:
    """Raise NotFoundError when nothing was ever run here, so that looking makes no empty database."""
    if not has_records(settings, output_dir):
        raise NotFoundError(
            f"no runs in {locate_records(settings, output_dir)[1]}", "start one with: ft30 train, or name --output_dir"
        )


def build_filter(
    *,
    name: str | None = None,
    statuses: Sequence[str] = (),
    min_accuracy: float | None = None,
    max_runtime: float | None = None,
    start_date: str | None = None,
    end_date: str | None = None,
    model_name: str | None = None,
    dataset_digest: str | None = None,
    sort_by: str = "created_at",
    descending: bool = True,
    limit: int = 50,
    cursor: str | None = None,
) -> RunFilter:
    """Return the filter for words as people write them; it lists runs without their configurations.

    Dates are ISO 8601, UTC where no offset is given; a date alone means from its beginning, as `end_date` to its end.
    `max_runtime` is in seconds. Raises UsageError.
    """
    known = {status.value for status in RunStatus}
    wanted = [status.upper() for status in statuses]
    if unknown := sorted(set(wanted) - known):
        raise UsageError(f"unknown status {', '.join(unknown)}", f"use: {', '.join(sorted(known))}")
    if sort_by not in get_args(SortKey):
        raise UsageError(f"cannot sort by {sort_by!r}", f"use one of: {', '.join(get_args(SortKey))}")
    return RunFilter(
        name=name,
        statuses=frozenset(RunStatus(status) for status in wanted),
        min_accuracy=min_accuracy,
        max_runtime_seconds=max_runtime,
        start_date=parse_moment(start_date, "start_date") if start_date else None,
        end_date=parse_moment(end_date, "end_date", day_ends=True) if end_date else None,
        model_name=model_name,
        dataset_digest=dataset_digest,
        sort_by=sort_by,  # type: ignore[arg-type]
        descending=descending,
        limit=limit,
        cursor=cursor,
        with_config=False,
    )


def parse_moment(text: str, name: str, *, day_ends: bool = False) -> datetime:
    """Return an ISO 8601 date or time as aware UTC.

    A date alone means its first moment, or the first of the next day with `day_ends`. Raises UsageError.
    """
    try:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            moment = datetime.fromisoformat(text)
            return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        return datetime.combine(day + timedelta(days=day_ends), time(), UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{name} {text!r} is no date", "write 2026-01-31, 2026-01-31T12:00:00 or with an offset such as +08:00"
        ) from error


def page_as_dict(page: RunPage) -> dict[str, Any]:
    """Return the JSON of a listing: runs without their configuration trees, and the cursor of the next page."""
    shown = [{key: value for key, value in run.as_dict().items() if key != "config"} for run in page.runs]
    return {"runs": shown, "next_cursor": page.next_cursor}


def load_run_files(folder: RunFolder) -> list[dict[str, Any]]:
    """Return name and size in bytes of every file of a run: as published, else as it lies there."""
    if folder.manifest.is_file():
        files: Mapping[str, Any] = folder.load_manifest()["files"]
        return [{"name": name, "size": entry["size"]} for name, entry in files.items()]
    if not folder.path.is_dir():
        return []
    paths = (path for path in sorted(folder.path.rglob("*")) if path.is_file())
    names = ((path.relative_to(folder.path).as_posix(), path.stat().st_size) for path in paths)
    return [{"name": name, "size": size} for name, size in names if not name.startswith("attempts/")]


def load_run_details(records: Records, run: Run) -> dict[str, Any]:
    """Return everything about a run: its row, a summary of its configuration, totals of its ledger, its files."""
    folder = records.folder(run)
    report = load_json(folder.data_report) or {}
    return {
        "run": run.as_dict(),
        "path": str(folder.path),
        "config_summary": {key: _lookup(run.config, key) for key in SUMMARY_KEYS},
        "ledger_totals": (report.get("ledger") or {}).get("totals") or {},
        "files": load_run_files(folder),
    }


def verify_run(records: Records, run: Run) -> int:
    """Hash every published file of a run again and return their number.

    Raises NotFoundError when nothing is published, StorageError that names every file at fault.
    """
    folder = records.folder(run)
    if run.status is not RunStatus.SUCCEEDED:
        folder.load_manifest()
    faults = folder.verify()
    if run.manifest_sha256 and folder.manifest.is_file() and sha256_of(folder.manifest) != run.manifest_sha256:
        faults.append("manifest.json is not the one that the database knows")
    _refuse_faults(run, faults)
    return len(folder.load_manifest()["files"])


def require_intact_model(records: Records, run: Run) -> Path:
    """Return the folder of a finished model whose files are as they were published; raises StorageError."""
    folder = records.folder(run)
    _refuse_faults(run, folder.verify_model())
    return folder.final_model


def _refuse_faults(run: Run, faults: list[str]) -> None:
    if faults:
        raise StorageError(
            f"{run.folder}: {'; '.join(faults)}", "take the files from a backup, or train again with its config.yaml"
        )


def _lookup(tree: Mapping[str, Any], dotted: str) -> Any:
    value: Any = tree
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
