"""Workers of two versions on one database and one Redis: every run is carried out once, by either, and read by both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from finetune30.config.fields import field_schemas
from finetune30.config.recording import NEW_KEYS
from finetune30.store import RunStatus
from finetune30.store.database import reading
from finetune30.store.schema import LAST_WITHOUT_MARKS, migrate
from finetune30.store.tables import runs
from finetune30.store.workers import load_workers
from support.event_checker import check
from support.migrations import step_to
from support.other_versions import SOURCES, OtherVersion
from support.patience import wait_until
from support.services import Services, running_services

pytestmark = pytest.mark.integration

QUEUED, SUCCEEDED = RunStatus.QUEUED, RunStatus.SUCCEEDED
THIS = OtherVersion(SOURCES)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with running_services(tmp_path) as services:
        yield services


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> OtherVersion:
    """The newest commit that knows nothing of versions beside it."""
    return OtherVersion.before_marks(tmp_path_factory.mktemp("old"))


@pytest.fixture
def later(tmp_path: Path) -> OtherVersion:
    """This package with one key of the configuration more, which is not left out of the record."""
    copy = OtherVersion.copied(tmp_path / "later", "9.1.0")
    copy.edit(
        "config/schema.py",
        "    max_steps: int | None = Field(\n",
        '    later_key: int = Field(1, ge=1, description="What the release after this one knows.")\n'
        "    max_steps: int | None = Field(\n",
    )
    return copy


def command(services: Services, version: OtherVersion, *arguments: str) -> Any:
    """Return the JSON that a command of a version prints about these services."""
    settings = {key: value for key, value in services.environment().items() if key.startswith("FT30_")}
    ended = version.run(*arguments, "--json", cwd=services.folder, **settings)
    assert ended.stdout, ended.stderr
    return json.loads(ended.stdout)


def submit(services: Services, version: OtherVersion, name: str, *more: str) -> str:
    settings = {key: value for key, value in services.environment().items() if key.startswith("FT30_")}
    arguments = ("submit", "--experiment_name", name, "--max_steps", "3", *more)
    ended = version.run(*arguments, cwd=services.folder, **settings)
    assert ended.returncode == 0, ended.stderr
    found = re.search(r"[0-9a-f]{32}", ended.stdout)
    assert found, ended.stdout
    return found[0]


def wait_for_status(services: Services, run_id: str, status: RunStatus) -> None:
    def look() -> bool:
        with reading(services.store.engine) as connection:
            return connection.execute(select(runs.c.status).where(runs.c.id == run_id)).scalar_one() == status

    wait_until(look, 120, f"run {run_id[:8]} is {status}")


def pids_of_claims(services: Services, run_id: str) -> list[int]:
    claims = [event for event in services.store.events(run_id) if event.kind == "claimed"]
    return [int(str(claim.owner).split(":")[2]) for claim in claims]


def test_a_worker_of_an_older_commit_and_one_of_this_share_the_work(services: Services, old: OtherVersion) -> None:
    step_to(services.store.engine, "downgrade", LAST_WITHOUT_MARKS)  # as the older release left its database
    before = submit(services, old, "before")
    services.start_worker("old", version=old)
    wait_for_status(services, before, SUCCEEDED)

    # Goes on while the database is brought to the new revision; before it, only the older release reads whole rows.
    long = submit(services, old, "long", "--max_steps", "200")
    wait_for_status(services, long, RunStatus.RUNNING)
    migrate(services.store.engine)
    services.start_api()
    services.wait_for_api()
    body = {"config": {"training": {"max_steps": 3}}}
    ids = [before, long]
    for number in range(8):
        answer = httpx.post(f"{services.api_address}/train", json=body | {"experiment_name": f"new{number}"})
        assert answer.status_code == 202, answer.text
        ids.append(answer.json()["task_id"])
    services.start_worker("new")
    ids += [submit(services, old, f"old{number}") for number in range(2)]
    wait_until(lambda: {w.node for w in load_workers(services.store)} == {"old", "new"}, 120, "both are seen")
    told = {worker["node"]: worker for worker in command(services, THIS, "status")["workers"]}
    assert (told["old"]["version"], told["old"]["draining"]) == (None, False)
    assert {worker["node"] for worker in command(services, old, "status")["workers"]} == {"old", "new"}
    services.wait_for_all(300)

    verdict = check(services.settings.resolved_database_url, services.settings.results_folder, ids)
    assert verdict.breaches == [], verdict.summary()
    claims = {run_id: pids_of_claims(services, run_id) for run_id in ids}
    assert all(len(pids) == 1 for pids in claims.values()), claims
    assert claims[long] == [services.workers["old"].pid], "it was not lost with the migration"
    assert {pids[0] for pids in claims.values()} == {worker.pid for worker in services.workers.values()}
    for version in (old, THIS):
        listed = command(services, version, "runs", "list", "--limit", "100")
        assert {run["id"] for run in listed["runs"]} == set(ids)
        for name in ("new", "old"):
            run_id = next(run for run in ids if claims[run] == [services.workers[name].pid])
            shown = command(services, version, "runs", "show", run_id)["run"]
            assert (shown["status"], shown["metrics"]["eval_accuracy"], shown["score"]) == ("SUCCEEDED", 1.0, 1.0)


def test_keys_that_came_since_are_left_out_of_the_record_while_they_have_their_default(
    services: Services, old: OtherVersion
) -> None:
    theirs = set(command(services, old, "config", "show")["training"])
    known = {key.removeprefix("training.") for key in field_schemas() if key.count(".") == 1 and "training." in key}
    assert known - theirs <= {key.removeprefix("training.") for key in NEW_KEYS}, "add them to NEW_KEYS"


def test_a_run_with_a_key_of_a_later_version_waits_for_a_worker_that_knows_it(
    services: Services, later: OtherVersion
) -> None:
    services.start_worker()
    services.wait_for_worker()
    ahead = [submit(services, later, f"ahead{number}", "--priority", "5") for number in range(2)]
    behind = services.submit_many(4)
    for run_id in behind:
        services.wait_for(run_id, SUCCEEDED, seconds=120)
    services.start_api()
    services.wait_for_api()

    def refused() -> dict[str, Any] | None:
        waiting = httpx.get(f"{services.api_address}/task/{ahead[0]}").json()["waiting"]
        return dict(waiting) if waiting["code"] == "other_version" else None

    waiting = wait_until(refused, 60, "the refusal is told")
    assert waiting["fault"] == "training.later_key: unknown key"
    assert waiting["message"] == (
        "no running worker can read its configuration (training.later_key: unknown key); start one of the version that "
        f"recorded it, or cancel it: ft30 cancel {ahead[0][:8]}"
    )
    assert command(services, THIS, "status")["waiting"]["other_version"] == 2
    assert "later_key: 1" in httpx.get(f"{services.api_address}/experiments/{ahead[0]}/config").json()["yaml"]
    assert [(services.store.get(run_id).status, services.store.get(run_id).attempt) for run_id in ahead] == [
        (QUEUED, 0)
    ] * 2
    line = re.search(r"cancel it: ft30 (cancel \w+)$", waiting["message"])
    assert line, waiting["message"]
    settings = {key: value for key, value in services.environment().items() if key.startswith("FT30_")}
    ended = THIS.run(*line[1].split(), cwd=services.folder, **settings)
    assert ended.returncode == 0, ended.stderr

    services.start_worker("later", version=later)
    services.wait_for(ahead[1], SUCCEEDED, seconds=120)
    assert pids_of_claims(services, ahead[1]) == [services.workers["later"].pid]
    assert services.store.get(ahead[0]).status is RunStatus.CANCELLED
    assert (services.folder / "worker-one.log").read_text().count(f"run {ahead[0]} is left to a worker") == 1


def test_a_later_key_with_its_default_keeps_no_worker_from_a_run(services: Services, later: OtherVersion) -> None:
    later.edit(
        "config/recording.py",
        "\n\ndef record_tree(",
        '\nNEW_KEYS |= {"training.later_key"}\n\n\ndef record_tree(',
    )
    services.start_worker()
    plain, used = submit(services, later, "plain"), submit(services, later, "used", "--set", "training.later_key=2")
    services.wait_for(plain, SUCCEEDED, seconds=120)
    shown = command(services, later, "runs", "show", plain)["run"]
    assert (shown["status"], "later_key" in shown["config"]["training"]) == ("SUCCEEDED", False)
    wait_until(lambda: any(used in w.refused for w in load_workers(services.store)), 60, "the other is refused")
    services.start_worker("later", version=later)
    services.wait_for(used, SUCCEEDED, seconds=120)


def test_a_worker_of_a_version_with_one_more_revision_shares_the_work(services: Services, later: OtherVersion) -> None:
    added = 'op.add_column("runs", sa.Column("later", sa.Text, nullable=False, server_default="none"))'
    later.add_migration("r9001_later", added, additive=True)
    later.edit(
        "config/schema.py",
        '    later_key: int = Field(1, ge=1, description="What the release after this one knows.")\n',
        "",
    )
    services.start_worker("one")
    services.wait_for_worker()
    ids = services.submit_many(6, steps=10)
    services.start_worker("later", version=later)  # migrates while the other one works
    services.wait_for_worker("later")
    ids += services.submit_many(10, steps=10)
    services.wait_for_all(300)
    verdict = check(services.settings.resolved_database_url, services.settings.results_folder, ids)
    assert verdict.breaches == [], verdict.summary()
    assert {pid for run_id in ids for pid in pids_of_claims(services, run_id)} == {
        worker.pid for worker in services.workers.values()
    }
    assert verdict.attempts == len(ids)
    said = re.findall(r"messages come from version \S+ too", (services.folder / "worker-later.log").read_text())
    assert len(said) <= 1
    services.kill_worker("later")  # and back again: this version alone
    again = services.submit().run.id
    services.wait_for(again, SUCCEEDED, seconds=120)
