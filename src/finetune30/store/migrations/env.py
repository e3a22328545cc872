"""Alembic's environment: runs migrations on the connection that the caller opened and commits."""

from __future__ import annotations

from alembic import context

from finetune30.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite")
context.run_migrations()
