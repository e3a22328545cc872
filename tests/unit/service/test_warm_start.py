"""The weights that a new run starts from, and what they were trained for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from finetune30.errors import CheckpointError, ModelError
from finetune30.service.execution.warm_start import find_start_weights, load_start_targets
from finetune30.store import RunFolder

FILES = {"adapter.safetensors": b"weights", "optimizer.safetensors": b"o", "rng.safetensors": b"r"}


def save_checkpoint(run: Path, identity: dict[str, Any]) -> None:
    folder = run / "attempts" / "1" / "checkpoints" / "checkpoint-00000004"
    folder.mkdir(parents=True)
    files = {**FILES, "state.json": json.dumps({"progress": {}, "identity": identity}).encode()}
    listed = {}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        listed[name] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    (folder / "manifest.json").write_text(json.dumps({"files": listed}))


@pytest.mark.parametrize(
    ("identity", "targets"),
    [({"label order": ["b", "a"]}, {"label_names": ["b", "a"]}), ({}, {})],  # without: in the order of the data
)
def test_weights_of_a_checkpoint_keep_the_order_of_their_labels(
    tmp_path: Path, identity: dict[str, Any], targets: dict[str, Any]
) -> None:
    save_checkpoint(tmp_path, identity)
    kept = find_start_weights(RunFolder(tmp_path))
    assert (kept / "adapter_model.safetensors").read_bytes() == b"weights"
    assert load_start_targets(str(kept)) == targets


def test_weights_for_another_base_than_the_model_are_no_start(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"start_of_adapter": "ab12"})
    with pytest.raises(CheckpointError, match="not for the base model as it is") as refused:
        find_start_weights(RunFolder(tmp_path))
    assert "ft30 resume" in refused.value.remedy
    assert not (tmp_path / "warm_start").exists()


def test_a_folder_without_labels_says_nothing_about_them(tmp_path: Path) -> None:
    assert load_start_targets(str(tmp_path)) is None


@pytest.mark.parametrize("content", ["{", "[1]", "{}", '{"label_names": 5}', '{"label_names": [1, 2]}'])
def test_labels_that_cannot_be_read_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(ModelError, match=r"start_adapter: .*labels\.json' cannot be read"):
        load_start_targets(str(tmp_path))
