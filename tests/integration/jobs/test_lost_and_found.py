"""Nothing is lost: real Redis, real Celery workers, real attempt processes, killed, paused, flooded and flushed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from finetune30.jobs.celery_app import build_publishing_app
from finetune30.store import RunStatus
from support.event_checker import check
from support.patience import patient, wait_until
from support.present import present
from support.services import Services, running_services

pytestmark = pytest.mark.integration

CANCELLED, FAILED, QUEUED = RunStatus.CANCELLED, RunStatus.FAILED, RunStatus.QUEUED
RUNNING, SUCCEEDED = RunStatus.RUNNING, RunStatus.SUCCEEDED


@pytest.fixture
def services(tmp_path: Path):
    with running_services(tmp_path) as services:
        yield services


def require_clean(services: Services, accepted: list[str]) -> None:
    verdict = check(services.settings.resolved_database_url, services.settings.results_folder, accepted)
    assert verdict.breaches == [], verdict.summary()


def test_flushed_queue_duplicates_and_forged_messages_neither_lose_nor_double_a_run(services):
    ids = services.submit_many(100, steps=1)
    services.flush_redis()
    for run_id in ids[:3] * 3:
        services.publisher.publish(run_id)
    app = build_publishing_app(services.settings)
    for arguments in ((), ("f" * 32,), ("../../etc/passwd",), (["x"],), ({"a": 1},), ("a" * 1_000_000,), (1, 2, 3)):
        app.send_task("finetune30.run", args=arguments, retry=False)
    app.send_task("os.system", args=("touch forged",), retry=False)
    app.close()
    pickled = {"content-type": "application/x-python-serialize", "content-encoding": "base64", "headers": {}}
    envelope = {"body": "gASVEAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOULg==", "properties": {"delivery_tag": "1"}} | pickled
    services.push("no JSON", "[]", "{}", '{"body": 1}', json.dumps(envelope))
    for run_id in ids[30:]:  # their messages come back too, and must do nothing
        services.store.request_cancel(run_id)
    services.start_worker(concurrency=2, drill=0)
    services.wait_for_all(120)
    assert services.workers["one"].poll() is None, "the worker survives whatever lies in Redis"
    require_clean(services, ids)
    assert [services.store.get(run_id).attempt for run_id in ids] == [1] * 30 + [0] * 70
    assert not (services.folder / "forged").exists()


def test_runs_go_on_while_redis_is_down_and_after_it_came_back_empty(services):
    services.kill_redis()
    started = time.monotonic()
    first = services.submit("while-down", steps=1)
    assert time.monotonic() - started < patient(3)
    assert not first.published
    services.start_worker()
    services.wait_for(first.run.id, SUCCEEDED)
    services.start_redis()
    second = services.submit("after", steps=1)
    services.wait_for(second.run.id, SUCCEEDED)
    services.kill_redis()
    services.start_redis()
    third = services.submit("again", steps=1)
    services.wait_for(third.run.id, SUCCEEDED)
    require_clean(services, [first.run.id, second.run.id, third.run.id])


def test_killed_worker_takes_its_attempt_along_and_another_goes_on_from_the_checkpoint(services):
    run = services.submit(steps=30).run
    services.start_worker("one", drill=0.2)
    wait_until(lambda: (services.store.get(run.id).progress or {}).get("step", 0) >= 3, 40, "steps are taken")
    attempt = services.attempt_processes()
    assert len(attempt) == 1
    services.kill_worker("one")
    wait_until(lambda: not services.attempt_processes(), 5, "the attempt dies with its worker")
    killed_at = time.monotonic()
    services.start_worker("two", drill=0.01)
    done = services.wait_for(run.id, SUCCEEDED)
    assert time.monotonic() - killed_at < patient(15)
    assert done.attempt == 2
    assert done.metrics["resumed_from"] >= 3
    require_clean(services, [run.id])


def test_killed_attempt_is_tried_again_with_the_reason_on_its_card(services):
    run = services.submit(steps=30).run
    services.start_worker(drill=0.2)
    wait_until(lambda: (services.store.get(run.id).progress or {}).get("step", 0) >= 2, 40, "steps are taken")
    os.kill(services.attempt_processes()[0], signal.SIGKILL)
    wait_until(lambda: services.store.get(run.id).attempt == 2, 20, "a second attempt")
    lost = next(event for event in services.store.events(run.id) if event.kind == "lost")
    assert lost.detail["error"] == "process_crashed"
    assert "SIGKILL" in lost.detail["message"]
    done = services.wait_for(run.id, SUCCEEDED)
    assert done.metrics["resumed_from"] >= 2
    require_clean(services, [run.id])


def test_paused_worker_that_comes_back_changes_nothing(services):
    run = services.submit(steps=200).run
    zombie = services.start_worker("zombie", drill=0.1)
    wait_until(lambda: (services.store.get(run.id).progress or {}).get("step", 0) >= 2, 40, "steps are taken")
    attempt = services.attempt_processes()[0]
    for pid in (zombie.pid, attempt):
        os.kill(pid, signal.SIGSTOP)
    services.start_worker("two", drill=0.01)
    done = services.wait_for(run.id, SUCCEEDED)
    assert done.attempt == 2
    before = (services.settings.results_folder / done.folder / "manifest.json").read_bytes()
    for pid in (attempt, zombie.pid):
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: attempt not in services.attempt_processes(), 20, "the stale attempt ends")
    assert services.store.get(run.id) == done
    assert (services.settings.results_folder / done.folder / "manifest.json").read_bytes() == before
    require_clean(services, [run.id])


def test_cancel_survives_the_death_of_everything(services):
    waiting_for_nobody = services.submit("queued").run.id
    assert services.store.request_cancel(waiting_for_nobody).status is CANCELLED
    run = services.submit(steps=500).run
    worker = services.start_worker(drill=0.2)
    services.wait_for(run.id, RUNNING, seconds=40)
    os.kill(worker.pid, signal.SIGSTOP)
    os.kill(wait_until(services.attempt_processes, 10, "an attempt")[0], signal.SIGSTOP)
    services.store.request_cancel(run.id)
    services.kill_worker()
    services.kill_redis()
    services.start_redis()
    services.start_worker("two")
    services.wait_for(run.id, CANCELLED, seconds=40)
    require_clean(services, [run.id, waiting_for_nobody])


def test_cancel_stops_a_running_attempt_and_kills_one_that_does_not_listen(services):
    services.start_worker(drill=0.1)
    listening, deaf = services.submit(steps=500).run, None
    services.wait_for(listening.id, RUNNING, seconds=40)
    services.store.request_cancel(listening.id)
    services.wait_for(listening.id, CANCELLED, seconds=10)
    deaf = services.submit("drill-hang").run
    services.wait_for(deaf.id, RUNNING, seconds=20)
    services.store.request_cancel(deaf.id)
    services.wait_for(deaf.id, CANCELLED, seconds=services.settings.stop_grace_seconds + 10)
    wait_until(lambda: not services.attempt_processes(), 5, "nothing is left running")
    require_clean(services, [listening.id, deaf.id])


def test_stopped_worker_hands_its_run_back_and_another_finishes_it(services):
    run = services.submit(steps=40).run
    services.start_worker("one", drill=0.2)
    wait_until(lambda: (services.store.get(run.id).progress or {}).get("step", 0) >= 2, 40, "steps are taken")
    assert services.stop_worker("one") == 0
    handed_back = services.store.get(run.id)
    assert (handed_back.status, handed_back.failures) == (QUEUED, 0)
    services.start_worker("two", drill=0.01)
    done = services.wait_for(run.id, SUCCEEDED)
    assert done.metrics["resumed_from"] >= 2
    require_clean(services, [run.id])


@pytest.mark.parametrize(
    ("name", "code", "attempts"),
    [("drill-crash", "process_crashed", 3), ("drill-exit", "process_crashed", 3), ("drill-data", "data_error", 1)],
)
def test_end_of_an_attempt_is_explained(services, name, code, attempts):
    run = services.submit(name).run
    services.start_worker()
    failed = services.wait_for(run.id, FAILED)
    assert (present(failed.error)["error"], failed.attempt) == (code, attempts)
    if name == "drill-crash":
        assert "SIGSEGV" in failed.error["message"]
        assert "Segmentation fault" in failed.error["details"]["output"]
    if name == "drill-exit":
        assert failed.error["details"]["exit_code"] == 7
    require_clean(services, [run.id])


def test_attempt_that_stands_still_is_stopped(tmp_path):
    with running_services(tmp_path, no_progress_seconds=2) as services:
        run = services.submit("drill-hang").run
        services.start_worker()
        failed = services.wait_for(run.id, FAILED)
        assert (present(failed.error)["error"], failed.attempt) == ("no_progress", 3)
        require_clean(services, [run.id])


def test_priority_is_kept_by_the_workers(services):
    low = [services.submit(f"low{n}", steps=1).run.id for n in range(3)]
    high = services.submit("high", steps=1, priority=10)
    assert high.queue_position == 1
    services.start_worker(drill=0.01)
    services.wait_for_all(40)
    started = {run_id: present(services.store.get(run_id).started_at) for run_id in (*low, high.run.id)}
    assert min(started, key=started.__getitem__) == high.run.id
    assert [started[run_id] for run_id in low] == sorted(started[run_id] for run_id in low)


def test_messages_start_runs_at_once_also_after_redis_was_restarted(tmp_path):
    with running_services(tmp_path, reconcile_seconds=600) as services:  # no reconciler helps within this test
        services.start_worker(drill=0.01)
        services.wait_for_worker()
        services.wait_for(services.submit("first", steps=1).run.id, SUCCEEDED, seconds=10)
        for _ in range(2):
            services.kill_redis()
            services.start_redis()
            run = wait_until(lambda: _published(services), 10, "a message is sent")
            services.wait_for(run, SUCCEEDED, seconds=40)


def _published(services: Services) -> str | None:
    done = services.submit("next", steps=1)
    return done.run.id if done.published else None
