"""Lists of messages as data sets write them: `role` and `content`, or `from` and `value`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from finetune30.data.conversations.conversation import ASSISTANT, Message, write_json
from finetune30.data.conversations.faults import ConversationFault
from finetune30.data.conversations.json_texts import json_fix, read_json
from finetune30.data.conversations.roles import ALIASES, CALL, find_role

#: Keys of a message: who speaks, what is said, what was thought before.
ROLE_KEYS, CONTENT_KEYS = ("role", "from"), ("content", "value")
_THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
#: Whether a turn is learnt: OpenAI's `weight`, and `train` of other trainers; 0 or 1, or true and false.
_WEIGHT_KEYS = ("weight", "train")
_READ = frozenset(
    {
        *(*ROLE_KEYS, *CONTENT_KEYS, *_THOUGHT_KEYS, *_WEIGHT_KEYS),
        *("name", "tool_calls", "function_call", "tool_call_id"),
    }
)
#: Keys of a part of a message that holds something else than text.
_TEXT_PARTS = ("text", "input_text", "output_text")

BROKEN = "broken_conversation"


def is_turns(value: Any) -> bool:
    """Say whether a value is a list of messages, judging by keys alone."""
    return isinstance(value, list) and bool(value) and all(_is_message(item) for item in value)


def read_messages(value: Any, unread: set[str], first_turn: int = 1) -> tuple[Message, ...]:
    """Return the messages of a list; keys that are not read are added to `unread`. Raises ConversationFault."""
    if not isinstance(value, list) or not value:
        raise ConversationFault(BROKEN, fix="there is no list of messages; write one, with role and content in each")
    return tuple(_read_message(item, turn, unread) for turn, item in enumerate(value, start=first_turn))


def read_tools(value: Any) -> str | None:
    """Return declared tools as JSON text, None where there are none. Raises ConversationFault."""
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            value = read_json(value)
        except (ValueError, RecursionError) as error:
            fix = "the tools are no JSON; write a list of tools"
            raise ConversationFault("broken_tool_call", fix=json_fix(error, "the tools", fix)) from None
    if value is None or value == []:
        return None
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise ConversationFault("broken_tool_call", fix="the tools are no list of objects; write a list of tools")
    return write_json(value)


def _is_message(item: Any) -> bool:
    said = (*CONTENT_KEYS, "tool_calls", "function_call")
    return isinstance(item, Mapping) and all(any(key in item for key in keys) for keys in (ROLE_KEYS, said))


def _read_message(item: Any, turn: int, unread: set[str]) -> Message:
    if not isinstance(item, Mapping):
        raise ConversationFault(BROKEN, fix=f"turn {turn}: no object with role and content")
    item = {key: value for key, value in item.items() if value is not None}  # what other rows have, in Parquet
    name = next((item[key] for key in ROLE_KEYS if key in item), None)
    if not isinstance(name, str):
        raise ConversationFault(BROKEN, fix=f"turn {turn}: it does not say who speaks; add a role")
    role = find_role(name)
    if role is None:
        listed = ", ".join(alias for alias in ALIASES if alias != CALL)
        fix = f"turn {turn}: unknown role {name[:40]!r}; use one of {listed}"
        raise ConversationFault("unknown_role", fix=fix)
    unread |= item.keys() - _READ
    weight = _weight(item, turn, role)
    content = _content(next((item[key] for key in CONTENT_KEYS if key in item), None), turn, role)
    if role == CALL:
        return Message(ASSISTANT, "", tool_calls=write_json(_calls_of_text(str(content), turn)), weight=weight)
    calls = _calls(item, turn, role)
    if content is None and calls is None:
        fix = f"turn {turn} ({role}): there is no content; add it, or remove the row"
        raise ConversationFault("empty_answer" if role == ASSISTANT else BROKEN, fix=fix)
    return Message(
        role,
        content or "",
        name=_optional(item, ("name",), turn, role),
        tool_calls=calls,
        tool_call_id=_optional(item, ("tool_call_id",), turn, role),
        reasoning_content=_optional(item, _THOUGHT_KEYS, turn, role),
        weight=weight,
    )


def _content(value: Any, turn: int, role: str) -> str | None:
    """Return a text, or the texts of parts joined as they follow each other."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        fix = f"turn {turn} ({role}): the content is no text; write it as one"
        raise ConversationFault(BROKEN, fix=fix)
    return "".join(_part(part, turn, role) for part in value)


def _part(part: Any, turn: int, role: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, Mapping) else None
    if kind in _TEXT_PARTS and isinstance(part.get("text"), str):
        return str(part["text"])
    if isinstance(kind, str) and kind not in _TEXT_PARTS:
        fix = f"turn {turn} ({role}): the content has a part of type {kind[:40]!r}; only text is read, remove the row"
        raise ConversationFault(BROKEN, fix=fix)
    fix = f"turn {turn} ({role}): a part of the content is no text; write it as one"
    raise ConversationFault(BROKEN, fix=fix)


def _optional(item: Mapping[str, Any], keys: Sequence[str], turn: int, role: str) -> str | None:
    key = next((key for key in keys if key in item), None)
    if key is None:
        return None
    if not isinstance(item[key], str):
        fix = f"turn {turn} ({role}): {key!r} is no text; write it as one"
        raise ConversationFault(BROKEN, fix=fix)
    return str(item[key])


def _weight(item: Mapping[str, Any], turn: int, role: str) -> Literal[0] | None:
    """Return 0 for a turn that is not to be learnt, None for any other. Raises ConversationFault."""
    said = {key: item[key] for key in _WEIGHT_KEYS if key in item}
    for key, value in said.items():
        if not isinstance(value, int | float) or value not in (0, 1):
            shown = write_json(value)[:40]
            fix = f"turn {turn} ({role}): {key!r} is {shown!r}; write 0 for a turn that is not to be learnt, else 1"
            raise ConversationFault(BROKEN, fix=fix)
    if len({bool(value) for value in said.values()}) > 1:
        listed = " and ".join(map(repr, said))
        raise ConversationFault(BROKEN, fix=f"turn {turn} ({role}): {listed} say different things; keep one of them")
    return None if all(said.values()) else 0


def _calls(item: Mapping[str, Any], turn: int, role: str) -> str | None:
    calls = item.get("tool_calls")
    if "function_call" in item:  # as they were written before there could be several
        calls = [{"type": "function", "function": item["function_call"]}]
    if isinstance(calls, str):
        try:
            calls = read_json(calls) if calls.strip() else None
        except (ValueError, RecursionError) as error:
            fix = f"turn {turn} ({role}): the calls are no JSON; write them as a list of objects"
            raise ConversationFault("broken_tool_call", fix=json_fix(error, f"turn {turn} ({role})", fix)) from None
    return None if calls is None or calls == [] else write_json(calls)


def _calls_of_text(text: str, turn: int) -> list[dict[str, Any]]:
    """Return the calls that a turn of the role `function_call` writes as its text: one object, or a list."""
    try:
        found = read_json(text)
    except (ValueError, RecursionError) as error:
        fix = f"turn {turn} ({ASSISTANT}): the call is no JSON; write an object with name and arguments"
        raise ConversationFault("broken_tool_call", fix=json_fix(error, f"turn {turn} ({ASSISTANT})", fix)) from None
    return [{"type": "function", "function": call} for call in (found if isinstance(found, list) else [found])]
