"""Following a log: nothing twice, nothing missed, across attempts, until the run has ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune30.config.schema import ExperimentConfig
from finetune30.errors import NotFoundError
from finetune30.service.runs.logs import follow_log, load_log
from finetune30.service.runs.open_records import Records
from finetune30.store import open_store

OWNER = "elsewhere:boot:1:1"
ERROR = {"error": "data_error", "message": "", "remedy": ""}


@pytest.fixture
def records(tmp_path: Path):
    store = open_store(f"sqlite:///{tmp_path}/results/experiments.db")
    yield Records(store, tmp_path / "results")
    store.close()


def write(path: Path, text: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


class Script:
    """Stands in for waiting: each wait plays the next scene."""

    def __init__(self, *scenes) -> None:
        self.scenes = list(scenes)

    def __call__(self, _seconds: float) -> None:
        self.scenes.pop(0)()


def test_follow_ends_with_the_run_and_shows_every_line_once(records):
    store = records.store
    run = store.create(ExperimentConfig(), kind="queued", results_root=records.results_root)
    folder = records.folder(run)
    held = {}

    def start() -> None:
        held["claim"] = store.claim(run.id, owner=OWNER, lease_seconds=60)
        held["attempt"] = folder.open_attempt(held["claim"].attempt)
        write(held["attempt"].logs, "one\n")

    def go_on() -> None:
        write(held["attempt"].logs, b"tw" + "評".encode()[:2])

    def replaced() -> None:
        write(held["attempt"].logs, "評".encode()[2:] + b"\n")
        store.release(held["claim"], "worker stops")
        start_again()

    def start_again() -> None:
        held["claim"] = store.claim(run.id, owner=OWNER, lease_seconds=60)
        held["attempt"] = folder.open_attempt(held["claim"].attempt)
        write(held["attempt"].logs, "three\n")

    def end() -> None:
        write(held["attempt"].logs, "last\n")
        store.fail(held["claim"], ERROR)

    script = Script(lambda: None, start, go_on, replaced, end)
    assert "".join(follow_log(records, run.id, sleep=script)) == "one\ntw評\nthree\nlast\n"
    assert script.scenes == []
    assert "".join(follow_log(records, run.id, tail=2)) == "three\nlast\n"


def test_follow_shows_a_log_that_begins_otherwise_from_its_beginning(records):
    store = records.store
    run = store.create(ExperimentConfig(), kind="queued", results_root=records.results_root)
    folder = records.folder(run)
    claim = store.claim(run.id, owner=OWNER, lease_seconds=60)
    write(folder.open_attempt(1).logs, "old\n")

    def other() -> None:
        folder.open_attempt(2).logs.write_text("new\n")
        store.fail(claim, ERROR)

    assert "".join(follow_log(records, run.id, sleep=Script(other))) == "old\nnew\n"


def test_follow_ends_when_the_run_is_deleted(records):
    run = records.store.create(ExperimentConfig(), kind="queued", results_root=records.results_root)
    following = follow_log(records, run.id, sleep=lambda _: records.store.delete(run.id, records.results_root))
    with pytest.raises(NotFoundError, match="there is no run"):
        list(following)


def test_load_log_of_a_run_that_has_not_begun_says_so(records):
    run = records.store.create(ExperimentConfig(), kind="queued", results_root=records.results_root)
    with pytest.raises(NotFoundError, match="has no log yet"):
        load_log(records.folder(run).live_logs())
