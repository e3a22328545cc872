"""Where the beginnings of a conversation end in its rendering: up to what asks for a message, and behind a message.

A template is a program, so each beginning is rendered. In a long dialogue that takes time with the square of its turns.
Where the whole shows that all its turns are written alike, some beginnings are rendered, and the others end as they do.
What a last message says may change how it ends (a question that holds "/think", say), so each exchange is also rendered
by itself. Not found out is a template that counts messages, and ends beginnings of some sizes otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from finetune30.modeling.conversations.placing import Placed
from finetune30.modeling.conversations.template import WEIGHT, ChatTemplate, Message, TemplateRefusalError

#: Messages from which on beginnings are told by some of them.
LONG = 16
#: Keys of a message that is written as any other of its role.
_PLAIN = {"role", "content", WEIGHT}


@dataclass(frozen=True)
class _Tail:
    """What beginnings hold behind the last content; None where none of them begins as the whole does."""

    text: str | None


@dataclass(frozen=True)
class Beginnings:
    """A conversation, its rendering under a template, and where its parts stand there."""

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] | None
    template: ChatTemplate
    text: str
    placed: Placed

    def asked_until(self, index: int) -> int | None:
        """Return where the text ends that asks for the answer at `index`; None where it is no beginning of the whole.

        Raises TemplateRefusalError.
        """
        return self._end(index - 1, self._asking, self._render_asking)

    def ended_at(self, index: int) -> int | None:
        """Return where the conversation ends that the answer at `index` is the last of; None as for `asked_until`."""
        return self._end(index, self._ending, self._render_ending)

    def _end(self, last: int, tail: _Tail | None, render: Callable[[int], str | None]) -> int | None:
        if tail is None:
            beginning = render(last)
            return None if beginning is None or not self.text.startswith(beginning) else len(beginning)
        stop = self._stop_of(last)
        return stop + len(tail.text) if tail.text is not None and self.text.startswith(tail.text, stop) else None

    def _render_asking(self, last: int) -> str | None:
        return self.template.render(self.messages[: last + 1], self.tools, asks=True)

    def _render_ending(self, last: int) -> str | None:
        try:
            return self.template.render(self.messages[: last + 1], self.tools)
        except TemplateRefusalError:
            return None

    @cached_property
    def _asking(self) -> _Tail | None:
        return self._find_tail(self._render_asking, [index - 1 for index in self._answers], asks=True)

    @cached_property
    def _ending(self) -> _Tail | None:
        return self._find_tail(self._render_ending, self._answers[:-1], asks=False)

    def _find_tail(self, render: Callable[[int], str | None], places: Sequence[int], *, asks: bool) -> _Tail | None:
        """Return the tail that the first, the middle and the last beginnings have; None where they differ."""
        if not self._is_alike:
            return None
        tails = set()
        for last in (*places[:2], places[len(places) // 2], places[-1]):
            stop = self._stop_of(last)
            try:
                beginning = render(last) or ""
            except TemplateRefusalError:  # whoever asks for that one gets it
                return None
            tails.add(beginning[stop:] if beginning.startswith(self.text[:stop]) else None)
        if len(tails) > 1:
            return None
        tail = _Tail(tails.pop())
        return tail if all(self._ends_so_alone(last, tail, asks=asks) for last in places) else None

    def _ends_so_alone(self, last: int, tail: _Tail, *, asks: bool) -> bool:
        """Tell whether the exchange up to `last` ends so where nothing but a system message stands before it."""
        if tail.text is None:
            return True
        head = self.messages[: self._first]
        exchange = self.messages[last if asks else last - 1 : last + 1]
        try:
            text = self.template.render([*head, *exchange], self.tools, asks=asks)
        except TemplateRefusalError:
            return False
        return text.endswith(str(self.messages[last]["content"]) + tail.text)

    @property
    def _first(self) -> int:
        """Where the turns begin."""
        return 1 if self.messages[0]["role"] == "system" else 0

    @cached_property
    def _answers(self) -> list[int]:
        return [index for index, message in enumerate(self.messages) if message["role"] == "assistant"]

    @cached_property
    def _is_alike(self) -> bool:
        """Tell whether this is a long dialogue whose questions and answers stand between always the same texts.

        Before the last answer may stand another one, such as an empty thought; its beginning is always rendered.
        """
        first = self._first
        turns = self.messages[first:]
        if len(turns) < LONG or self.tools or not all(message.keys() <= _PLAIN for message in self.messages):
            return False
        if any(message["role"] != ("user", "assistant")[place % 2] for place, message in enumerate(turns)):
            return False
        if not self._stand_as_they_are():
            return False
        before: tuple[set[str], set[str]] = (set(), set())
        for place in range(first + 1, len(self.messages) - 1):
            start, stop = self._stop_of(place - 1), self.placed.of(place)[0].start
            before[(place - first) % 2].add(self.text[start:stop])
        return all(len(texts) == 1 for texts in before)

    def _stand_as_they_are(self) -> bool:
        """Tell whether each message stands there once, as it is, and markers in their places change nothing else."""
        told = [part.index for part in self.placed.parts]
        return (
            self.placed.is_outlined
            and told == list(range(len(self.messages)))
            and all(len(spans) == 1 for spans in self.placed.spans)
            and all(
                self.text[spans[0].start : spans[0].stop] == part.text
                for part, spans in zip(self.placed.parts, self.placed.spans, strict=True)
            )
        )

    def _stop_of(self, index: int) -> int:
        return self.placed.of(index)[0].stop
