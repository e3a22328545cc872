"""Every test of this folder can have a stand-in hub, and the real client of hubs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.hub_client import HubClient, Running
from support.hub_fixtures import empty_hub, hub, hub_contents
from support.hub_user import HubUser
from support.stand_in_hub import StandInHub, link_folder

__all__ = ["empty_hub", "hub", "hub_contents"]


@pytest.fixture(scope="module")
def served(hub_contents: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StandInHub, HubClient]]:
    folder = tmp_path_factory.mktemp("served")
    with StandInHub(link_folder(hub_contents, folder / "hub")) as hub:
        client = HubClient(hub.environment(folder / "home"))
        yield hub, client
        client.close()


@pytest.fixture
def running(served: tuple[StandInHub, HubClient], tmp_path: Path) -> Running:
    hub, client = served
    hub.mend()
    hub.forget_requests()
    return Running(hub, client, str(tmp_path / "cache"))


@pytest.fixture
def ft30(hub: StandInHub, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command as a user of this hub, with caches in tmp_path/home."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "finetune30", *map(str, arguments)],
            env={**hub.environment(tmp_path / "home"), **environment},
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def user_variables() -> dict[str, str]:
    """Environment variables of the user `at_hub`; modules that need some have a fixture of this name."""
    return {}


@pytest.fixture(scope="module")
def serving(
    hub_contents: Path, tmp_path_factory: pytest.TempPathFactory, user_variables: dict[str, str]
) -> Iterator[tuple[StandInHub, HubUser]]:
    folder = tmp_path_factory.mktemp("serving")
    with StandInHub(link_folder(hub_contents, folder / "hub")) as hub:
        user = HubUser(hub.environment(folder / "home", **user_variables))
        yield hub, user
        user.close()


@pytest.fixture
def at_hub(serving: tuple[StandInHub, HubUser]) -> tuple[StandInHub, HubUser]:
    """A whole hub whose requests are counted from here on, and somebody who uses it through the product."""
    serving[0].mend()
    serving[0].forget_requests()
    return serving
