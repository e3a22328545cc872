"""Questions to the registry within a transaction: models, versions, aliases, events, and the run behind a name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from finetune30.errors import ConflictError, NotFoundError
from finetune30.store.model_names import LATEST, ModelReference
from finetune30.store.model_records import Alias, Model, ModelEvent, ModelVersion, VersionState
from finetune30.store.model_tables import model_aliases, model_events, model_versions, models


def load_models(connection: Connection) -> list[Model]:
    """Return every model, by name."""
    versions = connection.execute(select(model_versions).order_by(model_versions.c.number.desc())).all()
    aliases = connection.execute(select(model_aliases).order_by(model_aliases.c.alias)).all()
    rows = connection.execute(select(models).order_by(models.c.name)).all()
    return [_model_of(row, versions, aliases) for row in rows]


def load_model(connection: Connection, name: str, *, lock: bool = False) -> Model:
    """Return a model; with `lock` nobody else registers a version of it before the end. Raises NotFoundError."""
    query = select(models).where(models.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no model {name[:80]!r}", "see all models with: ft30 models list")
    of_model = select(model_versions).where(model_versions.c.model == name).order_by(model_versions.c.number.desc())
    aliases = select(model_aliases).where(model_aliases.c.model == name).order_by(model_aliases.c.alias)
    return _model_of(row, connection.execute(of_model).all(), connection.execute(aliases).all())


def load_version(connection: Connection, reference: ModelReference) -> ModelVersion:
    """Return the version that a name means. Raises NotFoundError."""
    model = load_model(connection, reference.model)
    number = reference.number
    if reference.alias == LATEST:
        number = next((one.number for one in model.versions if one.state is VersionState.READY), None)
    elif reference.alias is not None:
        number = next((alias.number for alias in model.aliases if alias.alias == reference.alias), None)
    found = next((one for one in model.versions if one.number == number), None)
    if found is None:
        known = [f":{one.number}" for one in model.versions] + [f"@{alias.alias}" for alias in model.aliases]
        raise NotFoundError(
            f"there is no '{reference}'; of model '{model.name}' there are {', '.join(known) or 'no versions'}",
            f"see it with: ft30 models show {model.name}",
        )
    return found


def find_newest_version(connection: Connection, name: str) -> ModelVersion | None:
    """Return the newest version of a model that is READY; None where there is no such model, or none of it is."""
    try:
        return load_version(connection, ModelReference(name, LATEST, None))
    except NotFoundError:
        return None


def load_versions_of(connection: Connection, run_id: str) -> list[ModelVersion]:
    """Return the versions that were made of a run, the oldest first."""
    query = select(model_versions).where(model_versions.c.run_id == run_id)
    return [_version_of(row) for row in connection.execute(query.order_by(model_versions.c.created_at))]


def load_alias(connection: Connection, model: str, alias: str) -> Alias | None:
    """Return where an alias leads; None for one that was never moved."""
    query = select(model_aliases).where(model_aliases.c.model == model, model_aliases.c.alias == alias)
    row = connection.execute(query).one_or_none()
    return None if row is None else Alias(**row._mapping)


def require_no_version(connection: Connection, run_id: str) -> None:
    """Raise ConflictError, which names them, for a run that versions of models were made of."""
    query = select(model_versions.c.model, model_versions.c.number).where(model_versions.c.run_id == run_id)
    found = [f"{row.model}:{row.number}" for row in connection.execute(query.order_by(*query.selected_columns))]
    if found:
        raise ConflictError(
            f"run {run_id} is {', '.join(found)} and cannot be deleted",
            f"hide it in listings instead: ft30 runs edit {run_id[:8]} --archive",
        )


def load_model_events(
    connection: Connection, model: str, *, after: int = 0, limit: int = 1000, alias: str | None = None
) -> list[ModelEvent]:
    """Return events of a model with a number above `after`, oldest first."""
    query = select(model_events).where(model_events.c.model == model, model_events.c.number > after)
    if alias is not None:
        query = query.where(model_events.c.alias == alias)
    return [
        ModelEvent(**row._mapping) for row in connection.execute(query.order_by(model_events.c.number).limit(limit))
    ]


def _model_of(row: Row[Any], versions: Sequence[Row[Any]], aliases: Sequence[Row[Any]]) -> Model:
    return Model(
        **row._mapping,
        versions=tuple(_version_of(one) for one in versions if one.model == row.name),
        aliases=tuple(Alias(**one._mapping) for one in aliases if one.model == row.name),
    )


def _version_of(row: Row[Any]) -> ModelVersion:
    values = dict(row._mapping)
    newer = values.pop("newer_state")
    return ModelVersion(**{**values, "state": VersionState(newer or row.state)})
