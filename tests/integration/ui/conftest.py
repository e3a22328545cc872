"""A real API over finished runs of each kind of learning, and visitors of its page without a browser."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import finetune30.ui
from support.fork_server import ForkServer
from support.kinds import KINDS, MULTI_LABEL, KindsLab
from support.services import Services

APP = Path(finetune30.ui.__file__).parent / "app.py"


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Return visit(api_address, view="", **parameters of the address) -> the page, drawn without an exception."""
    testing = pytest.importorskip("streamlit.testing.v1", reason="Streamlit is not installed")
    from streamlit.util import calc_hash

    pages: list[Any] = []

    def open_page(api_address: str, view: str = "", **parameters: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["app.py", "--api-url", api_address])
        page = testing.AppTest.from_file(str(APP), default_timeout=200)
        page._page_hash = calc_hash(view) if view else ""  # what the name in the address leads to
        for name, value in parameters.items():
            page.query_params[name] = value
        pages.append(page.run())
        page._page_hash = ""  # from here on it stays where it is, or goes where it is sent
        assert not page.exception, page.exception
        return page

    yield open_page
    for page in pages:
        page.session_state["client"].close()


@pytest.fixture(scope="module")
def kinds_api(
    fork_server: ForkServer, tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Services]:
    """An API over two runs of each kind ("multi-label", "multi-label-again") and a relabelled version of their data."""
    lab = KindsLab.make(fork_server, tmp_path_factory.mktemp("kinds-api"), tiny_model())
    for kind in KINDS.values():
        lab.train(kind, kind.name)
        lab.train(kind, f"{kind.name}-again", num_train_epochs=1)
    with contextlib.closing(Services(lab.folder, allowed_folders=(lab.folder,))) as services:
        services.start_api()
        services.wait_for_api()
        for kind in KINDS.values():
            digest = services.store.get(kind.name).dataset_digest
            label = kind.rows()[-1][1]
            label = json.dumps(label.split("|")) if kind is MULTI_LABEL else label  # as versions keep them
            change = {"split": "train", "index": 0, "label": label}
            body = {"changes": [change, {"split": "train", "index": 1, "label": None}], "note": "looked at"}
            made = httpx.post(f"{services.api_address}/datasets/{digest}/labels", json=body, timeout=600)
            assert made.status_code == 201, made.text
        yield services
