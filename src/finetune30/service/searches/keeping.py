"""What stays of a search on the disk: all models, or that of the best trial."""

from __future__ import annotations

from pathlib import Path

from finetune30.errors import ConflictError
from finetune30.service.searches.standing import Standing
from finetune30.store import RunFolder, RunStatus, RunStore
from finetune30.store.database import reading
from finetune30.store.model_queries import require_no_version
from finetune30.store.searches import TrialState, note_removal, runs_of_trials


def remove_beaten(store: RunStore, standing: Standing, results: Path) -> None:
    """Remove the models of trials that another one beats, where only the best is kept.

    A trial that was beaten stays so, hence the same models are left whenever this is done. What is a version of a model
    stays. Raises StorageError.
    """
    best = standing.best
    if standing.spec.keep != "best" or best is None:
        return
    beaten = [
        trial
        for trial in standing.trials
        if trial.state is TrialState.DONE
        and trial.reused_from is None
        and not trial.model_removed
        and trial.number != best.number
    ]
    runs = runs_of_trials(store, standing.search, [trial.number for trial in beaten])
    for trial in beaten:
        run = runs.get(trial.number)
        if run is None or run.status is not RunStatus.SUCCEEDED or _is_version(store, run.id):
            continue
        folder = RunFolder(results / run.folder)
        folder.remove_model(
            f"its model was removed, since trial {best.number} of search {standing.search.id[:8]} is at least as good"
        )
        note_removal(store, trial, folder.size_bytes())


def _is_version(store: RunStore, run_id: str) -> bool:
    with reading(store.engine) as connection:
        try:
            require_no_version(connection, run_id)
        except ConflictError:
            return True
    return False
