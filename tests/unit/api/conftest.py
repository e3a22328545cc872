"""An API in this process: its own results folder, a queue that only remembers, a caller at this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from finetune30.api.application import build_app
from finetune30.settings import Settings


class Recorder:
    """A queue that remembers the run ids that it was told."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def publish(self, run_id: str) -> None:
        self.sent.append(run_id)


def build_settings(**given: Any) -> Settings:
    fixed = {"results_folder": Path("results"), "submitted_folder": Path("config"), "disk_reserve_bytes": 0}
    return Settings(**{**fixed, **given})


@pytest.fixture
def start() -> Iterator[Callable[..., TestClient]]:
    """Return a function that starts an API with these settings."""
    opened: list[TestClient] = []

    def start_api(client: tuple[str, int] = ("127.0.0.1", 50_000), **given: Any) -> TestClient:
        app = build_app(build_settings(**given), publisher=Recorder())
        api = TestClient(app, base_url="http://localhost:8000", client=client, raise_server_exceptions=False)
        opened.append(api)
        return api.__enter__()

    yield start_api
    for api in opened:
        api.__exit__(None, None, None)


@pytest.fixture
def api(start: Callable[..., TestClient]) -> TestClient:
    return start()


@pytest.fixture
def submit(api: TestClient) -> Callable[..., str]:
    """Return a function that submits a run and gives its id."""

    def submit_run(name: str = "trial", **body: Any) -> str:
        answer = api.post("/train", json={"experiment_name": name, **body})
        assert answer.status_code == 202, answer.text
        return answer.json()["task_id"]

    return submit_run


@pytest.fixture
def finish(api: TestClient) -> Callable[..., None]:
    """Return a function that carries a run out as an attempt would: published files, metrics, SUCCEEDED."""
    from finetune30.files import encode_json
    from finetune30.store import RunFolder

    def finish_run(run_id: str, files: dict[str, bytes] | None = None, **metrics: Any) -> None:
        app: Any = api.app
        store = app.state.services.store
        run = store.get(run_id)
        claim = store.claim(run_id, lease_seconds=60)
        attempt = RunFolder(Path("results") / run.folder).open_attempt(claim.attempt)
        attempt.logs.write_text("2026-01-31T12:00:00.000Z device cpu\n2026-01-31T12:00:01.000Z done\n")
        attempt.history.write_text('{"type": "train", "step": 1, "epoch": 0.5, "loss": 0.7}\n')
        attempt.reveal("data_report.json", encode_json({"ledger": {"totals": {"input": 4}}}))
        found = {"train_runtime": 2.0, "eval_accuracy": 0.75, **metrics}
        for name, content in {"metrics.json": encode_json(found), **(files or {})}.items():
            (attempt.outbox / name).parent.mkdir(parents=True, exist_ok=True)
            (attempt.outbox / name).write_bytes(content)
        published = attempt.publish({"run_id": run_id})
        store.succeed(claim, found, published.manifest_sha256)

    return finish_run
