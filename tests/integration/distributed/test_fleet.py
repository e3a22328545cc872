"""Workers on two hosts, services on a third: whatever dies or is cut off, each run ends once, with the same result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from finetune30.store import RunStatus
from support.event_checker import check
from support.exactness import fingerprint
from support.fleet import API_KEY, WORKERS, Fleet, fleet_of_hosts
from support.fleet_chaos import MISFORTUNES, FleetChaos
from support.fleet_trainings import Training, prepare_training
from support.fleet_verdict import EQUAL, judge
from support.fork_server import ForkServer
from support.patience import wait_until
from support.patient_client import PatientClient
from support.services import find_attempts

pytestmark = pytest.mark.integration

SUCCEEDED = RunStatus.SUCCEEDED


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_of_hosts(tmp_path_factory.mktemp("fleet")) as fleet:
        fleet.start_all("postgresql", "redis", "api", "worker-a", "worker-b")
        yield fleet


@pytest.fixture(scope="module")
def training(fleet: Fleet, fork_server: ForkServer, tiny_model: Callable[..., Path]) -> Training:
    return prepare_training(fork_server, fleet.shared, tiny_model(), processes=(1,))


def submit(fleet: Fleet, key: str, training: Training | None = None) -> str:
    """Submit a training or a drill over the API, as somebody at another machine does."""
    with PatientClient(fleet.api_url, API_KEY) as client:
        return client.submit(key) if training is None else client.submit_config(key, "train", training.config)


def require_whole(fleet: Fleet, run_id: str, training: Training) -> None:
    """The run ended once, by whoever held it, with the result of a run that nobody disturbed."""
    verdict = check(fleet.settings.resolved_database_url, fleet.results, [run_id])
    assert verdict.breaches == [], verdict.summary()
    found = fingerprint(fleet.results / fleet.store.get(run_id).folder, with_events=False)
    assert {key: found[key] for key in EQUAL} == {key: training.undisturbed[1][key] for key in EQUAL}


def test_a_host_that_dies_leaves_its_run_to_the_other_which_goes_on_bit_for_bit(
    fleet: Fleet, training: Training
) -> None:
    run_id = submit(fleet, "host", training)
    died = fleet.wait_for_step(run_id, 4)
    (other,) = set(WORKERS) - {died}
    fleet.kill_host(died)
    run = fleet.wait_for(run_id, SUCCEEDED, seconds=120)
    assert (fleet.claims(run_id), run.attempt) == ([died, other], 2)
    assert "of attempt 1" in (fleet.results / run.folder / "logs.txt").read_text()  # it did not begin anew
    require_whole(fleet, run_id, training)
    wait_until(lambda: fleet.count_connections(died) == 0, 60, "PostgreSQL lets the connections of the host go")
    fleet.hosts[died].power_on()
    fleet.start_all(*(["api"] if died == "a" else []), f"worker-{died}")


def test_a_host_without_network_gives_its_run_up_and_is_of_use_again(fleet: Fleet, training: Training) -> None:
    run_id = submit(fleet, "cable", training)
    cut_off = fleet.wait_for_step(run_id, 2)
    (other,) = set(WORKERS) - {cut_off}
    fleet.kill(f"worker-{other}")
    attempt = set(find_attempts(fleet.settings.results_folder))
    fleet.hosts[cut_off].pull_cable()
    wait_until(lambda: not attempt & set(find_attempts(fleet.settings.results_folder)), 10, "the attempt ends")
    assert not (fleet.results / fleet.store.get(run_id).folder / "manifest.json").exists()  # before it was trained
    fleet.start_all(f"worker-{other}")
    run = fleet.wait_for(run_id, SUCCEEDED, seconds=120)
    assert fleet.claims(run_id) == [cut_off, other]
    fleet.hosts[cut_off].plug_in()
    fleet.kill(f"worker-{other}")
    again = submit(fleet, "drill")
    fleet.wait_for(again, SUCCEEDED)
    assert fleet.claims(again) == [cut_off]
    assert fleet.store.get(run_id) == run
    require_whole(fleet, run_id, training)
    fleet.start_all(f"worker-{other}")


def test_a_training_outlives_postgresql_and_redis(fleet: Fleet, training: Training) -> None:
    run_id = submit(fleet, "services", training)
    fleet.wait_for_step(run_id, 2)
    for name in ("redis", "postgresql"):
        fleet.kill(name)
        fleet.start_all(name)
    fleet.wait_for(run_id, SUCCEEDED, seconds=120)
    require_whole(fleet, run_id, training)
    assert submit(fleet, "services", training) == run_id  # the same key, the same run


def test_nothing_is_lost_doubled_unreadable_or_stuck_whatever_is_killed(fleet: Fleet, training: Training) -> None:
    """The short form of `make chaos-hosts`: every misfortune once."""
    drill = {"training": {"max_steps": 20}}
    configs = [("train", training.config), *((f"drill{number}", drill) for number in range(19))]
    chaos = FleetChaos(fleet, configs, seed=1)
    chaos.run(list(reversed(MISFORTUNES)), (0.5, 1.5))  # hosts last: without power they have no cable to pull
    verdict = judge(fleet, chaos, training.undisturbed)
    assert verdict.breaches == []
    assert set(chaos.done) >= set(MISFORTUNES) - {"attempt or rank killed"}
