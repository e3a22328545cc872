"""Submitting: the row first, the message as a hint, the configuration beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune30.config import ExperimentConfig
from finetune30.config.loading import load_config
from finetune30.errors import ConfigError, IdempotencyError, NotFoundError, ServiceUnavailableError, UsageError
from finetune30.service.submitting.status import load_task
from finetune30.service.submitting.submission import KEPT_CONFIGURATIONS, digest_request, retry_task, submit
from finetune30.settings import Settings
from finetune30.store import RunStatus, open_store


class Recorder:
    """A publisher that remembers, or refuses as one without Redis does."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.sent: list[str] = []

    def publish(self, run_id: str) -> None:
        if self.fails:
            raise ServiceUnavailableError("Redis is out of reach", "start it")
        self.sent.append(run_id)


@pytest.fixture
def settings() -> Settings:
    return Settings(results_folder=Path("results"), submitted_folder=Path("config"))


@pytest.fixture
def store(settings):
    store = open_store(settings.resolved_database_url)
    yield store
    store.close()


def config(name: str = "trial", **training: object) -> ExperimentConfig:
    return ExperimentConfig.model_validate({"experiment_name": name, "training": training})


def test_submit_records_publishes_and_keeps_the_configuration(store, settings):
    publisher = Recorder()
    done = submit(store, config(), settings, publisher=publisher, explicit=frozenset({"training.seed"}))
    assert (done.run.status, done.run.kind, done.queue_position, done.published) == ("QUEUED", "queued", 1, True)
    assert publisher.sent == [done.run.id]
    assert store.get(done.run.id).published_at is not None
    assert store.get(done.run.id).explicit_keys == ["training.seed"]
    path = Path("config") / f"temp_{done.run.id}.yaml"
    assert f"ft30 train --config {path}" in path.read_text()
    assert load_config(path).config == config()


def test_submit_is_durable_when_redis_is_down(store, settings):
    done = submit(store, config(), settings, publisher=Recorder(fails=True))
    assert done.published is False
    assert "a worker takes it from the database" in done.notes[0]
    assert [run.id for run in store.queue()] == [done.run.id]
    assert store.get(done.run.id).published_at is None


def test_submit_orders_by_priority_then_time(store, settings):
    first = submit(store, config("a"), settings, publisher=Recorder())
    second = submit(store, config("b"), settings, publisher=Recorder())
    urgent = submit(store, config("c"), settings, publisher=Recorder(), priority=5)
    assert [first.queue_position, second.queue_position, urgent.queue_position] == [1, 2, 1]
    assert [run.name for run in store.queue()] == ["c", "a", "b"]
    with pytest.raises(UsageError, match="101 is out of range"):
        submit(store, config(), settings, publisher=Recorder(), priority=101)


def test_submit_returns_the_same_run_for_the_same_key_and_refuses_another_body(store, settings):
    same, other = digest_request({"a": 1, "b": 2}), digest_request({"a": 2})
    assert same == digest_request({"b": 2, "a": 1})
    first = submit(store, config(), settings, publisher=Recorder(), idempotency_key="k", request_sha256=same)
    again = submit(store, config(), settings, publisher=Recorder(), idempotency_key="k", request_sha256=same)
    assert again.run.id == first.run.id
    with pytest.raises(IdempotencyError, match="another request"):
        submit(store, config(), settings, publisher=Recorder(), idempotency_key="k", request_sha256=other)


def test_submit_refuses_a_results_folder_of_its_own(store, settings):
    with pytest.raises(ConfigError, match="output_dir"):
        submit(store, config(output_dir="elsewhere"), settings, publisher=Recorder())


def test_submit_says_when_the_configuration_cannot_be_kept(store, settings):
    Path("config").write_text("a file where the folder should be")
    done = submit(store, config(), settings, publisher=Recorder())
    assert done.published
    assert "cannot keep" in done.notes[0]


def test_kept_configurations_are_the_newest_hundred_and_others_stay(store, settings):
    Path("config").mkdir()
    Path("config/temp_mine.yaml").write_text("not ours")
    for _ in range(KEPT_CONFIGURATIONS + 3):
        newest = submit(store, config(), settings, publisher=Recorder()).run.id
    kept = {path.name for path in Path("config").glob("temp_*")}
    assert len(kept) == KEPT_CONFIGURATIONS + 1
    assert {"temp_mine.yaml", f"temp_{newest}.yaml"} <= kept


def test_task_tells_position_then_error_and_whether_a_retry_may_help(store, settings):
    run = submit(store, config(), settings, publisher=Recorder()).run
    task = load_task(store, run.id)
    assert (task["status"], task["queue_position"], task["error"], task["result"]) == ("QUEUED", 1, None, None)
    claim = store.claim(run.id, lease_seconds=60)
    store.fail(claim, {"error": "data_error", "message": "bad row", "remedy": "mend it"})
    task = load_task(store, run.id)
    assert task["error"]["cause"] == "data"
    assert task["error"]["retry_may_help"] is False
    publisher = Recorder()
    again = retry_task(store, run.id, publisher=publisher)
    assert (again.run.status, publisher.sent) == (RunStatus.QUEUED, [run.id])


@pytest.mark.parametrize("unknown", ["f" * 32, "latest", "trial", "abc", "'; drop table runs"])
def test_task_knows_nothing_but_full_ids(store, settings, unknown):
    submit(store, config(), settings, publisher=Recorder())
    with pytest.raises(NotFoundError):
        load_task(store, unknown)
