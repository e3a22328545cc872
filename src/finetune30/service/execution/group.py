"""The processes that a launcher started for one training: met before anything is recorded, parted when it has ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from finetune30.config import ExperimentConfig
from finetune30.errors import Finetune30Error, UsageError
from finetune30.machine.device_locks import held_gpus
from finetune30.modeling.heavy_imports import import_heavy
from finetune30.service.execution.follower import follow_training
from finetune30.service.execution.launch import Launch, read_launch, refuse_restart, require_address
from finetune30.service.execution.noted_ends import describe_peer
from finetune30.service.submitting.several_processes import launched_command
from finetune30.settings import Settings
from finetune30.store.process_identity import is_dead, own_identity
from finetune30.store.records import Run

if TYPE_CHECKING:
    from finetune30.training.peers import Peers


class Group:
    """The processes of one training as the first one sees them; alone, a group of one that does nothing."""

    def __init__(self, peers: Peers | None = None) -> None:
        self._peers = peers

    @property
    def is_alone(self) -> bool:
        """Whether no launcher started others beside this process."""
        return self._peers is None

    @property
    def per_host(self) -> list[int]:
        """The number of processes on each host."""
        return [1] if self._peers is None else self._peers.per_host

    def held_gpus(self, device: str | None) -> AbstractContextManager[None]:
        """Hold the GPUs of this host on which a training at a terminal runs; `device` is its configuration's.

        Raises ConflictError where another training holds them.
        """
        return held_gpus(device, self.per_host[0])

    def agree(self, config: ExperimentConfig, *, is_given: bool) -> ExperimentConfig:
        """Return the configuration with as many processes as there are.

        Raises UsageError where it names another number: one that `is_given`, or one that nobody has started.
        """
        size, wanted = sum(self.per_host), config.training.processes
        if wanted == size:
            return config
        if is_given or self.is_alone:
            raise UsageError(
                f"training.processes is {wanted}, but {size} processes were started",
                f"to train in these, set training.processes to {size} on the command line, which counts before what a "
                f"file says; to train in {wanted}, as a recorded configuration did, start it without a launcher: "
                "ft30 train",
            )
        return config.model_copy(update={"training": config.training.model_copy(update={"processes": size})})

    def tell(
        self, run: Run, explicit: frozenset[str], settings: Settings, *, precision_before: str | None, trains: bool
    ) -> None:
        """Let the others follow in the training of a run: its configuration is that of its row.

        Where its result is there already nothing `trains`, and they are done.
        """
        if self._peers is not None:
            self._peers.tell(
                {
                    "run": run.id,
                    "config": run.config,
                    "explicit": sorted(explicit),
                    "data_folder": str(settings.data_folder),
                    "precision_before": precision_before,
                    "trains": trains,
                }
            )

    def command(self, *words: str) -> str:
        """Return the command with which a person goes on, as it can be typed."""
        return launched_command(self.per_host, *words)


def train_together(settings: Settings, lead: Callable[[Group], Any], *, begins_anew: bool = True) -> Any | None:
    """Return what `lead` returns in the first process; in the others take part in what it trains, and return None.

    Raises UsageError and ServiceUnavailableError where the launcher's environment does not hold, before anything is
    recorded; `begins_anew` refuses one that restarts processes, since each start would be another run.
    """
    launch = read_launch(os.environ)
    if launch is None:
        return lead(Group())
    if begins_anew:
        refuse_restart(launch)
    require_address(launch)
    with _met(launch, settings) as peers:
        if launch.rank == 0:
            return lead(Group(peers))
        follow_training(peers)
    return None


@contextmanager
def _met(launch: Launch, settings: Settings) -> Iterator[Peers]:
    """Meet the other processes; at the end say how this one ended."""
    import_heavy("torch")
    from finetune30.training import processes
    from finetune30.training.peers import Identity, Peers, connect

    open_store = connect(
        launch.address,
        launch.port,
        opens=launch.rank == 0 and not launch.has_store,
        prefix=f"finetune30/{launch.restarts}",
        seconds=settings.join_seconds,
    )
    identity = Identity(own_identity(), is_dead, describe_peer)
    peers = Peers(open_store, launch.rank, launch.world_size, identity, timeout_seconds=settings.peer_timeout_seconds)
    peers.meet()
    processes.meet(peers, launch.address)
    ended: BaseException | None = None
    try:
        yield peers
    except BaseException as error:
        ended = error
        peers.end(error)
        if launch.rank != 0 and isinstance(error, Finetune30Error) and peers.first_has_ended():
            raise SystemExit(error.exit_code) from error  # process 0 has said why
        raise
    else:
        peers.end(None)
    finally:
        peers.close(ended)
        processes.meet(None)
