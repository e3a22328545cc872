"""What is said about a switch of another tool is done to the letter, and the training is the one that it asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune30.config import ExperimentConfig
from finetune30.config.loading import load_config
from finetune30.errors import ConfigError
from finetune30.ui.messages import translate_message

SWITCHES = {
    "bf16": ("precision", "bf16"),
    "fp16": ("precision", "fp16"),
    "no_cuda": ("device", "cpu"),
    "use_cpu": ("device", "cpu"),
    "use_mps_device": ("device", "mps"),
}


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("on", [True, False])
def test_a_switch_of_another_tool_is_written_as_a_value_or_left_out(tmp_path: Path, switch: str, on: bool) -> None:
    key, value = SWITCHES[switch]
    path = tmp_path / "mine.yaml"
    path.write_text(f"training:\n  seed: 7\n  {switch}: {str(on).lower()}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    (fault,) = caught.value.details["faults"]
    assert fault["hint"] == f"for true write training.{key}: {value}, for false leave it out"
    assert translate_message("zh", fault["hint"]) == f"若為 true，請寫 training.{key}: {value}；若為 false，請省略"
    path.write_text(f"training:\n  seed: 7\n  {key}: {value}\n" if on else "training:\n  seed: 7\n")
    chosen, default = load_config(path).config.training, ExperimentConfig().training
    assert (chosen.seed, getattr(chosen, key)) == (7, value if on else getattr(default, key))
