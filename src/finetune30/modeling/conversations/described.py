"""What a saved model's description says about conversations, without loading the model."""

from __future__ import annotations

from typing import Any


def holds_conversations(described: Any) -> bool:
    """Tell whether the model whose `labels.json` this is answers conversations: it has a chat template."""
    for key in ("targets", "chat", "template"):
        described = described.get(key) if isinstance(described, dict) else None
    return described is not None
