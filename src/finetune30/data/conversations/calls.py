"""Calls of tools in a conversation: each of a tool that is declared, with its arguments, and answered once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune30.data.conversations.conversation import ASSISTANT, TOOL, Conversation, Message
from finetune30.data.conversations.faults import ConversationFault
from finetune30.data.conversations.json_texts import json_fix, read_json

CALLS = "broken_tool_call"


@dataclass(frozen=True)
class _Call:
    """A call that was made: the name of its tool, and its id where it has one."""

    name: str
    id: str | None


def check_calls(conversation: Conversation) -> None:
    """Raise ConversationFault for a call that is wrong, or that has no result or several.

    The call of the last turn needs none: what a model is to learn there is to make it.
    """
    declared: dict[str, Sequence[str]] = {}
    for name, required in _tools(conversation):
        declared.setdefault(name, required)
    made: list[_Call] = []
    waiting: list[_Call] = []
    for turn, message in enumerate(conversation.messages, start=1):
        if message.role == TOOL:
            waiting = _without_answered(waiting, made, message, turn)
            continue
        if waiting:
            name = waiting[0].name[:40]
            fix = f"turn {turn} ({message.role}): the call of {name!r} in front of it has no result; add it"
            raise ConversationFault(CALLS, fix=fix)
        if message.tool_calls is not None:
            made = _read_calls(message, turn, declared)
            waiting = list(made)


def list_tools(conversation: Conversation) -> list[str]:
    """Return the names of the tools that a conversation declares."""
    return [name for name, _ in _tools(conversation)]


def _without_answered(waiting: list[_Call], made: Sequence[_Call], result: Message, turn: int) -> list[_Call]:
    """Return the calls that wait for a result behind this one. Raises ConversationFault."""
    wanted = result.tool_call_id
    by_id = wanted is not None and any(call.id is not None for call in made)
    if by_id and all(call.id != wanted for call in made):
        fix = f"turn {turn} ({TOOL}): it answers the call {str(wanted)[:40]!r}, which was not made"
        raise ConversationFault(CALLS, fix=fix)
    place = next((i for i, call in enumerate(waiting) if not by_id or call.id == wanted), None)
    if place is None:
        fix = f"turn {turn} ({TOOL}): the call that it answers has a result already; keep one for each call"
        raise ConversationFault(CALLS, fix=fix)
    if wanted is None and _count_results(result.content) == len(waiting):
        return []
    return [*waiting[:place], *waiting[place + 1 :]]


def _count_results(content: str) -> int:
    """Return how many results a turn without an id holds: those of several calls may stand in one JSON list."""
    if not content.lstrip().startswith("["):
        return 1
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return 1
    return len(found) if isinstance(found, list) else 1


def _read_calls(message: Message, turn: int, declared: Mapping[str, Sequence[str]]) -> list[_Call]:
    calls = json.loads(str(message.tool_calls))
    if message.role != ASSISTANT or not isinstance(calls, list):
        fix = f"turn {turn} ({message.role}): the calls are no list, or not the assistant's"
        raise ConversationFault(CALLS, fix=fix)
    found = []
    for call in calls:
        name = _check_call(call, turn, declared)
        found.append(_Call(name, call["id"] if isinstance(call.get("id"), str) else None))
    return found


def _check_call(call: Any, turn: int, declared: Mapping[str, Sequence[str]]) -> str:
    """Return the name of the called tool. Raises ConversationFault."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        fix = f"turn {turn} ({ASSISTANT}): a call names no tool; write an object with name and arguments"
        raise ConversationFault(CALLS, fix=fix)
    arguments = function.get("arguments", {})
    fix = f"turn {turn} ({ASSISTANT}): the arguments of {function['name'][:40]!r} are no JSON object"
    if isinstance(arguments, str):
        try:
            arguments = read_json(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError) as error:
            raise ConversationFault(CALLS, fix=json_fix(error, f"turn {turn} ({ASSISTANT})", fix)) from None
    if not isinstance(arguments, dict):
        raise ConversationFault(CALLS, fix=fix)
    name = str(function["name"])
    if name not in declared:
        fix = f"turn {turn} ({ASSISTANT}): no tool {name[:40]!r} is declared; add it to the row's tools"
        raise ConversationFault(CALLS, fix=fix)
    lacking = next((argument for argument in declared[name] if argument not in arguments), None)
    if lacking is not None:
        fix = f"turn {turn} ({ASSISTANT}): the call of {name[:40]!r} lacks the argument {lacking[:40]!r}; add it"
        raise ConversationFault(CALLS, fix=fix)
    return name


def _tools(conversation: Conversation) -> Iterator[tuple[str, list[str]]]:
    """Return name and required arguments of declared tools, in OpenAI's form or the bare one."""
    tools = [] if conversation.tools is None else json.loads(conversation.tools)
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            parameters = function.get("parameters")
            required = parameters.get("required") if isinstance(parameters, dict) else None
            names = required if isinstance(required, list) else ()
            yield function["name"], [name for name in names if isinstance(name, str)]
