"""Where what messages hold stands in a rendering: told by rendering again with markers in its place.

What stands between markers is the template's, what they stand for is the messages'. Where a template looks into
contents (it cuts thoughts out of earlier answers, say), markers mislead it: then thoughts and what is said behind them
are marked apart, then one part alone, and what is still not told is looked for between its neighbours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from finetune30.modeling.conversations.template import ChatTemplate, Message, TemplateRefusalError, unused_marker

_THOUGHTS = ("<think>", "</think>")
Kind = Literal["content", "thought", "call"]


@dataclass(frozen=True)
class Span:
    """Characters `start` to `stop` of a rendering."""

    start: int
    stop: int


@dataclass(frozen=True)
class Part:
    """A text that the message at `index` holds: what is said, what was thought before, or the name of a called tool.

    `weight`: its characters, and those of the arguments of a call.
    """

    index: int
    kind: Kind
    text: str
    weight: int


@dataclass(frozen=True)
class Placed:
    """Parts in the order of the messages, and where each stands; no span where the template left it out.

    `is_outlined`: all were told at once, so nothing but they themselves hangs on what they say.
    """

    parts: tuple[Part, ...]
    spans: tuple[tuple[Span, ...], ...]
    is_outlined: bool = False

    @property
    def contents(self) -> tuple[Span, ...]:
        """What is said and thought, in the order of the messages."""
        pairs = zip(self.parts, self.spans, strict=True)
        return tuple(span for part, spans in pairs if part.kind != "call" for span in spans)

    @property
    def dropped(self) -> int:
        """Characters of parts that are not in the rendering: of a text that stands there shorter, what it lacks."""
        pairs = zip(self.parts, self.spans, strict=True)
        return sum(part.weight - _shown(part, spans) for part, spans in pairs)

    def of(self, index: int, *kinds: Kind) -> tuple[Span, ...]:
        """Return where the message at `index` stands, all of it or what is of the given kinds."""
        return tuple(
            span for kind, spans in self._by_message.get(index, ()) if not kinds or kind in kinds for span in spans
        )

    @cached_property
    def _by_message(self) -> dict[int, list[tuple[Kind, tuple[Span, ...]]]]:
        found: dict[int, list[tuple[Kind, tuple[Span, ...]]]] = {}
        for part, spans in zip(self.parts, self.spans, strict=True):
            found.setdefault(part.index, []).append((part.kind, spans))
        return found


def _shown(part: Part, spans: Sequence[Span]) -> int:
    if part.kind == "call" and spans:
        return part.weight
    return min(part.weight, max((span.stop - span.start for span in spans), default=0))


def place_parts(
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None,
    template: ChatTemplate,
    whole: str,
    *,
    asks: bool = False,
) -> Placed:
    """Return where what the messages hold stands in `whole`, their rendering."""
    placing = _Placing(messages, tools, template, whole, asks)
    whole_contents, apart = _list_parts(messages, apart=False), _list_parts(messages, apart=True)
    for parts in (whole_contents, apart) if apart != whole_contents else (apart,):
        if (spans := placing.walk(parts, in_any_form=parts is apart)) is not None:
            return Placed(parts, spans, is_outlined=True)
    alone = [placing.place_alone(apart, number) for number in range(len(apart))]
    return Placed(apart, placing.search(apart, alone))


def _list_parts(messages: Sequence[Message], *, apart: bool) -> tuple[Part, ...]:
    """Return the parts of messages; `apart`: thoughts that stand in a content are a part of their own."""
    parts = []
    for index, message in enumerate(messages):
        said = str(message.get("content") or "")
        thought, tail = _split_thought(said) if apart else ("", said)
        texts: list[tuple[Kind, str]] = [("thought", str(message.get("reasoning_content") or "")), ("thought", thought)]
        parts += [Part(index, kind, text, len(text.strip())) for kind, text in (*texts, ("content", tail)) if text]
        for call in message.get("tool_calls") or ():
            name, arguments = _called(call)
            if name:
                parts.append(Part(index, "call", name, len(name) + len(arguments)))
    return tuple(part for part in parts if part.text.strip())


def _split_thought(said: str) -> tuple[str, str]:
    """Return what was thought before something was said, and what was said."""
    before, found, tail = said.rpartition(_THOUGHTS[1])
    return (before.rpartition(_THOUGHTS[0])[2], tail) if found else ("", said)


def _called(call: Mapping[str, Any]) -> tuple[str, str]:
    function = call.get("function", call)
    arguments = function.get("arguments", "")
    return str(function.get("name") or ""), arguments if isinstance(arguments, str) else json.dumps(arguments)


@dataclass(frozen=True)
class _Placing:
    """A conversation and its rendering."""

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] | None
    template: ChatTemplate
    whole: str
    asks: bool

    def walk(self, parts: Sequence[Part], *, in_any_form: bool) -> tuple[tuple[Span, ...], ...] | None:
        """Mark all parts at once; None where the rendering with markers is not that of the messages otherwise.

        `in_any_form`: a part may stand there as something else than it is.
        """
        pieces = self._outline(parts, range(len(parts)))
        if pieces is None:
            return None
        spans: list[list[Span]] = [[] for _ in parts]
        place = 0
        between: str | int
        for between, number in zip(pieces[::2], [*pieces[1::2], None], strict=True):
            if not self.whole.startswith(str(between), place):
                return None
            place += len(str(between))
            if number is None:
                break
            part = parts[int(number)]
            shown = next((form for form in _forms(part.text) if self.whole.startswith(form, place)), None)
            if shown is None:
                found = self.place_alone(parts, int(number)) if in_any_form else None
                if not found or found[0].start != place:
                    return None
                shown = self.whole[place : found[0].stop]
            spans[int(number)].append(Span(place, place + len(shown)))
            place += len(shown)
        return tuple(map(tuple, spans)) if place == len(self.whole) else None

    def place_alone(self, parts: Sequence[Part], number: int) -> tuple[Span, ...] | None:
        """Mark one part alone, so that any form of it is found; () where it is left out, None where nothing tells."""
        pieces = self._outline(parts, [number])
        if pieces is None:
            return None
        first, last = str(pieces[0]), str(pieces[-1])
        if len(pieces) == 1:
            return () if first == self.whole else None
        if not (self.whole.startswith(first) and self.whole.endswith(last)):
            return None
        start, stop = len(first), len(self.whole) - len(last)
        return (Span(start, stop),) if start < stop else None

    def search(self, parts: Sequence[Part], told: Sequence[tuple[Span, ...] | None]) -> tuple[tuple[Span, ...], ...]:
        """Look for what is not told yet between its neighbours; an answer behind what it would be asked with."""
        found: list[tuple[Span, ...]] = []
        place = 0
        for number, part in enumerate(parts):
            known = told[number]
            if known is None:
                later = [spans[0].start for spans in told[number + 1 :] if spans]
                first = max(place, self._asked_until(part.index))
                known = self._find(part.text.strip(), first, min(later, default=len(self.whole)))
            found.append(known)
            place = max([place, *(span.stop for span in known)])
        return tuple(found)

    def _asked_until(self, index: int) -> int:
        if self.messages[index]["role"] != "assistant" or not index:
            return 0
        try:
            before = self.template.render(self.messages[:index], self.tools, asks=True)
        except TemplateRefusalError:
            return 0
        return len(before) if self.whole.startswith(before) else 0

    def _find(self, text: str, start: int, stop: int) -> tuple[Span, ...]:
        place = self.whole.find(text, start, stop)
        return (Span(place, place + len(text)),) if place >= 0 else ()

    def _outline(self, parts: Sequence[Part], marked: Sequence[int]) -> list[str | int] | None:
        """Render with markers for some parts: texts of the template, and between them numbers of parts."""
        marker = unused_marker([*(part.text for part in parts), self.whole])
        marks = {number: marker.format(number) for number in marked}
        try:
            text = self.template.render(_mark(self.messages, parts, marks), self.tools, asks=self.asks)
        except TemplateRefusalError:
            return None
        pieces = re.split(marker.format(r"(\d+)"), text)
        return [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)]


def _forms(text: str) -> tuple[str, ...]:
    """Return a text as templates write it: as it is, without outer white space, or as JSON."""
    return (text, text.rstrip(), text.lstrip(), text.strip(), json.dumps(text, ensure_ascii=False)[1:-1])


def _mark(messages: Sequence[Message], parts: Sequence[Part], marks: Mapping[int, str]) -> list[Message]:
    """Return the messages with markers in the place of the parts that have one."""
    marked: list[dict[str, Any]] = [dict(message) for message in messages]
    called = [0] * len(messages)
    for number, part in enumerate(parts):
        message, mark = marked[part.index], marks.get(number)
        if part.kind == "call":
            calls = list(message["tool_calls"])
            place = next(i for i in range(called[part.index], len(calls)) if _called(calls[i])[0].strip())
            called[part.index] = place + 1
            if mark is not None:
                calls[place] = _rename(calls[place], mark)
                message["tool_calls"] = calls
        elif mark is not None:
            _set_text(message, part, mark)
    return list(marked)


def _set_text(message: dict[str, Any], part: Part, mark: str) -> None:
    said = str(message.get("content") or "")
    if part.kind == "thought" and message.get("reasoning_content") == part.text:
        message["reasoning_content"] = mark
    elif part.kind == "thought":
        head, closing, tail = said.rpartition(_THOUGHTS[1])
        message["content"] = head.removesuffix(part.text) + mark + closing + tail
    else:
        message["content"] = said.removesuffix(part.text) + mark


def _rename(call: Mapping[str, Any], name: str) -> dict[str, Any]:
    function = call.get("function")
    return {**call, "name": name} if function is None else {**call, "function": {**function, "name": name}}
