"""What a process takes from its launcher's environment, and what it refuses."""

from __future__ import annotations

import pytest

from finetune30.errors import ServiceUnavailableError, UsageError
from finetune30.service.execution.launch import Launch, read_launch, refuse_restart, require_address

PLACE = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WORLD_SIZE": "1"},
        {"WORLD_SIZE": "1", "RANK": "0", **PLACE},
        {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"},  # a batch script of four tasks, in which nothing was started yet
        {"WORLD_SIZE": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"},  # independent trainings, as is said
        {"ACCELERATE_MIXED_PRECISION": "no"},  # accelerate was asked for one process
        {"MASTER_ADDR": "10.0.0.1"},
    ],
)
def test_a_process_is_alone(environment: dict[str, str]) -> None:
    assert read_launch(environment) is None


@pytest.mark.parametrize(
    "said",
    [
        {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"},
        {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1"},
        {"PMI_SIZE": "2", "PMI_RANK": "1", "MPI_LOCALRANKID": "1"},
        {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"},
    ],
)
def test_a_process_is_one_of_two(said: dict[str, str]) -> None:
    assert read_launch({**said, **PLACE}) == Launch(1, 2, 1, "10.0.0.1", 29500)


def test_torchruns_own_store_and_restarts_are_seen() -> None:
    torchrun = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "1"}
    launch = read_launch({"RANK": "0", "WORLD_SIZE": "2", **PLACE, **torchrun})
    assert launch is not None
    assert (launch.has_store, launch.restarts) == (True, 1)
    with pytest.raises(UsageError, match="another run"):
        refuse_restart(launch)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RANK": "0"}, "WORLD_SIZE does not say"),
        ({"WORLD_SIZE": "2", **PLACE}, "RANK is not set"),
        ({"WORLD_SIZE": "2", "RANK": "2", **PLACE}, "from 0 to 1"),
        ({"WORLD_SIZE": "1", "RANK": "1", **PLACE}, "RANK is 1"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "where they meet"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "10.0.0.1"}, "where they meet"),
        ({"WORLD_SIZE": "two", "RANK": "0", **PLACE}, "'two'"),
        ({"WORLD_SIZE": "0", "RANK": "0", **PLACE}, "'0'"),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"}, "process 2 of 4"),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}, "process 0 of 2"),
        ({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "ACCELERATE_MIXED_PRECISION": "no"}, "accelerate"),
    ],
)
def test_what_is_half_said_is_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_launch(environment)


def test_an_address_that_does_not_resolve_is_named() -> None:
    with pytest.raises(ServiceUnavailableError, match=r"'no-such-host\.invalid', where the 2 processes meet"):
        require_address(Launch(0, 2, 0, "no-such-host.invalid", 29500))
    require_address(Launch(0, 2, 0, "127.0.0.1", 29500))
