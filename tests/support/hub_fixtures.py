"""Fixtures with a stand-in hub, for a conftest.py: from support.hub_fixtures import empty_hub, hub, hub_contents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.stand_in_hub import StandInHub, link_folder

__all__ = ["empty_hub", "hub", "hub_contents"]


@pytest.fixture(scope="session")
def hub_contents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a hub with all repositories of `support.stand_in_hub.contents`; nobody changes it."""
    from support.stand_in_hub.contents import fill_hub

    folder = tmp_path_factory.mktemp("hub-contents") / "hub"
    with StandInHub(folder) as filled:
        fill_hub(filled)
    return folder


@pytest.fixture
def hub(hub_contents: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInHub]:
    """A hub that serves, with all repositories, no faults and no requests; its commits are this test's own."""
    with StandInHub(link_folder(hub_contents, tmp_path_factory.mktemp("hub") / "hub")) as served:
        yield served


@pytest.fixture
def empty_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInHub]:
    """A hub that serves and has no repositories yet."""
    with StandInHub(tmp_path_factory.mktemp("empty-hub")) as served:
        yield served
