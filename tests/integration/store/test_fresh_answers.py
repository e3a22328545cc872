"""No answer is older than what was committed before it was asked for, whoever committed it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from finetune30.api.application import build_app
from finetune30.config import ExperimentConfig
from finetune30.settings import Settings
from finetune30.store import Claim, RunFilter, RunStatus, RunStore, open_store
from finetune30.store.annotations import RunEdit, edit_run
from finetune30.store.database import writing
from finetune30.store.events import record_event
from finetune30.store.kept_rows import KeptRows
from finetune30.store.records import Run, utc_now
from finetune30.store.tables import runs
from support.patience import wait_until
from support.services import Services

pytestmark = pytest.mark.integration

Client = httpx.Client | TestClient
OWNER = "elsewhere:boot:1:1"
#: Another process changes a run; it says what it committed, and goes on when it is told to.
OTHER = """
import json, sys
from pathlib import Path
from finetune30.config import ExperimentConfig
from finetune30.store import open_store
from finetune30.store.annotations import RunEdit, edit_run

store, results = open_store(sys.argv[1]), Path(sys.argv[2])

def tell():
    print(json.dumps(store.get(run.id).as_dict()), flush=True)
    sys.stdin.readline()

run = store.create(ExperimentConfig(experiment_name="watched"), kind="queued", results_root=results)
tell()
claim = store.claim(run.id, owner="elsewhere:boot:1:1", lease_seconds=600)
tell()
for step in range(3):
    store.renew(claim, 600, {"step": step})
    tell()
store.describe(claim, device="cpu", precision="fp32", progress={"stage": "fetching"})
tell()
edit_run(store, run.id, RunEdit(name="renamed", tags=("good",), starred=True))
tell()
store.succeed(claim, {"eval_accuracy": 0.75, "train_runtime": 2.0}, "f" * 64)
tell()
edit_run(store, run.id, RunEdit(archived=True))
tell()
store.delete(run.id, results)
"""


class Publisher:
    def publish(self, run_id: str) -> None:
        """Tell nobody."""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def api(database_url: str, results: Path, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(
        database_url=database_url,
        results_folder=results,
        submitted_folder=tmp_path / "config",
        data_folder=tmp_path / "data",
        disk_reserve_bytes=0,
    )
    app = build_app(settings, publisher=Publisher())
    with TestClient(app, base_url="http://localhost:8000", client=("127.0.0.1", 50_000)) as client:
        yield client


@pytest.fixture
def store(database_url: str) -> Iterator[RunStore]:
    opened = open_store(database_url)
    yield opened
    opened.close()


def listed(api: Client, **asked: Any) -> list[dict[str, Any]]:
    answer = api.get("/experiments", params={"archived": "all", **asked})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["experiments"]
    return found


def test_changes_of_another_process_are_in_the_next_answer(api: TestClient, database_url: str, results: Path) -> None:
    require_fresh_answers([api], database_url, results)


def test_every_process_of_one_api_answers_with_what_was_committed(database_url: str, tmp_path: Path) -> None:
    with contextlib.closing(Services(tmp_path, database_url, api_processes=2)) as services:
        services.start_api()
        services.wait_for_api()
        log = services.folder / "api.log"
        wait_until(lambda: log.read_text().count("Application startup complete.") == 2, 60, "both are ready")
        answering = services.api_processes()
        with contextlib.ExitStack() as opened:
            asked = [opened.enter_context(httpx.Client(base_url=services.api_address, timeout=60)) for _ in range(4)]
            for client in asked:
                client.get("/version").raise_for_status()
            port = services.settings.api_port
            for process in answering:  # each keeps some of the four connections, and so answers some of what follows
                assert [one for one in process.net_connections() if one.laddr.port == port]
            require_fresh_answers(asked, services.settings.resolved_database_url, services.settings.results_folder)


def require_fresh_answers(asked: Sequence[Client], database_url: str, results: Path) -> None:
    """Let another process change a run, and see each change in the next answer to each of `asked`."""
    command = [sys.executable, "-c", OTHER, database_url, str(results)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        seen = []
        for line in other.stdout:
            committed = json.loads(line)
            for api in asked:
                require_fresh_answer(api, committed)
            seen.append(committed["status"])
            other.stdin.write("\n")
            other.stdin.flush()
    assert other.returncode == 0
    assert len(seen) == 9
    for api in asked:
        assert listed(api) == []
        assert api.get("/experiments/stats").json()["total"] == 0


def require_fresh_answer(api: Client, committed: dict[str, Any]) -> None:
    (row,) = listed(api)
    assert row == {key: value for key, value in committed.items() if key not in ("config", "metrics")}
    stats = api.get("/experiments/stats").json()
    assert {state: count for state, count in stats["by_status"].items() if count} == {committed["status"]: 1}
    assert (stats["tags"], stats["archived"]) == (dict.fromkeys(row["tags"], 1), int(row["archived"]))
    assert stats["best_accuracy"] == row["eval_accuracy"]
    task = api.get(f"/task/{row['id']}").json()
    assert (task["status"], task["progress"]) == (row["status"], row["progress"])
    assert task["queue_position"] == (1 if row["status"] == "QUEUED" else None)


def test_every_writer_reads_what_it_wrote_through_what_others_keep(
    database_url: str, store: RunStore, results: Path
) -> None:
    """Writers at once, each with connections of its own; all ask the same store, which keeps what it answers."""
    kept = KeptRows(lambda run: (run.id, str(run.status), run.progress, run.tags), most=5)  # fewer than there are

    def look(run_id: str) -> tuple[str, str, Any, Any]:
        rows, _ = store.find_kept_page(RunFilter(name=run_id[:8]), kept)
        return next(row for row in rows if row[0] == run_id)

    def write(number: int) -> None:
        own = open_store(database_url)
        for turn in range(6):
            before = store.stats().total
            run = own.create(ExperimentConfig(experiment_name="a"), kind="queued", results_root=results)
            edit_run(own, run.id, RunEdit(name=run.id[:8]))
            assert store.stats().total > before
            assert look(run.id)[1] == "QUEUED"
            place = store.queue_place(run.id)
            assert place is not None
            claim = own.claim(run.id, owner=OWNER, lease_seconds=600)
            assert claim is not None
            assert look(run.id)[1] == "RUNNING"
            assert store.queue_place(run.id) is None
            own.renew(claim, 600, {"step": turn})
            assert look(run.id)[2] == {"step": turn}
            edit_run(own, run.id, RunEdit(tags=(f"of {number}",)))
            assert look(run.id)[3] == (f"of {number}",)
            assert store.stats().tags[f"of {number}"] == turn + 1
            own.cancelled(claim)
            assert look(run.id)[1] == "CANCELLED"
            waits = own.create(
                ExperimentConfig(experiment_name="b"), kind="queued", results_root=results, priority=turn
            )
            assert waits.id in store.queue_places()
        own.close()

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, range(4)))
    anew = RunStore(store.engine)
    assert store.stats() == anew.stats()
    assert list(store.queue_places().items()) == list(anew.queue_places().items())
    assert [run.id for run in store.queue()] == list(store.queue_places())


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_change_that_is_committed_after_a_later_one_is_not_missed(store: RunStore, results: Path) -> None:
    """PostgreSQL gives out numbers of events before the changes are committed; writers of SQLite go one by one."""
    late = store.create(ExperimentConfig(experiment_name="late"), kind="queued", results_root=results)
    assert (store.stats().total, list(store.queue_places())) == (1, [late.id])
    with writing(store.engine) as connection:
        connection.execute(runs.update().where(runs.c.id == late.id).values(status=RunStatus.CANCELLED))
        record_event(connection, late.id, utc_now(), "cancelled", 0, RunStatus.QUEUED, RunStatus.CANCELLED)
        early = store.create(ExperimentConfig(experiment_name="early"), kind="queued", results_root=results)
        assert store.stats().by_status["CANCELLED"] == 0
        assert list(store.queue_places()) == [late.id, early.id]
    assert (store.stats().by_status["CANCELLED"], store.stats().by_status["QUEUED"]) == (1, 1)
    assert list(store.queue_places()) == [early.id]


def test_everything_that_changes_a_listed_run_is_seen(store: RunStore, results: Path) -> None:
    """Each change of the store, by itself: what is kept before it must not be shown after it."""
    kept: KeptRows[dict[str, Any]] = KeptRows(Run.as_dict)

    def compare() -> None:
        rows, _ = store.find_kept_page(RunFilter(), kept)
        fresh = store.find(RunFilter(with_config=False, with_metrics=False))
        assert rows == [run.as_dict() for run in fresh]

    def claimed() -> Claim:
        claim = store.claim(run.id, owner=OWNER, lease_seconds=600)
        assert claim is not None
        return claim

    run = store.create(ExperimentConfig(experiment_name="one"), kind="queued", results_root=results)
    compare()
    for end in (
        lambda claim: store.release(claim, "stopped"),
        lambda claim: store.fail(claim, {"error": "process_lost", "message": "", "remedy": ""}, may_retry=True),
        lambda claim: store.fail(claim, {"error": "data_error", "message": "", "remedy": ""}),
        lambda claim: store.succeed(claim, {"eval_loss": 1.0}, "f" * 64),
    ):
        claim = claimed()
        compare()
        store.renew(claim, 700)
        compare()
        store.renew(claim, 700, {"step": 1})
        compare()
        end(claim)
        compare()
        if store.get(run.id).status is RunStatus.FAILED:
            store.retry(run.id)
            compare()
    with writing(store.engine) as connection:  # as a worker of a release before scores leaves a run
        connection.execute(runs.update().values(metrics={"eval_accuracy": 0.5}, score=None, score_name=None))
    kept = KeptRows(Run.as_dict)
    compare()
    store.reconcile()
    assert store.get(run.id).score_name == "eval_accuracy"
    compare()
