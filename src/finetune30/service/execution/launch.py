"""How this process was started: alone, or by a launcher as one of several on one training.

What a launcher says stands in the environment, in PyTorch's words (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT) or in
those of MPI and Slurm. Several processes that each believed to be alone would train several runs where one was meant,
so whatever is half said is refused.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from finetune30.errors import ServiceUnavailableError, UsageError

#: Number of processes, number of this one, number on its host: PyTorch's own words first.
_WORDS = (
    ("WORLD_SIZE", "RANK", "LOCAL_RANK"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID"),
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_LOCAL_RANK"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"),
)
_ADDRESS, _PORT = "MASTER_ADDR", "MASTER_PORT"
_SEE = "start it as docs/distributed.md shows"


@dataclass(frozen=True)
class Launch:
    """This process among those of one training.

    `rank` counts from 0 to `world_size` - 1; `address` and `port` are where they meet, at the launcher's own store
    (`has_store`) or at one that process 0 opens. `restarts` is how often the launcher began anew.
    """

    rank: int
    world_size: int
    local_rank: int | None
    address: str
    port: int
    has_store: bool = False
    restarts: int = 0


def read_launch(environment: Mapping[str, str]) -> Launch | None:
    """Return what the environment says about the other processes; None for a process that is alone.

    Raises UsageError for an environment of which only a part is there.
    """
    size_word, rank_word, local_word = _spoken(environment)
    size = _number(environment, size_word)
    if size is None:
        _refuse_leftovers(environment)
        return None
    if size == 1 and not _number(environment, rank_word):
        return None
    rank = _number(environment, rank_word)
    if rank is None or rank >= size:
        raise UsageError(
            f"{size_word} is {size} and {rank_word} is {'not set' if rank is None else rank}: each of {size} processes "
            f"needs its own number from 0 to {size - 1}",
            f"{_SEE}, or set WORLD_SIZE=1 to train alone",
        )
    port, address = _number(environment, _PORT), environment.get(_ADDRESS)
    if port is None or not address:
        raise UsageError(
            f"this is process {rank} of {size} ({size_word}), but {_ADDRESS} and {_PORT} do not say where they meet",
            f"{_SEE}; or set WORLD_SIZE=1 to train alone",
        )
    return Launch(
        rank,
        size,
        _number(environment, local_word),
        address,
        port,
        has_store=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        restarts=_number(environment, "TORCHELASTIC_RESTART_COUNT") or 0,
    )


def was_launched(environment: Mapping[str, str]) -> bool:
    """Tell whether a launcher started this process as one of a group, be it of one.

    WORLD_SIZE=1 alone says that this process is on its own. Raises as `read_launch`.
    """
    return read_launch(environment) is not None or _WORDS[0][1] in environment


def require_address(launch: Launch) -> None:
    """Raise ServiceUnavailableError where the address at which the processes meet does not resolve on this host."""
    try:
        socket.getaddrinfo(launch.address, launch.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ServiceUnavailableError(
            f"'{launch.address}', where the {launch.world_size} processes meet, does not resolve on host "
            f"{socket.gethostname()}: {error}",
            "let the launcher name an address that every host reaches, or enter the name in /etc/hosts; "
            "docs/distributed.md shows how",
        ) from None


def refuse_restart(launch: Launch | None) -> None:
    """Raise UsageError where a launcher begins a training anew: that would be a second run beside the first."""
    if launch is not None and launch.restarts:
        raise UsageError(
            f"the launcher starts this training for the {launch.restarts + 1}. time, which would make another run",
            "let it restart nothing, and resume the run instead: docs/distributed.md",
        )


def _spoken(environment: Mapping[str, str]) -> tuple[str, str, str]:
    """Return the words in which the environment speaks; of MPI's and Slurm's only where they say more than one."""
    pytorch, *others = _WORDS
    if pytorch[0] in environment or pytorch[1] in environment:
        if pytorch[0] not in environment:
            raise UsageError(
                f"{pytorch[1]} is set, but {pytorch[0]} does not say of how many processes",
                f"{_SEE}, or unset {pytorch[1]} to train alone",
            )
        return pytorch
    return next((words for words in others if (_number(environment, words[0]) or 1) > 1), pytorch)


def _refuse_leftovers(environment: Mapping[str, str]) -> None:
    """Refuse what accelerate's launcher does on CPUs: it starts one process where several were asked for.

    It names the meeting place only when it was asked for several, and leaves starting them to mpirun.
    """
    if _ADDRESS in environment and "ACCELERATE_MIXED_PRECISION" in environment:
        raise UsageError(
            "accelerate launch was asked for several processes and started this one alone, as it does on CPUs",
            "start them with torchrun instead: docs/distributed.md; or ask accelerate for one process",
        )


def _number(environment: Mapping[str, str], word: str) -> int | None:
    text = environment.get(word)
    if text is None:
        return None
    if not text.isdecimal() or (word == _WORDS[0][0] and int(text) < 1):
        raise UsageError(f"{word} is {text[:20]!r}, which is no number of processes", _SEE)
    return int(text)
