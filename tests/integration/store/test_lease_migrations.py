"""The steps from r0018 to r0022: what the release before wrote, and goes on writing, is held and followed by nobody."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, inspect, text

from finetune30.store import open_store
from finetune30.store.database import build_engine, writing
from finetune30.store.mirrors import load_mirrors
from finetune30.store.schema import migrate
from finetune30.store.search_ends import list_tests
from finetune30.store.servers import find_servers
from finetune30.store.test_looks import load_looks
from support.migrations import step_to

pytestmark = pytest.mark.integration

BEFORE = "r0018_mirrors"
RUN, SEARCH = "a" * 32, "b" * 32
_MOMENT = "2026-01-02 03:04:05.000000"
#: How the release before writes a look at a run, one of a search, and a mirror that it follows.
OLD_INSERTS = (
    f"INSERT INTO test_looks (run_id, opened_at, opened_by) VALUES ('{RUN}', '{_MOMENT}', 'anna')",
    f"INSERT INTO search_tests (search_id, count, tried, opened_at, opened_by) VALUES ('{SEARCH}', {{number}}, 3, "
    f"'{_MOMENT}', '')",
    f"INSERT INTO mirrors (name, since) VALUES ('board{{number}}', '{_MOMENT}')",
)


def write_as_before(engine: Engine, number: int) -> None:
    with writing(engine) as connection:
        for insert in OLD_INSERTS:
            connection.execute(text(insert.format(number=number)))


def columns_of(engine: Engine) -> dict[str, set[str]]:
    seen = inspect(engine)
    return {table: {column["name"] for column in seen.get_columns(table)} for table in seen.get_table_names()}


def test_rows_of_before_are_held_by_nobody_and_the_steps_back_leave_what_was_there(database_url: str) -> None:
    engine = build_engine(database_url)
    step_to(engine, "upgrade", BEFORE)
    before = columns_of(engine)
    write_as_before(engine, 1)
    migrate(engine)
    write_as_before(engine, 2)  # a worker that is upgraded later
    store = open_store(database_url)
    assert [look.goes_on for look in load_looks(store, [RUN])[RUN]] == [False, False]
    assert [(test.count, test.goes_on) for test in list_tests(store, SEARCH)] == [(1, False), (2, False)]
    told = [(one.name, one.is_followed, one.seen_at, one.fault) for one in load_mirrors(store)]
    assert told == [("board1", False, None, None), ("board2", False, None, None)]
    assert find_servers(store) == []
    store.close()
    step_to(engine, "downgrade", BEFORE)
    assert columns_of(engine) == before
    engine.dispose()
