"""A warm parent that forks real `ft30` processes, and finished runs of each kind of learning."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.fork_server import ForkServer
from support.kinds import KINDS, KindsLab
from support.services import Services
from support.talk_lab import TalkLab


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(tmp_path_factory.mktemp("fork-server")) as server:
        yield server


@pytest.fixture(scope="session")
def trained_kinds(
    fork_server: ForkServer, tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> KindsLab:
    """A finished run of each kind of learning, named like its kind; tests take `kinds_lab`, this one stays as it is."""
    lab = KindsLab.make(fork_server, tmp_path_factory.mktemp("trained-kinds"), tiny_model())
    for kind in KINDS.values():
        lab.train(kind, kind.name)
    return lab


@pytest.fixture(scope="module")
def kinds_lab(trained_kinds: KindsLab, tmp_path_factory: pytest.TempPathFactory) -> KindsLab:
    """A finished run of each kind of learning, named like its kind: a copy for the tests of one file to work in."""
    return trained_kinds.copy(tmp_path_factory.mktemp("kinds") / "kinds-lab")


@pytest.fixture(scope="session")
def talk_api(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """An API over two language models, the newer one of which learnt less."""
    lab = TalkLab(fork_server, tmp_path_factory.mktemp("talk-api"))
    for epochs in (2, 1):
        # Trained so little, a model of this kind may say nothing at all: what it says hangs on the path's last digits.
        ended = lab.train("results", {"training.num_train_epochs": epochs, "training.engine": "general"})
        assert ended.returncode == 0, ended.stderr
    with contextlib.closing(Services(lab.folder)) as services:
        services.start_api()
        services.wait_for_api()
        yield services
