"""A Redis that answers and refuses: runs are delayed at most, and no worker ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune30.store import RunStatus
from support.patience import wait_until
from support.refusing_front import RefusingFront
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


def _no_memory(client: Any) -> None:
    client.config_set("maxmemory", 1)


def _follow_nobody(client: Any) -> None:
    client.replicaof("127.0.0.1", 1)


def _mend(client: Any) -> None:
    client.replicaof("NO", "ONE")
    client.config_set("min-replicas-to-write", 0)
    client.config_set("maxmemory", 0)
    client.flushall()


REFUSALS = (
    _other_kind_in_the_queue,
    _other_kind_among_the_unacknowledged,
    _too_few_replicas,
    _no_memory,
    _follow_nobody,
)
#: What Redis and Valkey answer in the place of a result, by the code that they begin with.
ERRORS = (
    "ERR unknown command",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "READONLY You can't write against a read only replica.",
    "NOREPLICAS Not enough good replicas to write.",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN The cluster is down",
    "MOVED 3999 127.0.0.1:1",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "EXECABORT Transaction discarded because of previous errors.",
    "NOAUTH Authentication required.",
    "NOPERM this user has no permissions to run the 'brpop' command",
    "WRONGPASS invalid username-password pair or user is disabled.",
)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with running_services(tmp_path) as started:
        yield started


def test_worker_outlives_refusals_and_runs_are_only_delayed(services: Services) -> None:
    worker = services.start_worker()
    services.wait_for_worker()
    with services._redis_client() as client:
        for refuse in REFUSALS:
            refuse(client)
            first = services.submit(f"meanwhile {refuse.__name__}")
            services.wait_for(first.run.id, RunStatus.SUCCEEDED, seconds=60)
            assert worker.poll() is None, refuse
            _mend(client)
    second = services.submit("after")
    services.wait_for(second.run.id, RunStatus.SUCCEEDED, seconds=60)
    assert worker.poll() is None
    assert services.stop_worker() == 0


def test_no_error_that_redis_can_answer_ends_a_worker(services: Services) -> None:
    with RefusingFront(services.port) as front:
        worker = services.start_worker(FT30_REDIS_URL=f"redis://127.0.0.1:{front.port}/0")
        services.wait_for_worker()
        for error in ERRORS:
            refused = front.refused
            front.refuse(error)
            wait_until(lambda before=refused: front.refused > before or worker.poll() is not None, 30, error)  # type: ignore[misc]
            time.sleep(0.2)
            assert worker.poll() is None, error
            front.pass_on()
        last = services.submit("after")
        services.wait_for(last.run.id, RunStatus.SUCCEEDED, seconds=60)
        assert services.stop_worker() == 0
