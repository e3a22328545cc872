"""GET /status: the truth about services and machine, and nothing that is nobody's business."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

import finetune30
from finetune30.api import health
from finetune30.api.health import ServiceHealth
from finetune30.errors import ServiceUnavailableError, StorageError
from finetune30.store.workers import report_worker

Start = Callable[..., TestClient]


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Redis does when it is looked for; counts the looks."""
    told: dict[str, Any] = {"up": False, "looks": 0}

    def look(_: str) -> bool:
        told["looks"] += 1
        if isinstance(told["up"], Exception):
            raise told["up"]
        return bool(told["up"])

    monkeypatch.setattr(health, "is_redis_up", look)
    return told


def store_of(api: TestClient) -> Any:
    app: Any = api.app
    return app.state.services.store


def test_it_tells_of_workers_queue_and_machine(start: Start, redis: dict[str, Any]) -> None:
    api = start()
    redis["up"] = True
    first = api.post("/train", json={}).json()["task_id"]
    api.post("/train", json={})
    store = store_of(api)
    report_worker(store, "elsewhere:boot:1:1", "celery@workshop", ("cpu", "cuda:0"))
    store.claim(first, owner="elsewhere:boot:1:1", lease_seconds=60)
    told = api.get("/status").json()
    assert told.keys() == ServiceHealth.model_fields.keys()
    assert (told["redis"], told["database"], told["queued"], told["running"]) == ("up", "up", 1, 1)
    (worker,) = told["workers"]
    assert (worker["slots"], worker["busy"]) == (["cpu", "cuda:0"], 1)
    assert (worker["version"], worker["draining"]) == (finetune30.__version__, False)
    assert told["machine"]["memory"]["total_bytes"] > 0
    ServiceHealth.model_validate(told)


def test_nothing_secret_is_told(start: Start, redis: dict[str, Any]) -> None:
    api = start(redis_url="redis://anna:secret@redis.example:6379/0")
    redis["up"] = ServiceUnavailableError("Redis at redis.example:6379 refuses the login", "")
    report_worker(store_of(api), "workshop:boot:1:1", "celery@workshop", ("cpu",))
    told = api.get("/status").json()
    assert told["redis"] == "refuses"
    for word in ("secret", "anna", "redis.example", "workshop", "results", "boot"):
        assert word not in json.dumps(told)


def test_without_worker_and_database_it_says_so(
    start: Start, redis: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = start()
    told = api.get("/status").json()
    assert (told["redis"], told["workers"]) == ("down", [])

    def fail(_: Any) -> None:
        raise StorageError("database: gone", "")

    monkeypatch.setattr(health, "load_overview", fail)
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)
    told = api.get("/status").json()
    assert (told["database"], told["queued"], told["workers"]) == ("down", None, None)
    assert told["machine"]["processors"]["cores"] >= 1


def test_many_who_ask_are_answered_by_one_look(start: Start, redis: dict[str, Any]) -> None:
    api = start()
    threads = [threading.Thread(target=api.get, args=("/status",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert redis["looks"] == 1
