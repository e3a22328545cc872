"""The blocks that show an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finetune30.blocks import Block
    from finetune30.data.problem import Targets


def view(metrics: Mapping[str, Any], targets: Targets) -> list[Block]:
    """Return the blocks."""
    return []
