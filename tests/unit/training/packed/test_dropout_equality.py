"""Dropout disturbs the packed path where, and as much as, it disturbs the general one: losses have one distribution.

Masks come from different generators, so single losses cannot be compared. Seeds are fixed: the outcome is, too.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.engines import build_general, build_packed, configure, random_batch, switch_off_dropout
from support.tiny_models import build_tiny_model

DRAWS = 500
#: Family, the one rate that is not zero (None: LoRA's), and LoRA's targets.
PLACES = [
    ("bert", "hidden_dropout_prob", ["query"]),
    ("bert", "attention_probs_dropout_prob", ["query"]),
    ("bert", "classifier_dropout", ["query"]),
    ("bert", None, ["query", "value", "dense"]),
    ("distilbert", "dropout", ["q_lin"]),
    ("distilbert", "seq_classif_dropout", ["q_lin"]),
]


def _losses(engine: Any, state: dict[str, torch.Tensor], family: str) -> np.ndarray:
    engine.load_adapter_state(state)
    batch = random_batch([7, 5, 9], seed=1)
    if family == "distilbert":
        batch = replace(batch, token_type_ids=None)
    losses = [float(engine.accumulate(batch, 1 / 3)) for _ in range(DRAWS)]
    engine.discard_gradients()
    return np.array(losses)


@pytest.mark.parametrize(("family", "rate", "targets"), PLACES, ids=str)
def test_losses_are_spread_as_on_the_general_path(
    tmp_path: Path, family: str, rate: str | None, targets: list[str]
) -> None:
    folder = build_tiny_model(tmp_path / "base", family)
    switch_off_dropout(folder)
    if rate is not None:
        described = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**described, rate: 0.5}))
    lora = {"target_modules": targets, "lora_dropout": 0.5 if rate is None else 0.0}
    general = build_general(configure(folder, lora=lora))
    generator = torch.Generator().manual_seed(3)
    shapes = {name: value.shape for name, value in general.adapter_state().items()}
    state = {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        expected = _losses(general, state, family)
    assert expected.std() > 1e-4
    for compiled in (True, False):
        found = _losses(build_packed(configure(folder, lora=lora, compiled_kernels=compiled)), state, family)
        error = expected.std() * np.sqrt(2 / DRAWS)
        assert abs(found.mean() - expected.mean()) < 4 * error, compiled
        assert found.std() / expected.std() == pytest.approx(1.0, abs=0.15), compiled
