"""Every test of this folder can have a stand-in hub, and the real client of hubs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.fork_server import Ended, ForkServer
from support.hub_client import HubClient, Running
from support.hub_fixtures import empty_hub, hub, hub_contents
from support.hub_user import HubUser
from support.stand_in_hub import StandInHub, link_folder, without_hub_settings

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


@pytest.fixture(scope="session")
def hub_user_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """A warm parent whose children read the settings of hub clients anew."""
    folder = tmp_path_factory.mktemp("hub-user-server")
    with ForkServer(folder, hub_user=without_hub_settings()) as server:
        yield server


@pytest.fixture
def ft30(hub: StandInHub, hub_user_server: ForkServer, tmp_path: Path) -> Callable[..., Ended]:
    """Run a command as a user of this hub, with caches in tmp_path/home."""

    def run(*arguments: object, **environment: str) -> Ended:
        variables = {**hub.variables(tmp_path / "home"), **environment}
        return hub_user_server.run(*map(str, arguments), cwd=tmp_path, **variables)

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
