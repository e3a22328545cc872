"""Runs whose evaluation rows were answered: what publishes them, and how they are asked for."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import polars as pl
from sqlalchemy import update
from starlette.testclient import TestClient

from finetune30.data.versions.storage import VersionStore
from finetune30.store.tables import runs

Submit = Callable[..., str]
Finish = Callable[..., None]


def parquet(**columns: Any) -> dict[str, bytes]:
    buffer = io.BytesIO()
    rows = len(next(iter(columns.values())))
    ids = [f"v.csv:{number}" for number in range(rows)]
    pl.DataFrame({"row_id": ids, **columns, "probabilities": [[0.25, 0.75]] * rows}).write_parquet(buffer)
    return {"predictions.parquet": buffer.getvalue()}


def ask(api: TestClient, run_id: str, wanted: Any, **more: Any) -> dict[str, Any]:
    answer = api.get(f"/experiments/{run_id}/rows", params={"filter": json.dumps(wanted), **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def store_version(api: TestClient, run_id: str, rows: dict[str, tuple[str, str]]) -> str:
    """Store evaluation rows as the dataset version of a run; return its digest."""
    columns = {
        "text": [text for text, _ in rows.values()],
        "text_pair": [None] * len(rows),
        "label": [label for _, label in rows.values()],
        "origin": list(rows),
    }
    app: Any = api.app
    services = app.state.services
    kept, _ = VersionStore(services.settings.data_folder).create(
        {"evaluation": pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))},
        targets={"label_names": ["neg", "pos"]},
        problem_type="single_label_classification",
        source={"name": "test"},
    )
    with services.store.engine.begin() as connection:
        connection.execute(update(runs).where(runs.c.id == run_id).values(dataset_digest=kept.digest))
    return kept.digest


def ids(found: dict[str, Any]) -> list[str]:
    return [row["row_id"] for row in found["rows"]]
