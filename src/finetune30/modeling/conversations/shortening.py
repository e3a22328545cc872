"""Conversations that are too long, without their oldest exchanges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune30.modeling.conversations.rendering import is_learnt


def shorter_ones(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return a conversation without its oldest exchange, without the two oldest, and so on."""
    found: list[Mapping[str, Any]] = []
    shorter = _without_oldest(row)
    while shorter is not None:
        found.append(shorter)
        shorter = _without_oldest(shorter)
    return found


def _without_oldest(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a conversation without its oldest exchange, a system message stays; None where no learnt one is left."""
    messages = row.get("messages")
    if not messages:
        return None
    head = [messages[0]] if messages[0]["role"] == "system" else []
    rest = messages[len(head) :]
    later = next((i for i, message in enumerate(rest) if i and message["role"] == "user"), None)
    if later is None or not any(is_learnt(message) for message in rest[later:]):
        return None
    return {**row, "messages": [*head, *rest[later:]]}
