"""A server of models in this process, on a port of its own; the registry is looked at when a test says so."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from finetune30.api.serving.application import build_serving_app
from finetune30.api.serving.context import Serving
from finetune30.service.registry.promotion import promote
from finetune30.service.registry.registering import parse_version_name
from finetune30.service.runs.open_records import Records, open_records
from finetune30.service.serving.batcher import Limits
from finetune30.service.serving.http_check import HttpCheck
from finetune30.service.serving.loading import Loading
from finetune30.service.serving.slots import Slots
from finetune30.service.serving.watching import Watcher
from finetune30.settings import Settings
from support.api_thread import serve

OWN_KEY = "own-key-of-the-server"


@dataclass
class ServingLab:
    """What is served, by whom, and where."""

    records: Records
    serving: Serving
    watcher: Watcher
    loading: Loading
    address: str

    def predict(self, name: str, texts: list[str], **options: Any) -> dict[str, Any]:
        """Ask texts; they must be answered."""
        answer = httpx.post(f"{self.address}/predict/{name}", json={"texts": texts}, timeout=120, **options)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def move(self, name: str, number: int, alias: str = "production") -> None:
        """Let an alias lead to a version."""
        promote(self.records, name, number, alias, reason="a try", actor="anna")


@contextlib.contextmanager
def serve_lab(folder: Path, *names: str, limits: Limits | None = None) -> Iterator[ServingLab]:
    """Serve models of the results folder below `folder`; nothing is loaded before the first look."""
    settings = Settings(results_folder=folder / "results", data_folder=folder / "data_store")
    with open_records(settings) as records, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        slots, limits = Slots.named(names, parse_version_name), limits or Limits()
        serving, loading = Serving(records.store, slots, limits), Loading(records)
        port, most = listener.getsockname()[1], limits.prompt_tokens
        http = HttpCheck("127.0.0.1", port, OWN_KEY, settings.max_body_bytes, most)
        watcher = Watcher(
            records.store,
            slots,
            loading.load,
            lambda slot, loaded: loading.check(http, slot, loaded),
            serving.telemetry.count_swap,
        )
        with serve(build_serving_app(settings, serving, OWN_KEY), listener) as address:
            yield ServingLab(records, serving, watcher, loading, address)
        serving.close()
