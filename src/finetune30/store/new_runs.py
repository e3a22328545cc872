"""What is written of a new run."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert

from finetune30.config.loading import config_digest
from finetune30.config.recording import record_tree
from finetune30.config.schema import ExperimentConfig
from finetune30.store import queries
from finetune30.store.events import record_event
from finetune30.store.records import RunStatus
from finetune30.store.tables import runs

_INSERT = insert(runs).returning(runs)


def insert_run(connection: Connection, values: dict[str, Any], now: datetime) -> Row[Any]:
    """Write the row of a new run and its first event; return the row. Raises IntegrityError for a key used before."""
    row = connection.execute(_INSERT, values).one()
    record_event(connection, values["id"], now, "created", 0, None, RunStatus.QUEUED, values["lease_owner"])
    return row


def values_of(config: ExperimentConfig) -> dict[str, Any]:
    """Return the columns of a run that its configuration gives."""
    return {
        "name": config.experiment_name,
        "name_key": queries.name_key(config.experiment_name),
        "config": record_tree(config),
        "config_digest": config_digest(config),
        "model_name": config.model.name,
        "dataset_name": config.data.dataset_name,
        "places": config.training.processes,
    }
