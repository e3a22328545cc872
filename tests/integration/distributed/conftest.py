"""A second warm parent, so that two processes of one training start at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.exactness import Lab, fingerprint
from support.fork_server import ForkServer
from support.gang import Gang


@pytest.fixture(scope="session")
def both_servers(
    fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ForkServer, ForkServer]]:
    """Two warm parents, one a process of a training."""
    with ForkServer(tmp_path_factory.mktemp("second-server")) as second:
        yield fork_server, second


@pytest.fixture(scope="session")
def make_gang(
    both_servers: tuple[ForkServer, ForkServer],
    tiny_model: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Gang]:
    """Return make_gang(changes) -> two processes in a lab of their own."""

    def make(changes: dict[str, Any] | None = None) -> Gang:
        lab = Lab(
            both_servers[0],
            tmp_path_factory.mktemp("gang"),
            tiny_model(),
            {"training.save_steps": 1, "training.logging_steps": 1, **(changes or {})},
        )
        return Gang(both_servers, lab)

    return make


@pytest.fixture(scope="session")
def whole(make_gang: Callable[..., Gang]) -> tuple[Gang, dict[str, Any]]:
    """A lab in which two processes trained once without a stop (results folder `whole`), and the run's fingerprint."""
    gang = make_gang()
    first, second = gang.run("train", "--config", "config.yaml", results="whole")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    return gang, fingerprint(gang.lab.run_folder("whole"))
