"""Statistics of conversations: kinds, turns, who says how much, scripts, tools."""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl

from finetune30.data.conversations.calls import list_tools
from finetune30.data.conversations.views import read_conversations, with_answers
from finetune30.data.texts import CONVERSATION
from finetune30.data.validation.set_rules import name_scripts

_EXAMPLES, _EXAMPLE_CHARACTERS = 3, 160
_TOOLS = 20


def describe_conversations(rows: pl.DataFrame) -> dict[str, Any]:
    """Return a JSON tree about rows of conversations in canonical form.

    `kinds`: rows by kind; `unreadable`: rows that are none; `turns`: rows by number of turns, as text; `roles`: role ->
    turns and characters (a prompt is the user's, a completion or text the assistant's); `scripts`: rows by script of
    their answers; `tools`: rows that declare some, calls, and rows by the tools most declared; `examples`: a list of
    lines for each.
    """
    found = [conversation for conversation in read_conversations(rows[CONVERSATION]) if conversation is not None]
    kinds, turns = Counter[str](), Counter[int]()
    roles, characters = Counter[str](), Counter[str]()
    declared, calls = Counter[str](), 0
    for conversation in found:
        kinds[conversation.kind] += 1
        turns[len(conversation.contents)] += 1
        declared.update(set(list_tools(conversation)))
        speakers = [message.role for message in conversation.messages]
        speakers = speakers or ["user", "assistant"][-len(conversation.contents) :]
        for role, text in zip(speakers, conversation.contents, strict=True):
            roles[role] += 1
            characters[role] += len(text)
        calls += sum(message.tool_calls is not None for message in conversation.messages)
    scripts = name_scripts(with_answers(rows)[CONVERSATION])
    named = Counter(script for script in scripts if script)
    return {
        "kinds": dict(kinds.most_common()),
        "unreadable": rows.height - len(found),
        "turns": {str(count): number for count, number in sorted(turns.items())},
        "roles": {role: {"turns": roles[role], "characters": characters[role]} for role in sorted(roles)},
        "scripts": dict(named.most_common()),
        "tools": {
            "rows": sum(conversation.tools is not None for conversation in found),
            "turns_with_calls": calls,
            "declared": dict(declared.most_common(_TOOLS)),
        },
        "examples": [
            [line[:_EXAMPLE_CHARACTERS] for line in conversation.lines()] for conversation in found[:_EXAMPLES]
        ],
    }
