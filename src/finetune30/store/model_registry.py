"""Changes of the registry: registering versions, moving aliases, retiring; each in one transaction with its event.

An alias is moved by one UPDATE that names the generation that the mover saw. Of two that saw the same one, the second
changes no row, and is told who was first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from finetune30 import failpoints
from finetune30.errors import ConflictError, StaleGenerationError, UsageError
from finetune30.store import queries
from finetune30.store.database import reading, writing
from finetune30.store.model_names import ModelReference, require_alias, require_model_name
from finetune30.store.model_queries import (
    load_alias,
    load_model,
    load_model_events,
    load_models,
    load_version,
    load_versions_of,
)
from finetune30.store.model_records import Alias, Model, ModelEvent, ModelVersion, NewVersion, VersionState
from finetune30.store.model_tables import model_aliases, model_events, model_versions, models
from finetune30.store.records import RunStatus
from finetune30.store.run_store import RunStore

#: Lets whoever registers make the files of a version: its number and the numbers on record -> sha256 of version.json.
MakeFiles = Callable[[int, Sequence[int]], str]
_PROMOTED, _ROLLED_BACK = "promoted", "rolled_back"


@dataclass(frozen=True)
class Move:
    """What moving an alias did: where it leads now, and the version that was under it before."""

    alias: Alias
    from_version: int | None


def register_version(
    store: RunStore, name: str, new: NewVersion, make_files: MakeFiles, *, actor: str
) -> tuple[ModelVersion, bool]:
    """Put a version on record and return it, and whether it is new: the same files again are the version that is there.

    `make_files` is called within the transaction, right before the row is committed: a process that is killed before
    leaves files without a row, which the next registration takes away. Raises UsageError for a name that no model may
    have, ConflictError for a run that has no finished model or one of another problem.
    """
    require_model_name(name)
    with writing(store.engine) as connection:
        now = store.now(connection)
        run = queries.load_run(connection, new.run_id, lock=True)
        if run.status is not RunStatus.SUCCEEDED:
            raise ConflictError(f"run {run.id} is {run.status} now", "register a run that SUCCEEDED")
        _put_model(connection, name, new.problem_type, now, actor)
        model = load_model(connection, name, lock=True)
        if model.problem_type != new.problem_type:
            raise ConflictError(
                f"model '{name}' is for {model.problem_type}, run {run.id[:8]} learnt {new.problem_type}",
                "register it under another name",
            )
        known = next((one for one in model.versions if one.manifest_sha256 == new.manifest_sha256), None)
        if known is not None:
            return known, False
        number = max((one.number for one in model.versions), default=0) + 1
        failpoints.reach("models.register.before_files")
        sha256 = make_files(number, [one.number for one in model.versions])
        failpoints.reach("models.register.after_files")
        values = {key: value for key, value in vars(new).items() if key != "problem_type"}
        row = {**values, "version_sha256": sha256, "created_at": now, "created_by": actor}
        row |= _state_columns(VersionState.CHECKING)
        connection.execute(insert(model_versions).values(model=name, number=number, **row))
        _record(connection, name, now, "registered", actor, version=number, detail={"run_id": run.id})
        failpoints.reach("models.register.before_commit")
        made = load_version(connection, ModelReference(name, None, number))
    failpoints.reach("models.register.after_commit")
    return made, True


def move_alias(
    store: RunStore,
    name: str,
    alias: str,
    number: int,
    *,
    seen: int,
    actor: str,
    reason: str,
    detail: dict[str, Any] | None = None,
) -> Move:
    """Let an alias lead to a version. `seen` is its generation as the caller knows it, 0 for one that was never moved.

    Raises NotFoundError, ConflictError (a retired version, or the one that is under it), StaleGenerationError when
    somebody else moved it since.
    """
    require_alias(alias)
    with writing(store.engine) as connection:
        made = _move(connection, store, name, alias, number, seen, actor, reason, _PROMOTED, detail)
    failpoints.reach("models.promoted.after_commit")
    return made


def find_way_back(store: RunStore, name: str, alias: str) -> ModelVersion:
    """Return the version that `roll_back_alias` would let an alias lead to. Raises NotFoundError, ConflictError."""
    with reading(store.engine) as connection:
        number = _find_way_back(connection, load_model(connection, name), alias)
        return load_version(connection, ModelReference(name, None, number))


def roll_back_alias(store: RunStore, name: str, alias: str, *, seen: int, actor: str, reason: str) -> Move:
    """Let an alias lead to the version that it led to before the present one was promoted, past those that are retired.

    Raises as `move_alias`.
    """
    require_alias(alias)
    with writing(store.engine) as connection:
        model = load_model(connection, name, lock=True)  # nobody moves it between what is read here and the move
        before = _find_way_back(connection, model, alias)
        made = _move(connection, store, name, alias, before, seen, actor, reason, _ROLLED_BACK, None)
    failpoints.reach("models.rolled_back.after_commit")
    return made


def _find_way_back(connection: Connection, model: Model, alias: str) -> int:
    unfit = {one.number for one in model.versions if one.state is not VersionState.READY}
    before = find_previous(load_model_events(connection, model.name, alias=alias, limit=1_000_000), unfit)
    if before is None:
        raise ConflictError(
            f"there is nothing to go back to: no version that may be used stands before that of {model.name}@{alias}",
            f"promote one: ft30 models promote {model.name} VERSION --to {alias} --reason TEXT",
        )
    return before


def retire_version(store: RunStore, name: str, number: int, *, actor: str, reason: str) -> ModelVersion:
    """Take a version out of use; it stays on record. Raises NotFoundError, ConflictError while an alias leads to it."""
    if not reason.strip():
        raise UsageError("taking a version out of use needs a reason", "say why with --reason TEXT")
    with writing(store.engine) as connection:
        version = load_version(connection, ModelReference(name, None, number))
        if held := load_model(connection, name, lock=True).aliases_of(number):
            raise ConflictError(
                f"{version.name} is under {', '.join(f'{name}@{alias}' for alias in held)} and cannot be retired",
                f"promote another version first: ft30 models promote {name} VERSION --to {held[0]} --reason TEXT",
            )
        if version.state is VersionState.RETIRED:
            return version
        chosen = (model_versions.c.model == name, model_versions.c.number == number)
        connection.execute(update(model_versions).where(*chosen).values(**_state_columns(VersionState.RETIRED)))
        _record(connection, name, store.now(connection), "retired", actor, version=number, reason=reason)
        failpoints.reach("models.retire.before_commit")
        return load_version(connection, ModelReference(name, None, number))


def settle_version(
    store: RunStore,
    name: str,
    number: int,
    state: VersionState,
    certificate: dict[str, Any],
    save_files: Callable[[], None] = lambda: None,
    *,
    actor: str,
) -> ModelVersion:
    """Record what a check found: a version that is CHECKING becomes READY or REFUSED; one that is READY without a
    certificate gets its first one. Raises NotFoundError, ConflictError for a version that is neither.

    `save_files` is called within the transaction: of two checks at once, only the files of the one that is recorded
    are written.
    """
    with writing(store.engine) as connection:
        load_model(connection, name, lock=True)
        version = load_version(connection, ModelReference(name, None, number))
        first = version.state is VersionState.READY and version.certificate is None and state is VersionState.READY
        if version.state is not VersionState.CHECKING and not first:
            raise ConflictError(f"{version.name} is {version.state} already", f"see it: ft30 models show {name}")
        save_files()
        failpoints.reach("models.settle.after_files")
        chosen = (model_versions.c.model == name, model_versions.c.number == number)
        values = {**_state_columns(state), "certificate": certificate}
        connection.execute(update(model_versions).where(*chosen).values(**values))
        faults = "; ".join(certificate.get("faults") or ()) or None
        kind = "certified" if state is VersionState.READY else "refused"
        _record(connection, name, store.now(connection), kind, actor, version=number, reason=faults)
        failpoints.reach("models.settle.before_commit")
        return load_version(connection, ModelReference(name, None, number))


def find_models(store: RunStore) -> list[Model]:
    """Return every model, by name."""
    with reading(store.engine) as connection:
        return load_models(connection)


def find_model(store: RunStore, name: str) -> Model:
    """Return a model. Raises NotFoundError."""
    with reading(store.engine) as connection:
        return load_model(connection, name)


def find_askable(store: RunStore) -> list[str]:
    """Return the names that lead to a version: every model of which one is READY, each followed by its aliases."""
    names: list[str] = []
    for model in find_models(store):
        if any(version.state is VersionState.READY for version in model.versions):
            names += [model.name, *(f"{model.name}@{alias.alias}" for alias in model.aliases)]
    return names


def find_version(store: RunStore, reference: ModelReference) -> ModelVersion:
    """Return the version that a name means. Raises NotFoundError."""
    with reading(store.engine) as connection:
        return load_version(connection, reference)


def find_versions_of(store: RunStore, run_id: str) -> list[ModelVersion]:
    """Return the versions that were made of a run, the oldest first."""
    with reading(store.engine) as connection:
        return load_versions_of(connection, run_id)


def find_followed(store: RunStore, reference: ModelReference) -> tuple[ModelVersion, int | None]:
    """Return the version that a name means and the generation of its alias, both of one moment; None for no alias.

    Raises NotFoundError.
    """
    with reading(store.engine, one_snapshot=True) as connection:
        version = load_version(connection, reference)
        alias = None if reference.alias is None else load_alias(connection, reference.model, reference.alias)
    return version, None if alias is None else alias.generation


def find_events(store: RunStore, name: str, *, after: int = 0, limit: int = 1000) -> list[ModelEvent]:
    """Return events of a model with a number above `after`, oldest first. Raises NotFoundError."""
    with reading(store.engine) as connection:
        load_model(connection, name)
        return load_model_events(connection, name, after=after, limit=limit)


def find_previous(events: Sequence[ModelEvent], retired: Collection[int] = ()) -> int | None:
    """Return the version to which rolling an alias back leads, from the events of that alias, oldest first."""
    stood: list[int] = []
    for event in events:
        if event.kind == _ROLLED_BACK:
            while stood[-1] != event.version:  # what it went back past is left behind
                stood.pop()
        elif event.version is not None:
            stood.append(event.version)
    return next((number for number in reversed(stood[:-1]) if number not in retired and number != stood[-1]), None)


def build_stale(name: str, alias: str, now: Alias | None, seen: int | None) -> StaleGenerationError:
    """Return the error for who saw another generation of an alias than it has now; None for one never moved."""
    if now is None:
        told = f"{name}@{alias} was never moved: it has generation 0, not {seen}"
    else:
        told = (
            f"{name}@{alias} has generation {now.generation}, not {seen}: {now.moved_by} let it lead to "
            f"{name}:{now.number} at {now.moved_at:%Y-%m-%d %H:%M:%S} UTC"
        )
    details = {"alias": None if now is None else now.as_dict()}
    return StaleGenerationError(told, f"look at it, then decide again: ft30 models history {name}", details=details)


# --- private


def _state_columns(state: VersionState) -> dict[str, Any]:
    """Return what a version's row holds in a state; releases that do not know it read one to which no alias leads."""
    if state in (VersionState.READY, VersionState.RETIRED):
        return {"state": state, "newer_state": None}
    return {"state": VersionState.RETIRED, "newer_state": state}


def _put_model(connection: Connection, name: str, problem_type: str, at: datetime, actor: str) -> None:
    if connection.execute(select(models.c.name).where(models.c.name == name)).first() is not None:
        return
    try:
        with connection.begin_nested():
            row = {"name": name, "problem_type": problem_type, "created_at": at, "created_by": actor}
            connection.execute(insert(models).values(**row))
    except IntegrityError:
        return  # somebody else registered the first version in this moment: it is their model's next one


def _move(
    connection: Connection,
    store: RunStore,
    name: str,
    alias: str,
    number: int,
    seen: int,
    actor: str,
    reason: str,
    kind: str,
    detail: dict[str, Any] | None,
) -> Move:
    if not reason.strip():
        raise UsageError("a move of an alias needs a reason", "say why with --reason TEXT")
    load_model(connection, name, lock=True)  # whoever retires a version at the same time waits
    version = load_version(connection, ModelReference(name, None, number))
    before = load_alias(connection, name, alias)
    if (0 if before is None else before.generation) != seen:
        raise build_stale(name, alias, before, seen)
    if version.state is VersionState.CHECKING:
        raise ConflictError(f"{version.name} is not checked yet", f"check it: ft30 models verify {version.name}")
    if version.state is not VersionState.READY:
        raise ConflictError(
            f"{version.name} is {version.state} and cannot be promoted", f"choose another: ft30 models show {name}"
        )
    if before is not None and before.number == number:
        raise ConflictError(f"{name}@{alias} leads to {version.name} already", f"see it: ft30 models history {name}")
    now = store.now(connection)
    values = {"number": number, "generation": seen + 1, "moved_at": now, "moved_by": actor}
    if not _write_alias(connection, name, alias, seen, values):
        raise build_stale(name, alias, load_alias(connection, name, alias), seen)
    failpoints.reach(f"models.{kind}.after_update")
    _record(
        connection,
        name,
        now,
        kind,
        actor,
        version=number,
        from_version=None if before is None else before.number,
        alias=alias,
        generation=seen + 1,
        reason=reason.strip(),
        detail=detail,
    )
    failpoints.reach(f"models.{kind}.before_commit")
    return Move(Alias(name, alias, number, seen + 1, now, actor), None if before is None else before.number)


def _write_alias(connection: Connection, name: str, alias: str, seen: int, values: dict[str, Any]) -> bool:
    """Move an alias from the generation that was seen; return whether it was still that one."""
    if seen == 0:
        try:
            with connection.begin_nested():
                connection.execute(insert(model_aliases).values(model=name, alias=alias, **values))
        except IntegrityError:
            return False
        return True
    chosen = (model_aliases.c.model == name, model_aliases.c.alias == alias, model_aliases.c.generation == seen)
    return connection.execute(update(model_aliases).where(*chosen).values(**values)).rowcount == 1


def _record(connection: Connection, model: str, at: datetime, kind: str, actor: str, **values: Any) -> None:
    connection.execute(insert(model_events).values(model=model, at=at, kind=kind, actor=actor, **values))
