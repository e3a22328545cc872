"""What the row of a run holds: all but the keys of this release that have their default."""

from __future__ import annotations

import pytest

from finetune30.config import ExperimentConfig, recording
from finetune30.config.fields import field_schemas
from finetune30.config.loading import validate_tree
from finetune30.config.recording import NEW_KEYS, record_tree


def test_new_keys_are_keys() -> None:
    assert field_schemas().keys() >= NEW_KEYS


@pytest.mark.parametrize("key", ["training.max_steps", "data.max_length", "lora.r"])
def test_a_new_key_is_recorded_once_it_is_used(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr(recording, "NEW_KEYS", frozenset({key}))
    section, leaf = key.split(".")
    plain = ExperimentConfig()
    tree = record_tree(plain)
    assert leaf not in tree[section]
    assert validate_tree(tree) == plain, "the record means what it meant"
    used = ExperimentConfig.model_validate({section: {leaf: 7}})
    assert record_tree(used) == used.as_tree()


def test_other_keys_are_recorded_also_with_their_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "NEW_KEYS", frozenset())
    assert record_tree(ExperimentConfig()) == ExperimentConfig().as_tree()
