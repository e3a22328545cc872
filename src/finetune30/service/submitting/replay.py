"""Repeating a finished run from its record, in the queue or in this process."""

from __future__ import annotations

from collections.abc import Sequence

from finetune30.config import ExperimentConfig, TrainingConfig
from finetune30.config.loading import load_config
from finetune30.config.schema import shorten_name
from finetune30.errors import ConflictError, NotFoundError, StorageError
from finetune30.service.submitting.several_processes import command_of, count_on_one_host, list_other_processes
from finetune30.service.submitting.submission import Publisher, Submission, digest_request, submit
from finetune30.settings import Settings
from finetune30.store import Run, RunFolder, RunStatus, RunStore
from finetune30.store.folder_marks import require_run_folder

#: Everything chosen by the record, so nothing falls back to another model or data set.
CHOSEN_BY_RECORD = frozenset({"model.name", "data.dataset_name"})
_SUFFIX = "-replay"


def submit_replay(
    store: RunStore,
    original: Run,
    settings: Settings,
    *,
    publisher: Publisher,
    priority: int = 0,
    idempotency_key: str | None = None,
    submitted_by: str | None = None,
) -> Submission:
    """Queue the repetition of a SUCCEEDED run; its result says whether it came out the same (`replay.json`).

    Raises ConflictError for a run that has not succeeded, StorageError when its files are not as published, and what
    `submit` raises.
    """
    folder = require_run_folder(store, settings.results_folder, original)
    config = load_recorded_config(original, folder, [count_recorded(folder)])
    # Where results lie is decided by the services; a run made by hand may have named this folder in other words.
    training = config.training.model_copy(update={"output_dir": TrainingConfig().output_dir})
    return submit(
        store,
        config.model_copy(update={"training": training}),
        settings,
        publisher=publisher,
        explicit=CHOSEN_BY_RECORD,
        priority=priority,
        idempotency_key=idempotency_key,
        request_sha256=digest_request({"replay_of": original.id}),
        submitted_by=submitted_by,
        origin={"replay_of": original.id},
    )


def count_recorded(folder: RunFolder) -> int:
    """Return how many processes of one host repeat a published run; 1 where several hosts have to, or it is none."""
    try:
        return count_on_one_host(folder.load_manifest()["environment"].get("processes"))
    except (NotFoundError, StorageError):
        return 1  # what is wrong with it is said when its record is loaded


def load_recorded_config(run: Run, folder: RunFolder, per_host: Sequence[int] = (1,)) -> ExperimentConfig:
    """Return the published configuration, its commits of the hub included, under a name of its own.

    `per_host` is how many processes on each host are to repeat it: as many as trained it. Raises ConflictError for
    other ones and for a run that has not succeeded, StorageError when its files are not as published.
    """
    if run.status is not RunStatus.SUCCEEDED:
        raise ConflictError(
            f"run {run.id} is {run.status}: only SUCCEEDED runs can be replayed", f"see ft30 runs show {run.id[:8]}"
        )
    if faults := folder.verify():
        raise StorageError(
            f"the record of run {run.id} is not as it was published: {'; '.join(faults)}",
            "restore those files, or train anew",
        )
    processes = folder.load_manifest()["environment"].get("processes")
    if differences := list_other_processes(processes, list(per_host)):
        raise ConflictError(
            f"run {run.id[:8]} cannot be repeated by other processes: {'; '.join(differences)}",
            f"repeat it with as many: {command_of(processes, 'replay', run.id[:8])}",
            details={"differences": differences},
        )
    tree = load_config(folder.config).config.as_tree()
    tree["experiment_name"] = shorten_name(tree["experiment_name"], suffix=_SUFFIX)
    # Runs that older versions recorded have the model's commit and the processes in the manifest only.
    tree["training"]["processes"] = sum(per_host)
    tree["model"]["revision"] = folder.load_manifest()["base"]["revision"]
    return ExperimentConfig.model_validate(tree)
