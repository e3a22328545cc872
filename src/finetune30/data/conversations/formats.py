"""What a row's columns say: which format it has, and the conversation in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from finetune30.data.conversations.conversation import (
    ASSISTANT,
    EXPECTED,
    SYSTEM,
    USER,
    Conversation,
    Message,
    find_canonical,
)
from finetune30.data.conversations.faults import ConversationFault
from finetune30.data.conversations.json_texts import json_fix, read_json
from finetune30.data.conversations.messages import BROKEN, ROLE_KEYS, is_turns, read_messages, read_tools
from finetune30.data.conversations.roles import find_role

#: Names of columns without case, spaces and dashes, most telling first.
MESSAGES = ("messages", "conversations", "conversation")
SYSTEMS, TOOLS, HISTORY = ("system", "systemprompt", "systemmessage"), ("tools", "functions"), ("history",)
TEXTS = ("text", "content", "body", "document", "passage")
_QUESTIONS = ("question", "query", "instruction", "prompt", "input", "problem")
_ANSWERS = ("answer", "response", "output", "completion", "solution", "reply")
_CONTEXTS = ("context", "input")
#: Format -> names of the columns that it asks by and answers by; of a format without answers one tuple.
COLUMNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "messages": (MESSAGES,),
    "sharegpt": (MESSAGES,),
    "alpaca": (("instruction",), ("output",)),
    "prompt_completion": (("prompt",), ("completion",)),
    "question_answer": (_QUESTIONS, _ANSWERS),
    "text": (TEXTS,),
}
#: Columns that stand beside them.
_BESIDE = {
    "messages": (*TOOLS, *SYSTEMS, EXPECTED),
    "sharegpt": (*TOOLS, *SYSTEMS, EXPECTED),
    "alpaca": ("input", *HISTORY, *SYSTEMS, EXPECTED),
    "prompt_completion": (*TOOLS, EXPECTED),
    "question_answer": (*_CONTEXTS, *SYSTEMS, EXPECTED),
}


@dataclass(frozen=True)
class Found:
    """The format of a row, and the columns by which it is read (names as the row has them)."""

    format: str
    main: tuple[str, ...]
    beside: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.main, *self.beside)


@dataclass
class RowReader:
    """Reads rows; `formats` are those that may occur.

    `named`: the columns of question and answer, or of text or messages, that somebody chose (`()`: none).
    `drops_nulls`: the table gave every object the keys of all others, as Arrow does.
    `unread` collects keys of messages; `literal` counts cells, by column, whose text is a JSON object or list.
    """

    formats: Sequence[str] = tuple(COLUMNS)
    named: tuple[str, ...] = ()
    drops_nulls: bool = False
    unread: set[str] = field(default_factory=set)
    literal: Counter[str] = field(default_factory=Counter)

    def find(self, cells: Mapping[str, str | None]) -> Found | None:
        """Return the format of a row by the columns that hold something, None where no format has such columns.

        An answer may be empty, which is then a fault of the row.
        """
        if self.named:
            return self._named(cells)
        by_name: dict[str, str] = {}
        for name in cells:
            by_name.setdefault(plain(name), name)
        filled = {name for name, column in by_name.items() if (cells[column] or "").strip()}
        for answers in (filled, by_name.keys()):
            for kind in self.formats:
                asked, *replies = COLUMNS[kind]
                question = next((name for name in asked if name in filled), None)
                if question is None:
                    continue
                answer = next((n for names in replies for n in names if n in answers and n != question), None)
                if replies and answer is None:
                    continue
                main = (question, answer) if answer else (question,)
                beside = [name for name in _BESIDE.get(kind, ()) if name in filled and name not in main]
                return Found(kind, tuple(by_name[n] for n in main), tuple(by_name[name] for name in beside))
        return None

    def read(self, cells: Mapping[str, str | None], found: Found) -> tuple[str, Conversation]:
        """Return the format, told more closely, and the conversation. Raises ConversationFault."""
        told, conversation = self._read(cells, found)
        column = next((name for name in found.beside if plain(name) == EXPECTED), None)
        if column is None:
            return told, conversation
        return told, replace(conversation, expected=_expected(cells[column] or "", column))

    def _read(self, cells: Mapping[str, str | None], found: Found) -> tuple[str, Conversation]:
        first = cells[found.main[0]] or ""
        beside = {plain(name): cells[name] or "" for name in found.beside}
        if found.format in ("messages", "sharegpt"):
            return self._of_messages(first, found.main[0], beside)
        if found.format == "text":
            if tuple(self.formats) != ("text",) and self._turns_of(first, found.main[0]):
                return self._of_messages(first, found.main[0], beside)
            return "text", Conversation(text=first)
        second = cells[found.main[1]] or ""
        turns = self._turns_of(first, found.main[0]), self._turns_of(second, found.main[1])
        if any(turns):
            return "messages", self._of_halves(first, second, turns, beside)
        if found.format == "prompt_completion":
            return "prompt_completion", Conversation(prompt=first, completion=second)
        return found.format, self._of_pair(first, second, beside)

    def _named(self, cells: Mapping[str, str | None]) -> Found | None:
        if len(self.named) > 1:
            kind = "prompt_completion" if "prompt_completion" in self.formats[:1] else "question_answer"
            return Found(kind, self.named) if (cells.get(self.named[0]) or "").strip() else None
        text = (cells.get(self.named[0]) or "").strip()
        if not text:
            return None
        named_text = tuple(self.formats) == ("text",)
        kind = "text" if named_text or not text.startswith(("[", "{")) else "messages"
        by_name = {plain(name): name for name in cells}
        beside = [by_name[name] for name in _BESIDE.get(kind, ()) if (cells.get(by_name.get(name, "")) or "").strip()]
        return Found(kind, self.named, tuple(beside))

    def _of_messages(self, text: str, column: str, beside: Mapping[str, str]) -> tuple[str, Conversation]:
        if (stored := find_canonical(text)) is not None:  # its nulls are its own, whatever file it was kept in
            return stored.kind, stored
        value = self._parse(text, column)
        if isinstance(value, dict):
            return self._of_object(value, column)
        messages = read_messages(value, self.unread)
        kind = "sharegpt" if isinstance(value[0], dict) and "from" in value[0] else "messages"
        return kind, Conversation((*_system(beside, messages), *messages), self._tools(beside))

    def _of_object(self, tree: dict[str, Any], column: str) -> tuple[str, Conversation]:
        """Read a row that is one object: the canonical form, or the columns of a row that could not be read."""
        if tree.keys() == {"prompt", "completion"} and all(isinstance(value, str) for value in tree.values()):
            return "prompt_completion", Conversation(prompt=tree["prompt"], completion=tree["completion"])
        if tree.keys() == {"text"} and isinstance(tree["text"], str):
            return "text", Conversation(text=tree["text"])
        _refuse_single(tree, column)
        if "messages" in tree:
            return "messages", Conversation(read_messages(tree["messages"], self.unread), read_tools(tree.get("tools")))
        texts = {key: value for key, value in tree.items() if isinstance(value, str)}
        # Not as a plain text: a key such as `content` is no word that everything in it is to be learnt.
        reader = RowReader(tuple(kind for kind in COLUMNS if kind != "text"))
        found = reader.find(texts) if len(texts) == len(tree) else None
        if found is None or column in found.main:
            raise ConversationFault(BROKEN, fix=f"the object in {column!r} has no messages; write a list of messages")
        return self.read(texts, found)

    def _of_halves(
        self, first: str, second: str, turns: tuple[list[Any] | None, list[Any] | None], beside: Mapping[str, str]
    ) -> Conversation:
        """Join a prompt and a completion of which one at least is a list of messages."""
        before, after = turns
        asked = read_messages(before, self.unread) if before else (Message(USER, first),)
        answer = read_messages(after, self.unread, len(asked) + 1) if after else (Message(ASSISTANT, second),)
        return Conversation((*_system(beside, asked), *asked, *answer), self._tools(beside))

    def _of_pair(self, question: str, answer: str, beside: Mapping[str, str]) -> Conversation:
        context = next((beside[name] for name in _CONTEXTS if beside.get(name)), "")
        asked = f"{question}\n\n{context}" if context else question
        earlier = [
            Message(role, text)
            for pair in self._history(beside.get("history", ""))
            for role, text in zip((USER, ASSISTANT), pair, strict=True)
        ]
        turns = (*earlier, Message(USER, asked), Message(ASSISTANT, answer))
        return Conversation((*_system(beside, ()), *turns))

    def _history(self, text: str) -> list[tuple[str, str]]:
        if not text.strip():
            return []
        pairs = self._parse(text, "history")
        if not isinstance(pairs, list) or not all(
            isinstance(pair, list)
            and len(pair) == len(("question", "answer"))
            and all(isinstance(s, str) for s in pair)
            for pair in pairs
        ):
            raise ConversationFault(BROKEN, fix="'history' is no list of pairs; write [[question, answer], …]")
        return [(pair[0], pair[1]) for pair in pairs]

    def _tools(self, beside: Mapping[str, str]) -> str | None:
        text = next((beside[name] for name in TOOLS if name in beside), None)
        if text is None or not self.drops_nulls:
            return read_tools(text)
        return read_tools(self._parse(text, "tools"))

    def _turns_of(self, text: str, column: str) -> list[Any] | None:
        """Return the list of messages that a text is, None where it is a plain text. Raises ConversationFault."""
        if not text.lstrip().startswith(("[", "{")):
            return None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
        _refuse_single(value, column)
        if is_turns(value):
            return list(self._parse(text, column, drops_nulls=False))
        self.literal[column] += 1
        return None

    def _parse(self, text: str, column: str, *, drops_nulls: bool = True) -> Any:
        try:
            value = read_json(text)
        except (ValueError, RecursionError) as error:
            fix = f"{column!r} holds no JSON; write the list of messages with json.dumps"
            raise ConversationFault(BROKEN, fix=json_fix(error, repr(column), fix)) from None
        return without_nulls(value) if drops_nulls and self.drops_nulls else value


def plain(name: str) -> str:
    """Return a column's name as `COLUMNS` spell it."""
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def without_nulls(value: Any) -> Any:
    """Return a tree without the keys whose value is null."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _refuse_single(value: Any, column: str) -> None:
    """Raise ConversationFault for one message that stands where a list of them belongs, or a text."""
    if isinstance(value, dict) and is_turns([value]):
        name = next(value[key] for key in ROLE_KEYS if key in value)
        if isinstance(name, str) and find_role(name) is not None:
            fix = f"the object in {column!r} is one message ({name[:40]}); write a list of messages"
            raise ConversationFault(BROKEN, fix=fix)


def _expected(text: str, column: str) -> tuple[str, ...]:
    """Return the texts of a cell: a JSON list of them, or the cell itself."""
    if not text.lstrip().startswith("["):
        return (text.strip(),)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not found or not all(isinstance(key, str) and key.strip() for key in found):
        raise ConversationFault(BROKEN, fix=f"{column!r} is no list of texts; write [text, …], or one text")
    return tuple(found)


def _system(beside: Mapping[str, str], messages: Sequence[Message]) -> tuple[Message, ...]:
    text = next((beside[name] for name in SYSTEMS if name in beside), "")
    if not text or (messages and messages[0] == Message(SYSTEM, text)):
        return ()
    return (Message(SYSTEM, text),)
