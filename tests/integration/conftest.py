"""A warm parent that forks real `ft30` processes, and finished runs of each kind of learning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.fork_server import ForkServer
from support.kinds import KINDS, KindsLab


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(tmp_path_factory.mktemp("fork-server")) as server:
        yield server


@pytest.fixture(scope="session")
def kinds_lab(
    fork_server: ForkServer, tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> KindsLab:
    """A finished run of each kind of learning, named like its kind."""
    lab = KindsLab(fork_server, tmp_path_factory.mktemp("kinds"), tiny_model())
    for kind in KINDS.values():
        lab.train(kind, kind.name)
    return lab
