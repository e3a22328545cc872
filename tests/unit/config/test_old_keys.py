"""Keys of earlier versions that decide nothing: files that hold them are read, nothing shows them any more."""

from __future__ import annotations

import pytest

from finetune30.config import ExperimentConfig
from finetune30.config.fields import field_schemas
from finetune30.config.loading import load_config
from finetune30.errors import ConfigError

OLD = "lora:\n  r: 4\n  task_type: SEQ_CLS\nsystem:\n  save_config: true\n  log_file: null\n"


def test_a_file_of_an_earlier_version_is_the_same_configuration_without_them(tmp_path):
    (tmp_path / "old.yaml").write_text(OLD)
    (tmp_path / "new.yaml").write_text("lora:\n  r: 4\n")
    assert load_config(tmp_path / "old.yaml").config == load_config(tmp_path / "new.yaml").config
    recorded = {**ExperimentConfig().as_tree(), "system": {"save_config": True, "log_file": None}}
    recorded["lora"] = {**recorded["lora"], "task_type": "SEQ_CLS"}
    assert ExperimentConfig.model_validate(recorded) == ExperimentConfig()
    assert not [key for key in field_schemas() if "task_type" in key or key.startswith("system")]


@pytest.mark.parametrize("text", ["lora:\n  task_type: CAUSAL_LM\n", "system:\n  logfile: a\n"])
def test_other_values_and_other_keys_are_faults_as_ever(tmp_path, text):
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(ConfigError):
        load_config(tmp_path / "odd.yaml")
