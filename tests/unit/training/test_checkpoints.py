"""Checkpoints: whole, checked, rotated, refused when they belong elsewhere."""

import shutil

import pytest

from finetune30.config import TrainingConfig
from finetune30.errors import CheckpointError
from finetune30.training.checkpoints import Checkpoints, find_damage
from finetune30.training.loop import train
from support.engines import build_trainable
from support.present import present
from support.rows import encoded_split

IDENTITY = {"config": "a", "versions": {"torch": "1"}}


@pytest.fixture
def trained(build_engine, hooks, tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", IDENTITY, keep=2)
    config = TrainingConfig(device="cpu", precision="fp32", save_steps=1, eval_strategy="no", max_steps=4)
    train(build_engine(), encoded_split(8), encoded_split(3), config, build_trainable(), hooks, checkpoints)
    return checkpoints, tmp_path / "checkpoints"


def test_rotation_keeps_the_newest(trained):
    _, folder = trained
    assert sorted(p.name for p in folder.iterdir()) == ["checkpoint-00000003", "checkpoint-00000004"]


@pytest.mark.parametrize("file", ["adapter.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json"])
def test_truncated_newest_checkpoint_is_skipped_with_a_warning(trained, file):
    checkpoints, folder = trained
    damaged = folder / "checkpoint-00000004" / file
    damaged.write_bytes(damaged.read_bytes()[:-3])
    warnings: list[str] = []
    assert checkpoints.load_latest(warnings.append).step == 3
    assert len(warnings) == 1
    assert "checkpoint-00000004" in warnings[0]


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b'{"files": 3}', b'{"files": {}}', b"\xff"])
def test_damaged_or_missing_manifest_is_damage(trained, content):
    _, folder = trained
    manifest = folder / "checkpoint-00000004" / "manifest.json"
    manifest.unlink()
    if content is not None:
        manifest.write_bytes(content)
    assert find_damage(folder / "checkpoint-00000004") is not None


def test_checkpoint_of_another_training_is_refused_with_the_difference(trained):
    _, folder = trained
    other = Checkpoints(folder, {"config": "b", "versions": {"torch": "2"}}, keep=2)
    with pytest.raises(CheckpointError, match=r"config: a -> b; versions\.torch: 1 -> 2"):
        other.load_latest(pytest.fail)


def test_no_checkpoint_is_none(tmp_path):
    assert Checkpoints(tmp_path / "nothing", IDENTITY, keep=2).load_latest(pytest.fail) is None


def test_earlier_attempts_are_read_and_never_written(trained, tmp_path):
    _, folder = trained
    own = tmp_path / "attempt-2"
    later = Checkpoints(own, IDENTITY, 2, [folder])
    assert present(later.load_latest(pytest.fail)).folder.parent == folder
    shutil.copytree(folder / "checkpoint-00000003", own / "checkpoint-00000005")
    assert present(later.load_latest(pytest.fail)).folder.parent == own
