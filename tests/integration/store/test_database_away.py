"""PostgreSQL is killed and comes back: who begins just then waits for it, and old connections are in nobody's way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

import pytest

from finetune30.config import ExperimentConfig
from finetune30.errors import StorageError
from finetune30.service.execution.queued import count_of_attempt
from finetune30.settings import Settings
from finetune30.store import open_store
from support.killable_postgres import KillablePostgres
from support.present import present

pytestmark = pytest.mark.integration


def test_an_attempt_that_begins_meanwhile_waits_as_long_as_its_lease_lasts(tmp_path: Path) -> None:
    with KillablePostgres() as postgres, ThreadPoolExecutor(1) as thread:
        store = open_store(postgres.url)
        tree = {"experiment_name": "late", "training": {"processes": 3}}
        run = store.create(ExperimentConfig.model_validate(tree), kind="queued", results_root=tmp_path)
        claim = present(store.claim(run.id, owner="elsewhere:boot:1:1", lease_seconds=600))
        postgres.kill()
        begins = thread.submit(count_of_attempt, claim, Settings(database_url=postgres.url, lease_seconds=600))
        with pytest.raises(FutureTimeoutError):
            begins.result(timeout=2.5)
        with pytest.raises(StorageError):
            count_of_attempt(claim, Settings(database_url=postgres.url, lease_seconds=0.5))
        postgres.start_again()
        assert begins.result(timeout=120) == 3
        assert store.get(run.id).attempt == 1  # over a connection that the killed server had
        store.close()
