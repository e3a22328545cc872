"""kill -9 at every named point on the way of a run: of the API that accepts it, of the worker and the attempt."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from finetune30.api.access_gate import PROCESSING
from finetune30.store import RunFilter, RunStatus
from finetune30.store.access import load_audit
from support.event_checker import check
from support.patience import patient, wait_until
from support.patient_client import PatientClient
from support.services import Services, running_services

pytestmark = pytest.mark.integration

#: On the way of a submission, in order.
OF_SUBMIT = ("before_row", "after_row", "before_message", "after_message", "before_answer")
OF_WORK = (
    "claim.before_row", "claim.after_row", "heartbeat", "drill.before_checkpoint", "drill.after_checkpoint",
    "publish.before_manifest", "publish.after_manifest", "publish.after_each_move", "publish.before_last_move",
    "publish.before_row", "finish.after_row", "supervisor.after_end",
)  # fmt: skip
#: Killed before the first attempt, or after its end was recorded: no second one is needed.
NOT_REPEATED = {"claim.before_row", "finish.after_row", "supervisor.after_end"}


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with running_services(tmp_path) as services:
        yield services


def require_clean(services: Services, accepted: list[str]) -> None:
    verdict = check(services.settings.resolved_database_url, services.settings.results_folder, accepted)
    assert verdict.breaches == [], verdict.summary()
    assert verdict.endings == {"SUCCEEDED": len(accepted)}


def test_api_killed_at_any_point_of_a_submission_neither_loses_nor_doubles_it(services):
    accepted = []
    with PatientClient(services.api_address) as client:
        for point in OF_SUBMIT:
            services.start_api(FT30_FAILPOINT=f"submit.{point}:1")
            services.wait_for_api()
            helper = threading.Thread(target=_start_again_after_death, args=(services,))
            helper.start()
            accepted.append(client.submit(f"key-{point}", name=f"killed-{point}", steps=1))
            helper.join()
            assert client.submit(f"key-{point}", name=f"killed-{point}", steps=1) == accepted[-1]
            services.kill_api()
        assert client.tries.total() > client.tries["202"] == 2 * len(OF_SUBMIT)
    trail = Counter(entry.outcome for entry in load_audit(services.store))
    assert trail == {PROCESSING: len(OF_SUBMIT), 202: 2 * len(OF_SUBMIT)}  # each kill left its entry
    assert len({*accepted}) == len(OF_SUBMIT)
    assert {run.id for run in services.store.find(RunFilter())} == {*accepted}
    services.start_worker(drill=0, concurrency=2)
    services.wait_for_all(60)
    require_clean(services, accepted)


def _start_again_after_death(services: Services) -> None:
    assert services.api is not None
    services.api.wait(60)
    services.start_api()


def test_api_killed_while_many_submit_keeps_every_promise(services):
    misfortunes = random.Random(5)
    services.start_api()
    services.wait_for_api()
    clients = [PatientClient(services.api_address) for _ in range(4)]

    def hand_in(number: int) -> list[str]:
        with clients[number] as client:
            return [client.submit(f"{number}-{count}", name=f"by-{number}", steps=1) for count in range(5)]

    with ThreadPoolExecutor(len(clients)) as threads:
        working = [threads.submit(hand_in, number) for number in range(len(clients))]
        for _ in range(3):
            seen = services.store.stats().total
            goal = min(seen + misfortunes.randint(2, 5), 18)
            wait_until(partial(_holds, services, goal), 60, f"{goal} runs are recorded")
            services.kill_api()
            services.start_api()
        accepted = [run_id for hand in working for run_id in hand.result(patient(120))]
    assert len({*accepted}) == len(accepted) == services.store.stats().total
    services.start_worker(drill=0, concurrency=2)
    services.wait_for_all(120)
    require_clean(services, accepted)


def _holds(services: Services, goal: int) -> bool:
    return services.store.stats().total >= goal


def test_worker_or_attempt_killed_at_any_point_of_its_work_is_made_good(services):
    reached = services.folder / "reached.txt"
    ids = {}
    for point in OF_WORK:
        ids[point] = services.submit(point, steps=4).run.id
        doomed = services.start_worker(
            "doomed", drill=0.15, FT30_FAILPOINT=f"{point}:1", FT30_FAILPOINT_TRACE=str(reached)
        )
        try:
            wait_until(partial(_count, reached, point), 60, f"{point} is reached")
        except AssertionError as error:
            raise AssertionError(f"{error}: {(services.folder / 'worker-doomed.log').read_text()[-3000:]}") from None
        if point in ("claim.before_row", "claim.after_row", "supervisor.after_end"):  # the worker itself dies of it
            assert doomed.wait(patient(20)) < 0
        services.kill_worker("doomed")
        reached.unlink()
        # Made good before the next one comes: a run that every doomed worker took up would be given up, and rightly so.
        services.start_worker("good", drill=0)
        services.wait_for(ids[point], RunStatus.SUCCEEDED, seconds=60)
        services.kill_worker("good")
    attempts = {point: services.store.get(run_id).attempt for point, run_id in ids.items()}
    assert {point for point, number in attempts.items() if number == 1} == NOT_REPEATED, attempts
    require_clean(services, list(ids.values()))


def _count(trace: Path, point: str) -> int:
    return trace.read_text().splitlines().count(point) if trace.exists() else 0
