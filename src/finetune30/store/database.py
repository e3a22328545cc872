"""Engines and transactions for SQLite and PostgreSQL.

SQLite runs with WAL, synchronous FULL and a 10 s busy timeout; a write takes its lock at BEGIN (BEGIN IMMEDIATE), so
two writers queue up instead of failing half way. The threads of one process take turns at it, because SQLite lets
waiting connections sleep and try again, in no order. Whatever the database refuses comes out as a StorageError.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InvalidatePoolError,
    NoSuchModuleError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from finetune30.errors import StorageError, UsageError
from finetune30.store.json_columns import dump_json_column

BUSY_TIMEOUT_SECONDS = 10.0
IDLE_TRANSACTION_SECONDS = 60
#: How often a process that waits for SQLite's lock looks whether it is free: often at first, as long as a change takes.
_BRIEF_WAIT_SECONDS = 0.1
_BRIEF_LOOK_SECONDS = 0.0005
_LOOK_SECONDS = 0.005
#: So long a connection may give no sign of life. Behind a cable that was pulled nobody closes it: the system would
#: wait for a quarter of an hour for an answer, and PostgreSQL for hours until it lets a vanished host's connections go.
SILENT_CONNECTION_SECONDS = 20
_PROBES = 2
_PROBE_SECONDS = SILENT_CONNECTION_SECONDS // (_PROBES + 2)

#: Enough that a search through all names of 100,000 runs reads its index from memory.
_SQLITE_CACHE_KIB = 32_768
#: Connections kept open, and how many more there may be: as many as the API has threads.
_POOL_SIZE, _POOL_OVERFLOW = 10, 40
_WRITE = "finetune30_write"
_DURABLE = "finetune30_durable"
_USED = "finetune30_used"  # of a PostgreSQL connection: when it came back last
_FRESH_SECONDS = 0.1  # no server is started again so fast
_RELAXED = "finetune30_relaxed"  # of a SQLite connection whose last write did not wait for the disk
_sqlite_turns: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()
#: Which file each engine opened first, as the system tells files apart (device, number).
_sqlite_files: WeakKeyDictionary[Engine, tuple[int, int]] = WeakKeyDictionary()


def build_engine(database_url: str) -> Engine:
    """Return an engine for a SQLite or PostgreSQL URL.

    Raises UsageError for another kind of URL, StorageError when the driver is missing or the folder cannot be made.
    """
    url = _parse_url(database_url)
    if url.get_backend_name() == "sqlite":
        return _build_sqlite_engine(url)
    try:
        engine = create_engine(
            url,
            json_serializer=dump_json_column,
            isolation_level="AUTOCOMMIT",  # of what reads: BEGIN and COMMIT would be two questions more
            pool_size=_POOL_SIZE,
            max_overflow=_POOL_OVERFLOW,
            pool_timeout=30,
            connect_args=_postgresql_patience(url),
        )
        event.listen(engine, "connect", _prepare_postgresql_connection)
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", _require_answer)
        return engine
    except (ImportError, NoSuchModuleError) as error:
        raise StorageError(
            f"the PostgreSQL driver is missing: {error}", 'install it: pip install "finetune30[postgres]"'
        ) from error


@contextmanager
def reading(engine: Engine, *, one_snapshot: bool = False) -> Iterator[Connection]:
    """Open a transaction that reads what is committed: on SQLite one snapshot, on PostgreSQL each question its own.

    With `one_snapshot` all questions read the same one on PostgreSQL too.
    """
    options = {"isolation_level": "REPEATABLE READ"} if one_snapshot and engine.dialect.name == "postgresql" else {}
    with _translated(engine), engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine, *, durable: bool = True) -> Iterator[Connection]:
    """Open a transaction that holds the right to write from its beginning; it commits at the end of the block.

    Without `durable` the commit does not wait for the disk: a power failure, but no crash of a process, may undo it,
    unless a durable commit came after it.
    """
    options: dict[str, Any] = {_WRITE: True, _DURABLE: durable}
    if engine.dialect.name == "postgresql":
        options["isolation_level"] = "READ COMMITTED"
    with (
        _translated(engine),
        _turn_to_write(engine),
        engine.connect().execution_options(**options) as connection,
        connection.begin(),
    ):
        if not durable and engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL synchronous_commit = off"))
        yield connection


def _parse_url(database_url: str) -> URL:
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        raise UsageError(
            "the database URL cannot be read",
            "write sqlite:///results/experiments.db or postgresql://user:password@host/database",
        ) from error
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise UsageError(
            f"database URL of kind {url.drivername!r}: only sqlite and postgresql are supported",
            "write sqlite:///results/experiments.db or postgresql://user:password@host/database",
        )
    return url


def _postgresql_patience(url: URL) -> dict[str, int]:
    """Return how long to wait for a server that is silent; what the URL says of it counts."""
    patience = {
        "connect_timeout": 10,
        "keepalives_idle": SILENT_CONNECTION_SECONDS - _PROBES * _PROBE_SECONDS,
        "keepalives_interval": _PROBE_SECONDS,
        "keepalives_count": _PROBES,
        "tcp_user_timeout": SILENT_CONNECTION_SECONDS * 1000,
    }
    return {name: value for name, value in patience.items() if name not in url.query}


def _build_sqlite_engine(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot make the folder of {url.database}: {error.strerror}",
                "check the permissions there, or name another place where this one was named: FT30_DATABASE_URL, "
                "FT30_RESULTS_FOLDER or --output_dir",
            ) from error
    pool = {} if url.database in (None, "", ":memory:") else {"pool_size": _POOL_SIZE, "max_overflow": _POOL_OVERFLOW}
    engine = create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, json_serializer=dump_json_column, **pool
    )
    _sqlite_turns[engine] = threading.Lock()
    event.listen(engine, "connect", _prepare_sqlite_connection)
    event.listen(engine, "begin", _begin_sqlite_transaction)
    if pool:
        _watch_sqlite_file(engine, Path(str(url.database)))
    return engine


def _watch_sqlite_file(engine: Engine, path: Path) -> None:
    """Let every connection and transaction make sure that the database is still the file that was opened first.

    SQLite goes on with a file that was removed or replaced, and what it commits there nobody will find.
    """

    def require_same_file(*_: Any) -> None:
        known = _sqlite_files.get(engine)
        if known is not None and _identify(path) != known:
            raise StorageError(
                f"database {path}: the file was removed or replaced while this process had it open",
                "stop API and workers, put the right file back, and start them again",
            )

    def remember_file(*_: Any) -> None:
        if (found := _identify(path)) is not None:
            _sqlite_files.setdefault(engine, found)

    event.listen(engine, "do_connect", require_same_file)
    event.listen(engine, "connect", remember_file)
    event.listen(engine, "begin", require_same_file, insert=True)  # before the lock is taken


def _identify(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _prepare_postgresql_connection(connection: Any, _record: Any) -> None:
    """Let nobody wait for ever: a process that was paused within a transaction loses it after a minute, and what a host
    that vanished had open is closed."""
    idle = SILENT_CONNECTION_SECONDS - _PROBES * _PROBE_SECONDS
    with connection.cursor() as cursor:
        cursor.execute(f"SET tcp_keepalives_idle = {idle}")
        cursor.execute(f"SET tcp_keepalives_interval = {_PROBE_SECONDS}")
        cursor.execute(f"SET tcp_keepalives_count = {_PROBES}")
        cursor.execute(f"SET tcp_user_timeout = {SILENT_CONNECTION_SECONDS * 1000}")
        cursor.execute(f"SET lock_timeout = {int(BUSY_TIMEOUT_SECONDS * 1000)}")
        cursor.execute(f"SET idle_in_transaction_session_timeout = {IDLE_TRANSACTION_SECONDS * 1000}")
    connection.commit()


def _note_use(_connection: Any, record: Any) -> None:
    record.info[_USED] = time.monotonic()


def _require_answer(connection: Any, record: Any, _proxy: Any) -> None:
    """Ask a connection that rested a moment whether its server still answers; the pool takes another if not.

    A server that was started again has closed all. One that was in use a moment ago need not be asked each time.
    """
    if time.monotonic() - record.info.get(_USED, math.inf) > _FRESH_SECONDS:
        try:
            connection.execute("SELECT 1")
            connection.rollback()
        except _psycopg_error() as error:
            raise InvalidatePoolError(str(error)) from error


def _psycopg_error() -> type[Exception]:
    import psycopg  # only where there is PostgreSQL

    return psycopg.Error


def _prepare_sqlite_connection(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours: the driver's own would take the write lock too late
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_SECONDS * 1000)}")
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute(f"PRAGMA cache_size = -{_SQLITE_CACHE_KIB}")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Switch the journal; SQLite does not wait for other connections here, so the waiting is ours."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
            if mode not in ("wal", "memory"):
                mode = cursor.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
            continue
        if mode not in ("wal", "memory"):
            raise StorageError(
                f"SQLite cannot keep a write-ahead log here (journal mode {mode}); network folders cannot",
                "keep the database on a local disk, or use PostgreSQL through FT30_DATABASE_URL",
            )
        return


def _begin_sqlite_transaction(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get(_WRITE, False):
        connection.exec_driver_sql("BEGIN")
        return
    if options[_DURABLE] == connection.info.get(_RELAXED, False):
        connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if options[_DURABLE] else 'NORMAL'}")
        connection.info[_RELAXED] = not options[_DURABLE]
    _take_sqlite_lock(connection)


def _take_sqlite_lock(connection: Connection) -> None:
    """Begin a transaction with the write lock, as soon as another process gives it up.

    SQLite's own waiting sleeps ever longer, up to 100 ms, while a change takes a few: of two processes that write all
    the time each would sleep through most of its turns.
    """
    driver: Any = connection.connection.driver_connection
    until = time.monotonic() + BUSY_TIMEOUT_SECONDS
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while time.monotonic() < until:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
                brief = until - time.monotonic() > BUSY_TIMEOUT_SECONDS - _BRIEF_WAIT_SECONDS
                time.sleep(_BRIEF_LOOK_SECONDS if brief else _LOOK_SECONDS)
            else:
                return
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # what it says comes out as a StorageError
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_SECONDS * 1000)}")


@contextmanager
def _turn_to_write(engine: Engine) -> Iterator[None]:
    """Wait until no other thread of this process writes to this SQLite database; PostgreSQL needs no such turns."""
    turn = _sqlite_turns.get(engine)
    if turn is None:
        yield
        return
    if not turn.acquire(timeout=BUSY_TIMEOUT_SECONDS):
        raise StorageError(
            f"database {engine.url.render_as_string(hide_password=True)}: locked by this very process",
            f"it kept writing for {BUSY_TIMEOUT_SECONDS:.0f} s; try again, or use PostgreSQL",
        )
    try:
        yield
    finally:
        turn.release()


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except (DBAPIError, PoolTimeoutError) as error:
        raise _storage_error(engine, error) from error


def _storage_error(engine: Engine, error: SQLAlchemyError) -> StorageError:
    cause = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
    place = engine.url.render_as_string(hide_password=True)
    lowered = cause.lower()
    if "locked" in lowered or "busy" in lowered or "lock timeout" in lowered:
        remedy = f"another process kept writing for {BUSY_TIMEOUT_SECONDS:.0f} s; try again"
        remedy += ", or use PostgreSQL" if engine.dialect.name == "sqlite" else ""
    elif "full" in lowered or "no space" in lowered:
        remedy = "free some space on that disk and try again"
    elif "readonly" in lowered or "read-only" in lowered or "unable to open" in lowered:
        remedy = "check the folder's permissions"
    elif engine.dialect.name == "postgresql":
        remedy = "check that PostgreSQL runs there and that FT30_DATABASE_URL is right"
    else:
        remedy = "check the disk; the file can be examined with: sqlite3 FILE 'PRAGMA integrity_check'"
    return StorageError(f"database {place}: {cause}", remedy)
