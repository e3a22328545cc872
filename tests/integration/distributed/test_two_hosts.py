"""One training on two hosts: a pulled cable is told with the host's name, and going on is exact to the bit."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from support.exactness import fingerprint
from support.gang import Gang
from support.hosts import Network, network_of_hosts
from support.patience import patient

pytestmark = pytest.mark.integration

#: Longer than a loaded machine holds Python up while it imports.
LOST_AFTER_SECONDS = 10


def begin(network: Network, gang: Gang, *arguments: str, **variables: str) -> list[Any]:
    """Begin a command on both hosts; only the first one has a results folder."""
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": network.hosts["a"].address, "MASTER_PORT": "29500"}
    patience = {"FT30_PEER_TIMEOUT_SECONDS": str(LOST_AFTER_SECONDS)}
    return [
        network.hosts[letter].start(
            *(sys.executable, "-m", "finetune30", *arguments),
            folder=gang.lab.folder,
            output=subprocess.PIPE,
            environment={"RANK": rank, "FT30_RESULTS_FOLDER": results, **place, **patience, **variables},
        )
        for letter, rank, results in (("a", "0", "hosts"), ("b", "1", "nowhere"))
    ]


def test_a_pulled_cable_ends_the_attempt_on_both_and_they_go_on_as_two_on_one_host_would(
    whole: tuple[Gang, dict[str, Any]],
) -> None:
    gang, on_one_host = whole
    with network_of_hosts("ab") as network:
        both = begin(network, gang, "train", "--config", "config.yaml", FT30_FAILPOINT="training.after_step:2+:wait2")
        gang.wait_for_step(2, "hosts")
        network.hosts["b"].pull_cable()
        said = [process.communicate(timeout=patient(60))[1] for process in both]
        assert [process.returncode for process in both] == [1, 1], said
        error = gang.row("hosts")["error"]
        assert (error["error"], error["details"]["lost"]) == ("peer_lost", [{"rank": 1, "host": "host-b.lab"}])
        assert "on host-a.lab" in said[1]
        network.hosts["b"].plug_in()
        both = begin(network, gang, "resume", "latest")
        said = [process.communicate(timeout=patient(60))[1] for process in both]
        assert [process.returncode for process in both] == [0, 0], said
    again = fingerprint(gang.lab.run_folder("hosts"))
    assert again["metrics"]["environment"]["processes"]["per_host"] == [1, 1]
    equal = ("tensors", "digests", "history", "predictions")
    assert {key: again[key] for key in equal} == {key: on_one_host[key] for key in equal}
