"""What the packed path saves is a PEFT adapter like any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from support.engines import build_general, build_packed, configure, random_batch
from support.tiny_models import build_tiny_model


@pytest.mark.parametrize("family", ["distilbert", "bert", "roberta"])
def test_saved_adapter_loads_with_plain_peft_and_answers_the_same(tmp_path: Path, family: str) -> None:
    from peft import AutoPeftModelForSequenceClassification

    folder = build_tiny_model(tmp_path / "base", family)
    lora = {"target_modules": "all-linear", "layers_to_transform": [1], "use_rslora": True}
    engine = build_packed(configure(folder, lora=lora))
    batch = random_batch([11, 6, 6])
    if family != "bert":
        batch = replace(batch, token_type_ids=None)
    for _ in range(3):
        engine.accumulate(batch, 1 / 3)
        engine.step(1e-2)
    engine.save_adapter(tmp_path / "adapter")
    loaded = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter").eval()
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if batch.token_type_ids is not None:
        inputs["token_type_ids"] = batch.token_type_ids
    with torch.no_grad():
        expected = loaded(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits.numpy()
    np.testing.assert_allclose(engine.outputs(batch), expected, atol=2e-6)


def test_saved_configuration_equals_that_of_the_general_path(tmp_path: Path) -> None:
    from peft import PeftConfig

    config = configure(build_tiny_model(tmp_path / "base"), lora={"lora_dropout": 0.1, "use_rslora": True})
    build_packed(config).save_adapter(tmp_path / "packed")
    build_general(config).save_adapter(tmp_path / "general")
    packed, general = (PeftConfig.from_pretrained(str(tmp_path / name)).to_dict() for name in ("packed", "general"))
    for described in (packed, general):
        for listed in ("target_modules", "modules_to_save"):
            described[listed] = set(described[listed]) - {"score"}  # PEFT adds it for heads of that name; none here
    assert packed == general
