"""What is said about a switch of another tool is done to the letter, and the training is the one that it asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune30.config import ExperimentConfig
from finetune30.config.loading import load_config
from finetune30.errors import ConfigError
from finetune30.ui.messages import translate_message

SWITCHES = {
    "bf16": ("training", "precision", "bf16"),
    "fp16": ("training", "precision", "fp16"),
    "load_in_4bit": ("model", "quantization", "nf4"),
    "load_in_8bit": ("model", "quantization", "int8"),
    "no_cuda": ("training", "device", "cpu"),
    "use_cpu": ("training", "device", "cpu"),
    "use_mps_device": ("training", "device", "mps"),
}
#: A key of each section that says whether what stands beside the switch is read.
BESIDE = {"training": ("seed", 7), "model": ("num_labels", 7)}


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("on", [True, False])
def test_a_switch_of_another_tool_is_written_as_a_value_or_left_out(tmp_path: Path, switch: str, on: bool) -> None:
    section, key, value = SWITCHES[switch]
    beside, number = BESIDE[section]
    path = tmp_path / "mine.yaml"
    path.write_text(f"{section}:\n  {beside}: {number}\n  {switch}: {str(on).lower()}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    (fault,) = caught.value.details["faults"]
    assert fault["hint"] == f"for true write {section}.{key}: {value}, for false leave it out"
    assert translate_message("zh", fault["hint"]) == f"若為 true，請寫 {section}.{key}: {value}；若為 false，請省略"
    path.write_text(f"{section}:\n  {beside}: {number}\n" + (f"  {key}: {value}\n" if on else ""))
    chosen, default = (getattr(config, section) for config in (load_config(path).config, ExperimentConfig()))
    assert (getattr(chosen, beside), getattr(chosen, key)) == (number, value if on else getattr(default, key))
