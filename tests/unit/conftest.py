"""A store on a new SQLite file, and how such files begin."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine

from finetune30.store import open_store
from finetune30.store.schema import migrate
from support.run_store_lab import Lab


@pytest.fixture(scope="session", autouse=True)
def new_databases_are_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let each new SQLite file of this process be a copy of one that was migrated once: 0.1 s less a test.

    The migration then looks at it as at every database, and finds nothing missing. What migrations do with an empty
    file is the subject of `store/test_schema.py` and of all processes that tests start.
    """
    folder = tmp_path_factory.mktemp("migrated")
    open_store(f"sqlite:///{folder}/whole.db").close()

    def migrate_copy(engine: Engine) -> None:
        name = engine.url.database if engine.dialect.name == "sqlite" else None
        if name and name != ":memory:" and not Path(name).exists():
            copy = shutil.copyfile(folder / "whole.db", folder / uuid.uuid4().hex)
            with suppress(OSError):  # of a place where nothing can be made, or somebody else was first
                os.link(copy, name)  # whole at once
            copy.unlink()
        migrate(engine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finetune30.store.run_store.migrate", migrate_copy)
        yield


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(f"sqlite:///{tmp_path}/results/experiments.db", tmp_path / "results")
    yield lab
    lab.store.close()
