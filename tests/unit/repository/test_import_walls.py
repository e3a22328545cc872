"""Rooms that start often or serve requests must never pull in torch; import-linter cannot see third-party detours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import finetune30
from finetune30.problems import PROBLEMS

PACKAGE = Path(finetune30.__file__).parent
HEAVY = ("torch", "transformers", "peft", "accelerate")
QUEUE_WEB_DATABASE = ("celery", "redis", "fastapi", "sqlalchemy", "alembic", "streamlit")

# room -> what must not come with any of its modules; a room is one line
WALLS = {
    "errors": (*HEAVY, *QUEUE_WEB_DATABASE),
    "config": (*HEAVY, *QUEUE_WEB_DATABASE),
    "settings": (*HEAVY, *QUEUE_WEB_DATABASE),
    "hub": (*HEAVY, *QUEUE_WEB_DATABASE, "polars"),
    "data": (*HEAVY, *QUEUE_WEB_DATABASE),
    "modeling": QUEUE_WEB_DATABASE,
    "training": QUEUE_WEB_DATABASE,
    "problems": QUEUE_WEB_DATABASE,
    "store": HEAVY,
    "jobs": HEAVY,
    "api": HEAVY,
    "cli": (*HEAVY, "sqlalchemy", "polars", "pandas"),
}

IMPORT_ALL = """
import importlib, pkgutil, sys
room = importlib.import_module("finetune30." + sys.argv[1])
for module in pkgutil.walk_packages(getattr(room, "__path__", []), room.__name__ + "."):
    if ".migrations." not in module.name:  # scripts that only Alembic can run
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name != "triton":  # for GPUs, rarely installed elsewhere
                raise
print(" ".join(sorted(set(sys.argv[2:]) & set(sys.modules))))
"""


def existing_rooms() -> list[str]:
    return [room for room in WALLS if (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").is_file()]


@pytest.mark.parametrize("room", existing_rooms())
def test_room_brings_nothing_heavy_when_all_of_it_is_imported(room: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, room, *WALLS[room]], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


#: What a machine that only trains need not have.
NOT_FOR_TRAINING = ("polars", "sqlalchemy", "celery")
IMPORT_WITHOUT = """
import importlib, pkgutil, sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
from finetune30.problems import PROBLEMS
from finetune30.problems.trainables import load_trainable

for name in ("training", "modeling"):
    room = importlib.import_module("finetune30." + name)
    for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name != "triton":
                raise
importlib.import_module("finetune30.data.problem")
for name in PROBLEMS:
    print(load_trainable(name, {"label_names": ["a", "b"]}).name)
"""


def test_what_trains_needs_no_table_no_database_and_no_queue() -> None:
    command = [sys.executable, "-c", IMPORT_WITHOUT, ",".join(NOT_FOR_TRAINING)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(PROBLEMS)
