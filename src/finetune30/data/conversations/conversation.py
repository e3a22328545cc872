"""The canonical form of a conversation: JSON text in one column, whatever format a row had."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Kind = Literal["messages", "prompt_completion", "text"]

SYSTEM, USER, ASSISTANT, TOOL = "system", "user", "assistant", "tool"
ROLES = (SYSTEM, USER, ASSISTANT, TOOL)
#: The key, and the column, of what an answer has to hold.
EXPECTED = "expected"
#: Keys of a message beside role and content, in the order in which they are written.
_FURTHER = ("name", "tool_calls", "tool_call_id", "reasoning_content", "weight")


@dataclass(frozen=True)
class Message:
    """One turn.

    `tool_calls` is JSON text, a list of calls, as the row has it: no other row's keys are among its own. `weight` 0:
    the turn is read and not learnt; None: what is learnt of it is the configuration's to say.
    """

    role: str
    content: str
    name: str | None = None
    tool_calls: str | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    weight: Literal[0] | None = None

    def line(self) -> str:
        """Return role and text, and the calls as JSON where there are some."""
        said = (self.content, self.tool_calls or "")
        return f"{self.role}: {' '.join(part for part in said if part)}"

    def as_tree(self) -> dict[str, Any]:
        """Return the JSON object that templates take: role and content, and of the other keys those that are there."""
        tree: dict[str, Any] = {"role": self.role, "content": self.content}
        for key in _FURTHER:
            if (value := getattr(self, key)) is not None:
                tree[key] = json.loads(value) if key == "tool_calls" else value
        return tree


@dataclass(frozen=True)
class Conversation:
    """What a row asks and answers, in one of three ways.

    `messages` with `tools` (JSON text, a list of declarations; None: none); `prompt` and `completion`, joined as they
    stand, without a chat template; or `text`, of which every token is asked. `expected` are texts of which the last
    answer has to hold one, however it is worded; a model never sees them.
    """

    messages: tuple[Message, ...] = ()
    tools: str | None = None
    prompt: str | None = None
    completion: str | None = None
    text: str | None = None
    expected: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """Which of the three it is."""
        if self.text is not None:
            return "text"
        return "messages" if self.completion is None else "prompt_completion"

    @property
    def contents(self) -> tuple[str, ...]:
        """All texts that people or models wrote, in order; the JSON of tools and calls is none."""
        if self.kind == "messages":
            return tuple(message.content for message in self.messages)
        return tuple(part for part in (self.prompt, self.completion, self.text) if part is not None)

    def with_contents(self, contents: Sequence[str]) -> Conversation:
        """Return the conversation with other texts in the places of `contents`."""
        if self.kind == "messages":
            pairs = zip(self.messages, contents, strict=True)
            return replace(self, messages=tuple(replace(message, content=text) for message, text in pairs))
        if self.kind == "text":
            (text,) = contents
            return replace(self, text=text)
        prompt, completion = contents
        return replace(self, prompt=prompt, completion=completion)

    @property
    def answers(self) -> tuple[str, ...]:
        """What a model is to say: the turns of the assistant, the completion, or the whole text."""
        if self.kind == "messages":
            return tuple(message.content for message in self.messages if message.role == ASSISTANT)
        return self.contents[-1:]

    def lines(self) -> list[str]:
        """Return what a person reads: a line a turn, with its role; tools and calls as JSON."""
        if self.kind == "text":
            return [str(self.text)]
        if self.kind == "prompt_completion":
            return [f"prompt: {self.prompt}", f"completion: {self.completion}"]
        tools = [] if self.tools is None else [f"tools: {self.tools}"]
        return [*tools, *(message.line() for message in self.messages)]

    def split_answer(self) -> tuple[str, str]:
        """Return what comes before the last answer, and that answer, as lines.

        Of a plain text everything is the first; the second is empty.
        """
        if self.kind == "text" or (self.kind == "messages" and self.messages[-1].role != ASSISTANT):
            return "\n".join(self.lines()), ""
        *before, answer = self.lines()
        return "\n".join(before), answer


def dump(conversation: Conversation) -> str:
    """Return the canonical JSON text: the same conversation is always the same text."""
    tree: dict[str, Any]
    if conversation.kind == "text":
        tree = {"text": conversation.text}
    elif conversation.kind == "prompt_completion":
        tree = {"prompt": conversation.prompt, "completion": conversation.completion}
    else:
        tree = {"messages": [message.as_tree() for message in conversation.messages]}
    if conversation.tools is not None:
        tree["tools"] = json.loads(conversation.tools)
    if conversation.expected:
        tree[EXPECTED] = list(conversation.expected)
    return write_json(tree)


def load(text: str) -> Conversation:
    """Read what `dump` wrote. Raises ValueError for anything else."""
    tree = json.loads(text)
    if not isinstance(tree, dict):
        raise ValueError("no object")
    expected = _load_expected(tree.pop(EXPECTED)) if EXPECTED in tree else ()
    if tree.keys() == {"text"}:
        return Conversation(text=_text(tree["text"]), expected=expected)
    if tree.keys() == {"prompt", "completion"}:
        return Conversation(prompt=_text(tree["prompt"]), completion=_text(tree["completion"]), expected=expected)
    if not {"messages"} <= tree.keys() <= {"messages", "tools"} or not isinstance(tree["messages"], list):
        raise ValueError("no messages")
    if not tree["messages"]:
        raise ValueError("no message")
    tools = write_json(tree["tools"]) if "tools" in tree else None
    return Conversation(tuple(_load_message(message) for message in tree["messages"]), tools, expected=expected)


def find_canonical(text: str) -> Conversation | None:
    """Return the conversation that a text in canonical form is, None where it is in any other form."""
    try:
        found = load(text)
    except (ValueError, RecursionError):
        return None
    return found if dump(found) == text else None


def write_json(value: Any) -> str:
    """Return JSON as rows hold it: without spaces, in the characters of its texts, keys in their order."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _load_expected(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("no list of texts")
    return tuple(_text(text) for text in value)


def _load_message(tree: Any) -> Message:
    if not isinstance(tree, Mapping) or not {"role", "content"} <= tree.keys() <= {"role", "content", *_FURTHER}:
        raise ValueError("no message")
    if tree["role"] not in ROLES:
        raise ValueError("unknown role")
    return Message(
        str(tree["role"]),
        _text(tree["content"]),
        name=_text(tree["name"]) if "name" in tree else None,
        tool_calls=write_json(tree["tool_calls"]) if "tool_calls" in tree else None,
        tool_call_id=_text(tree["tool_call_id"]) if "tool_call_id" in tree else None,
        reasoning_content=_text(tree["reasoning_content"]) if "reasoning_content" in tree else None,
        weight=_no_weight(tree["weight"]) if "weight" in tree else None,
    )


def _no_weight(value: Any) -> Literal[0]:
    if value != 0 or not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("a weight other than 0 is written by leaving it out")
    return 0


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value
