"""A full disk at any write of publishing: an error that says so, and everything is still to be had."""

from __future__ import annotations

from finetune30.errors import StorageError
from finetune30.files import load_json, save_json_atomic
from finetune30.store.run_folder import RunFolder
from support.file_operations import at_operation, disk_full


def finish(folder: RunFolder, number: int) -> None:
    attempt = folder.open_attempt(number)
    if attempt.adopt():
        return
    attempt.reveal("config.yaml", b"seed: 1\n")
    model = attempt.outbox / "artifacts" / "final_model"
    model.mkdir(parents=True, exist_ok=True)
    (model / "weights").write_bytes(b"weights")
    (attempt.outbox / "metrics.json").write_text("{}")
    attempt.publish({})


def test_full_disk_at_any_step_can_be_tried_again(tmp_path):
    number, failures = 0, 0
    while True:
        number += 1
        folder = RunFolder(tmp_path / f"run-{number}")
        folder.path.mkdir()
        failure = None
        with at_operation(number, disk_full) as seen:
            try:
                finish(folder, 1)
            except (StorageError, OSError) as error:
                failure = error
        if len(seen) < number:
            break
        if failure is None:  # made up for, such as a folder that was there already
            assert folder.verify() == []
        else:
            assert "No space left on device" in str(failure)
            assert isinstance(failure, StorageError) or seen[-1] == "mkdir"  # the trainer's own folder in the outbox
            failures += 1
        finish(folder, 2)
        assert folder.verify() == []
    assert failures > 50


def test_full_disk_keeps_the_old_content_of_a_file(tmp_path):
    path = tmp_path / "state.json"
    save_json_atomic(path, {"n": 1})
    number = 0
    while True:
        number += 1
        with at_operation(number, disk_full) as seen:
            try:
                save_json_atomic(path, {"n": 2})
            except StorageError:
                assert load_json(path) in ({"n": 1}, {"n": 2})
                assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
        if len(seen) < number:
            return
