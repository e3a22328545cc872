"""The run folder: what is at its top, who may write it, what is left after a loss."""

from __future__ import annotations

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest

from finetune30.errors import NotFoundError, StaleAttemptError, StorageError
from finetune30.store.results_folder import remove_run_folder, reserve_run_folder
from finetune30.store.run_folder import AttemptFolder, RunFolder

MODEL = "artifacts/final_model/adapter_model.safetensors"


def stage(attempt: AttemptFolder, content: bytes = b"weights") -> None:
    """Put a small result into the outbox."""
    (attempt.outbox / MODEL).parent.mkdir(parents=True)
    (attempt.outbox / MODEL).write_bytes(content)
    (attempt.outbox / "metrics.json").write_text(json.dumps({"eval_accuracy": 0.5}))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    path = tmp_path / "trial_20260102_030405"
    path.mkdir()
    return RunFolder(path)


def test_attempt_writes_logs_that_show_at_the_top(folder):
    attempt = folder.open_attempt(1)
    with attempt.logs.open("a") as logs:
        logs.write("first\n")
    assert folder.logs.read_text() == "first\n"
    attempt.reveal("config.yaml", b"seed: 1\n")
    assert folder.config.read_bytes() == b"seed: 1\n"


def test_next_attempt_goes_on_with_the_log_and_hides_the_stale_writer(folder):
    stale = folder.open_attempt(1)
    with stale.logs.open("a", buffering=1) as old_logs, stale.history.open("a", buffering=1) as old_history:
        old_logs.write("first\n")
        newer = folder.open_attempt(2)
        old_logs.write("ghost\n")
        old_history.write("{}\n")
        with newer.logs.open("a") as logs:
            logs.write("second\n")
    assert folder.logs.read_text() == "first\nsecond\n"
    assert folder.history.read_text() == ""
    with pytest.raises(StaleAttemptError, match="replaced by attempt 2"):
        stale.reveal("config.yaml", b"ghost")
    assert not folder.config.exists()
    with pytest.raises(StaleAttemptError, match="replaced by attempt 2"):
        folder.open_attempt(1)


def test_publish_moves_everything_to_the_top_and_vouches_for_it(folder):
    attempt = folder.open_attempt(1)
    attempt.reveal("config.yaml", b"seed: 1\n")
    attempt.history.write_text('{"step": 1}\n')
    stage(attempt)
    published = attempt.publish({"dataset_digest": "d"})
    assert set(published.manifest["files"]) == {"config.yaml", "history.jsonl", "logs.txt", "metrics.json", MODEL}
    assert published.metrics == {"eval_accuracy": 0.5}
    assert folder.load_published() == published
    assert folder.artifact(MODEL).read_bytes() == b"weights"
    with attempt.logs.open("a") as logs:
        logs.write("published\n")
    folder.prune()
    assert folder.verify() == []
    assert sorted(entry.name for entry in (folder.attempts / "1").iterdir()) == [
        "config.yaml",
        "history.jsonl",
        "logs.txt",
    ]


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda folder: (folder.path / MODEL).write_bytes(b"Weights"), "other content"),
        (lambda folder: (folder.path / MODEL).write_bytes(b"weight"), "6 bytes instead of 7"),
        (lambda folder: (folder.path / MODEL).unlink(), "is missing"),
        (lambda folder: folder.manifest.write_text("{"), "missing or broken"),
    ],
)
def test_verify_names_what_is_damaged(folder, damage, fault):
    attempt = folder.open_attempt(1)
    stage(attempt)
    attempt.publish({})
    damage(folder)
    assert [fault in line for line in folder.verify()] == [True]
    assert folder.load_published() is None
    assert folder.open_attempt(2).adopt() is None


def test_artifact_serves_names_of_the_manifest_only(folder):
    with pytest.raises(NotFoundError, match="no published result"):
        folder.artifact(MODEL)
    attempt = folder.open_attempt(1)
    stage(attempt)
    attempt.publish({})
    for name in ("../secret", "/etc/passwd", "manifest.json", "attempts/1/logs.txt", ""):
        with pytest.raises(NotFoundError, match="no published file"):
            folder.artifact(name)
    (folder.path / MODEL).unlink()
    (folder.path / MODEL).symlink_to("/etc/passwd")
    with pytest.raises(NotFoundError, match="no published file"):
        folder.artifact(MODEL)


def test_publish_refuses_a_symbolic_link(folder):
    attempt = folder.open_attempt(1)
    (attempt.outbox / "weights").symlink_to("/etc/passwd")
    with pytest.raises(StorageError, match="symbolic link"):
        attempt.publish({})


def test_publish_of_a_replaced_attempt_changes_nothing(folder):
    stale = folder.open_attempt(1)
    stage(stale, b"stale")
    newer = folder.open_attempt(2)
    stage(newer, b"newer")
    with pytest.raises(StaleAttemptError, match="replaced by attempt 2"):
        stale.publish({})
    assert not folder.manifest.exists()
    published = newer.publish({})
    stale.outbox.mkdir(exist_ok=True)
    stage(stale, b"stale")
    with pytest.raises(StaleAttemptError, match="replaced by attempt 2"):
        stale.publish({})
    assert folder.load_published() == published


def test_second_publish_replaces_a_half_first_one(folder):
    first = folder.open_attempt(1)
    stage(first)
    (first.outbox / "artifacts" / "left.bin").write_bytes(b"x")
    first.publish({})
    (folder.path / MODEL).write_bytes(b"damaged")
    second = folder.open_attempt(2)
    assert second.adopt() is None
    stage(second, b"again")
    second.publish({})
    assert folder.verify() == []
    assert (folder.path / MODEL).read_bytes() == b"again"
    assert not (folder.artifacts / "left.bin").exists()


def test_file_system_without_hard_links_shows_copies(folder, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    attempt = folder.open_attempt(1)
    with attempt.logs.open("a") as logs:
        logs.write("first\n")
    attempt.history.write_text("{}\n")
    assert folder.live_logs().read_text() == "first\n"
    attempt.reveal("config.yaml", b"seed: 1\n")
    stage(attempt)
    attempt.publish({})
    assert folder.verify() == []
    assert (folder.logs.read_text(), folder.history.read_text()) == ("first\n", "{}\n")


def test_adoption_finds_what_was_published_before_the_row(folder):
    first = folder.open_attempt(1)
    first.history.write_text('{"step": 1}\n')
    stage(first)
    published = first.publish({})
    folder.open_attempt(2)  # lost at once
    third = folder.open_attempt(3)
    assert third.adopt() == published
    assert third.history.read_text() == folder.history.read_text() == '{"step": 1}\n'
    assert folder.verify() == []


def test_reserve_skips_what_is_there(tmp_path):
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    names = [reserve_run_folder(tmp_path, "a b", at, is_taken=lambda name: name.endswith("-2")).name for _ in range(2)]
    assert names == ["a b_20260102_030405", "a b_20260102_030405-3"]


def test_remove_takes_plain_names_only(tmp_path):
    victim = tmp_path / "victim"
    (tmp_path / "results").mkdir()
    victim.mkdir()
    for name in ("../victim", "..", ".", "", "/etc"):
        with pytest.raises(StorageError, match="not the name of a run folder"):
            remove_run_folder(tmp_path / "results", name)
    assert victim.is_dir()


def test_a_folder_that_several_remove_at_the_same_time_is_gone_for_each(tmp_path: Path) -> None:
    removers = 8
    for round_number in range(5):
        for part in range(300):
            (tmp_path / "trial" / f"{part % 3}").mkdir(parents=True, exist_ok=True)
            (tmp_path / "trial" / f"{part % 3}" / f"file{part}").write_bytes(b"")
        together = Barrier(removers)

        def remove() -> bool:
            together.wait()  # noqa: B023 - all of a round are awaited in it
            remove_run_folder(tmp_path, "trial")
            return not list(tmp_path.iterdir())

        with ThreadPoolExecutor(removers) as pool:
            assert all(done.result() for done in [pool.submit(remove) for _ in range(removers)]), round_number
