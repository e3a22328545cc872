"""The names that data sets give to who speaks, and the four roles they stand for."""

from __future__ import annotations

from finetune30.data.conversations.conversation import ASSISTANT, SYSTEM, TOOL, USER

#: A turn of the assistant whose text is the JSON of a call.
CALL = "function_call"

#: Name in small letters -> role.
ALIASES: dict[str, str] = {
    **dict.fromkeys(("system", "developer"), SYSTEM),
    **dict.fromkeys(("user", "human", "prompter"), USER),
    **dict.fromkeys(("assistant", "gpt", "bing", "chatgpt", "bot", "chatbot", "model", "ai"), ASSISTANT),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "tool_response", "function_response"), TOOL),
    CALL: CALL,
}


def find_role(name: str) -> str | None:
    """Return the role that a name stands for, None where it is none."""
    return ALIASES.get(name.strip().lower())
