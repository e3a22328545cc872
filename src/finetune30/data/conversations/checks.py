"""What may be wrong with a conversation that can be read: who speaks when, answers, calls of tools, marks."""

from __future__ import annotations

import re

from finetune30.data.conversations.calls import CALLS, check_calls
from finetune30.data.conversations.conversation import ASSISTANT, SYSTEM, TOOL, USER, Conversation, Message
from finetune30.data.conversations.faults import ConversationFault

#: Texts that tokenizers have special tokens for.
_MARKS = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<｜[^｜<>]{1,40}｜>|</?s>|\[/?INST\]|<</?SYS>>|</?(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"
    r"|\[(?:CLS|SEP|PAD|MASK|UNK)\]|<end_of_text>|\[/?(?:TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS)\]"
)


def find_fault(conversation: Conversation, *, allow_empty: bool = False) -> ConversationFault | None:
    """Return the first fault for which a row cannot be trained on, None where there is none."""
    try:
        if conversation.kind == "prompt_completion" and not allow_empty:
            _require_completion(conversation)
        if conversation.kind == "messages":
            _check_order(conversation.messages)
            if not allow_empty:
                _check_contents(conversation.messages)
            check_calls(conversation)
    except ConversationFault as fault:
        return fault
    return None


def find_mark(conversation: Conversation) -> str | None:
    """Return what to say about the first text that looks like a special token, None where there is none."""
    for turn, text in enumerate(conversation.contents, start=1):
        if (mark := _MARKS.search(text)) is not None:
            fix = f"turn {turn}: {mark[0]!r} looks like a special token; it is read as plain text, so remove it"
            return fix
    return None


def _require_completion(conversation: Conversation) -> None:
    if not str(conversation.completion).strip():
        raise ConversationFault("empty_answer", fix="the completion is empty; fill it in, or remove the row")


def _check_order(messages: tuple[Message, ...]) -> None:
    """System first if at all, then user and assistant in turn; tools answer calls; the assistant speaks last."""
    before: Message | None = None
    for turn, message in enumerate(messages, start=1):
        if message.role == SYSTEM and before is not None:
            fix = f"turn {turn} ({SYSTEM}): it stands behind other turns; there is one at most, in front"
            raise ConversationFault("role_order", fix=fix)
        if message.role in (USER, ASSISTANT) and (wrong := _out_of_turn(turn, message, before)):
            raise ConversationFault("role_order", fix=wrong)
        if message.role == TOOL and not (before is not None and (before.role == TOOL or before.tool_calls is not None)):
            fix = f"turn {turn} ({TOOL}): it answers no call; put the call in front, or remove the turn"
            raise ConversationFault(CALLS, fix=fix)
        if message.role != TOOL and before is not None and before.role == ASSISTANT and before.tool_calls is not None:
            fix = f"turn {turn} ({message.role}): the calls in front of it have no answer; add it, or remove the calls"
            raise ConversationFault(CALLS, fix=fix)
        before = message
    if before is not None and before.role != ASSISTANT:
        fix = f"turn {len(messages)} ({before.role}): no answer follows; add it, or remove the turn"
        raise ConversationFault("empty_answer", fix=fix)


def _out_of_turn(turn: int, message: Message, before: Message | None) -> str | None:
    if message.role == ASSISTANT and (before is None or before.role == SYSTEM):
        return f"turn {turn} ({ASSISTANT}): nobody asked before; the user speaks first"
    calls = before is not None and before.tool_calls is not None
    if before is not None and message.role == before.role and not calls:
        return f"turn {turn} ({message.role}): it follows one of the same role; join them"
    if message.role == USER and before is not None and before.role == TOOL:
        return f"turn {turn} ({USER}): it follows a tool; the assistant speaks in between"
    return None


def _check_contents(messages: tuple[Message, ...]) -> None:
    for turn, message in enumerate(messages, start=1):
        if message.content.strip() or message.tool_calls is not None or message.role == TOOL:
            continue
        if message.role == ASSISTANT:
            fix = f"turn {turn} ({ASSISTANT}): empty answer; fill it in, or remove the row"
            raise ConversationFault("empty_answer", fix=fix)
        if message.role == USER:
            fix = f"turn {turn} ({USER}): nothing is asked; fill it in, or remove the row"
            raise ConversationFault("empty_text", fix=fix)
