"""An engine on a tiny model, as the product builds it, and hooks that keep what they are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.engines import build_general, configure
from support.hooks import RecordingHooks


@pytest.fixture(scope="session")
def build_engine(tiny_model: Callable[..., Path]) -> Callable[..., Any]:
    """Return build(family=…, problem_type=…, num_labels=…, lora={…}, training={…}, precision=…) -> GeneralEngine.

    Its rank is 2 and its LoRA dropout the default one; `lora` and `training` change the configuration.
    """

    def build(
        family: str = "distilbert",
        *,
        lora: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
        **kind: Any,
    ) -> Any:
        changed = {"r": 2, "lora_dropout": 0.1, **(lora or {})}
        return build_general(configure(tiny_model(family), lora=changed, **(training or {})), **kind)

    return build


@pytest.fixture
def hooks() -> RecordingHooks:
    return RecordingHooks()
