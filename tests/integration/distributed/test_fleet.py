"""Workers on two hosts, services on a third: a host dies, a cable is pulled, services are killed; each run ends once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune30.store import RunStatus
from support.event_checker import check
from support.exactness import Lab, fingerprint
from support.fleet import API_KEY, WORKERS, Fleet, fleet_of_hosts
from support.fork_server import ForkServer
from support.patience import wait_until
from support.patient_client import PatientClient
from support.services import find_attempts

pytestmark = pytest.mark.integration

SUCCEEDED = RunStatus.SUCCEEDED
#: Slow enough to be killed in the middle.
SLOWLY = {"FT30_FAILPOINT": "training.after_step:1+:wait0.5"}
#: What a run that was moved between hosts has in common with one that nobody disturbed.
EQUAL = ("tensors", "digests", "history", "predictions")


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer, tiny_model: Callable[..., Path]
) -> Iterator[Fleet]:
    with fleet_of_hosts(tmp_path_factory.mktemp("fleet")) as fleet:
        lab = Lab(fork_server, fleet.shared, tiny_model())
        (fleet.shared / "base").unlink()
        shutil.copytree(tiny_model(), fleet.shared / "base")  # requests may name no links out of the allowed folder
        ended = lab.train("undisturbed")
        assert ended.returncode == 0, ended.stderr
        fleet.start_all("postgresql", "redis", "api")
        fleet.start_all("worker-a", "worker-b", **SLOWLY)
        yield fleet


@pytest.fixture(scope="module")
def undisturbed(fleet: Fleet) -> dict[str, Any]:
    """The fingerprint of the same training where nothing happened."""
    (folder,) = (path for path in (fleet.shared / "undisturbed").iterdir() if path.is_dir())
    return fingerprint(folder)


def submit(fleet: Fleet, name: str) -> str:
    """Submit the training over the API, as somebody at another machine does."""
    tree = yaml.safe_load((fleet.shared / "config.yaml").read_text())
    with PatientClient(fleet.api_url, API_KEY) as client:
        return client.submit_config(name, tree.pop("experiment_name"), tree)


def require_whole(fleet: Fleet, run_id: str, undisturbed: dict[str, Any]) -> None:
    """The run ended once, by whoever held it, with the result of a run that nobody disturbed."""
    verdict = check(fleet.settings.resolved_database_url, fleet.results, [run_id])
    assert verdict.breaches == [], verdict.summary()
    found = fingerprint(fleet.results / fleet.store.get(run_id).folder, with_events=False)
    assert {key: found[key] for key in EQUAL} == {key: undisturbed[key] for key in EQUAL}


def test_a_host_that_dies_leaves_its_run_to_the_other_which_goes_on_bit_for_bit(
    fleet: Fleet, undisturbed: dict[str, Any]
) -> None:
    run_id = submit(fleet, "host")
    died = fleet.wait_for_step(run_id, 4)
    (other,) = set(WORKERS) - {died}
    fleet.kill_host(died)
    run = fleet.wait_for(run_id, SUCCEEDED, seconds=120)
    assert (fleet.claims(run_id), run.attempt) == ([died, other], 2)
    log = (fleet.results / run.folder / "logs.txt").read_text()
    assert "of attempt 1" in log
    require_whole(fleet, run_id, undisturbed)
    wait_until(lambda: fleet.count_connections(died) == 0, 60, "PostgreSQL lets the connections of the host go")
    fleet.hosts[died].power_on()
    fleet.start_all(*(["api"] if died == "a" else []), f"worker-{died}", **SLOWLY)


def test_a_host_without_network_gives_its_run_up_and_is_of_use_again(
    fleet: Fleet, undisturbed: dict[str, Any]
) -> None:
    run_id = submit(fleet, "cable")
    cut_off = fleet.wait_for_step(run_id, 2)
    (other,) = set(WORKERS) - {cut_off}
    fleet.kill(f"worker-{other}")
    before = find_attempts(fleet.settings.results_folder)
    fleet.hosts[cut_off].pull_cable()
    wait_until(lambda: not set(before) & set(find_attempts(fleet.settings.results_folder)), 10, "the attempt ends")
    fleet.start_all(f"worker-{other}", **SLOWLY)
    run = fleet.wait_for(run_id, SUCCEEDED, seconds=120)
    assert fleet.claims(run_id) == [cut_off, other]
    fleet.hosts[cut_off].plug_in()
    fleet.kill(f"worker-{other}")
    again = submit(fleet, "cable-again")
    fleet.wait_for(again, SUCCEEDED, seconds=120)
    assert fleet.claims(again) == [cut_off]
    assert fleet.store.get(run_id) == run
    require_whole(fleet, run_id, undisturbed)
    fleet.start_all(f"worker-{other}", **SLOWLY)


def test_a_training_outlives_postgresql_and_redis(fleet: Fleet, undisturbed: dict[str, Any]) -> None:
    run_id = submit(fleet, "services")
    fleet.wait_for_step(run_id, 2)
    for name in ("redis", "postgresql"):
        fleet.kill(name)
        fleet.start(name)
    fleet.wait_for(run_id, SUCCEEDED, seconds=120)
    require_whole(fleet, run_id, undisturbed)
    require_whole(fleet, submit(fleet, "services"), undisturbed)  # the same key, the same run
