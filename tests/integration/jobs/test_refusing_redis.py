"""A Redis that answers and refuses: runs are delayed at most, and no worker ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune30.store import RunStatus
from support.services import Services, running_services

pytestmark = pytest.mark.integration


def _other_kind_in_the_queue(client: Any) -> None:
    client.set("finetune30", "junk")


def _other_kind_among_the_unacknowledged(client: Any) -> None:
    client.delete("unacked", "unacked_index")
    client.set("unacked", "junk")
    client.set("unacked_index", "junk")


def _too_few_replicas(client: Any) -> None:
    client.config_set("min-replicas-to-write", 3)


def _follow_nobody(client: Any) -> None:
    client.replicaof("127.0.0.1", 1)


def _mend(client: Any) -> None:
    client.replicaof("NO", "ONE")
    client.config_set("min-replicas-to-write", 0)
    client.flushall()


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with running_services(tmp_path) as started:
        yield started


@pytest.mark.parametrize(
    "refuse",
    [_other_kind_in_the_queue, _other_kind_among_the_unacknowledged, _too_few_replicas, _follow_nobody],
)
def test_worker_outlives_refusals_and_runs_are_only_delayed(services: Services, refuse: Callable[[Any], None]) -> None:
    worker = services.start_worker()
    services.wait_for_worker()
    with services._redis_client() as client:
        refuse(client)
        first = services.submit("meanwhile")
        services.wait_for(first.run.id, RunStatus.SUCCEEDED, seconds=60)
        assert worker.poll() is None
        _mend(client)
    second = services.submit("after")
    services.wait_for(second.run.id, RunStatus.SUCCEEDED, seconds=60)
    assert worker.poll() is None
    assert services.stop_worker() == 0
