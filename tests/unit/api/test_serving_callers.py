"""Whoever has a key learns from a server of models who it is to it, and which names it may ask there."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from finetune30.api.serving.application import build_serving_app
from finetune30.api.serving.context import Serving
from finetune30.service.registry.registering import parse_version_name
from finetune30.service.serving.batcher import Limits
from finetune30.service.serving.slots import Slots
from finetune30.settings import load_settings
from finetune30.store import open_store
from finetune30.store.access import Role, create_key

SERVED = ["moods:2", "reviews@latest", "reviews"]  # the last two are one


def test_every_key_learns_what_it_may_ask(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/experiments.db")
    keys = {role: create_key(store, f"of {role}", role)[1] for role in Role}
    serving = Serving(store, Slots.named(SERVED, parse_version_name), Limits())
    try:
        asked = TestClient(build_serving_app(load_settings(), serving, "own"), base_url="http://localhost")
        assert asked.get("/me").status_code == 401
        told = {role: asked.get("/me", headers={"Authorization": f"Bearer {key}"}).json() for role, key in keys.items()}
    finally:
        serving.close()
        store.close()
    for role, one in told.items():
        asks = [] if role is Role.VIEWER else ["moods:2", "reviews", "reviews@latest"]
        assert one == {"name": f"of {role}", "role": role, "asks": asks}


@pytest.mark.parametrize("words", [[], ["reviews"]])
def test_without_keys_everything_that_is_served_may_be_asked(tmp_path: Path, words: list[str]) -> None:
    store = open_store(f"sqlite:///{tmp_path}/experiments.db")
    serving = Serving(store, Slots.named(words, parse_version_name), Limits())
    try:
        here = TestClient(
            build_serving_app(load_settings(), serving, "own"), base_url="http://localhost", client=("127.0.0.1", 5)
        )
        asks = ["reviews", "reviews@latest"] if words else []
        assert here.get("/me").json() == {"name": "", "role": "admin", "asks": asks}
    finally:
        serving.close()
        store.close()
