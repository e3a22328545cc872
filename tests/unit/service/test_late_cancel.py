"""A cancellation that comes while a result is published: carried out, and the result is not lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune30.config import ExperimentConfig
from finetune30.errors import CancelledError
from finetune30.service.execution.execute import Execution, execute
from finetune30.service.execution.resume import resume_locally
from finetune30.service.execution.run_log import RunLog
from finetune30.settings import load_settings
from finetune30.store import RunFolder, RunStatus, open_store
from finetune30.store.lease import LeaseKeeper
from finetune30.store.run_folder import AttemptFolder, Published
from support.drill import build_drill
from support.present import present


def test_it_is_carried_out_and_the_result_is_taken_up_again(tmp_path: Path) -> None:
    settings = load_settings()
    store = open_store(settings.resolved_database_url)
    config = ExperimentConfig(experiment_name="late")
    run = store.create(config, kind="queued", results_root=settings.results_folder)
    claim = store.claim(run.id, lease_seconds=60)
    assert claim is not None

    def cancelled_after_publishing(
        execution: Execution, attempt: AttemptFolder, keeper: LeaseKeeper, log: RunLog
    ) -> Published:
        done = build_drill("0")(execution, attempt, keeper, log)
        store.request_cancel(run.id)
        return done

    folder = RunFolder(settings.results_folder / run.folder)
    with pytest.raises(CancelledError) as caught:
        execute(
            Execution(store, claim, run, folder, settings, frozenset(), None, lambda: None, cancelled_after_publishing)
        )
    assert caught.value.remedy == f"take the result up with: ft30 resume {run.id[:8]}"
    ended = store.get(run.id)
    assert (ended.status, ended.metrics) == (RunStatus.CANCELLED, None)
    last = store.events(run.id)[-1]
    assert (last.kind, (last.detail or {})["reason"]) == ("cancelled", "asked for before the result was recorded")
    resumed = present(resume_locally(run.id[:8], settings, {}))
    assert resumed.metrics["eval_accuracy"] == 1.0
    again = store.get(run.id)
    assert (again.status, again.attempt) == (RunStatus.SUCCEEDED, 2)
    store.close()
