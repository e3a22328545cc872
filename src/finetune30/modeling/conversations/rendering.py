"""A row of conversations as text, with the characters that carry loss.

The characters are found in the one rendering that is tokenised, by rendering once more with a marker in the place of
every content: what stands between the markers is the template's, what they stand for is the messages'. Where a template
looks into contents (it cuts thoughts out of earlier answers, say), the markers mislead it; then each answer is looked
for behind the very text that an answer would be asked with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from finetune30.modeling.conversations.template import (
    WEIGHT,
    ChatTemplate,
    Message,
    TemplateRefusalError,
    fold_system,
    no_template,
    unused_marker,
)

#: Which answers carry loss: those of the assistant, its last one, or every content.
TrainOn = Literal["assistant", "last", "all"]
ASSISTANT = "assistant"


@dataclass(frozen=True)
class Span:
    """Characters `start` to `stop` of a rendering."""

    start: int
    stop: int


@dataclass(frozen=True)
class Rendering:
    """A row as text.

    `supervised`: characters that carry loss, in order, not overlapping. `contents`: characters of messages, of which
    those that carry no loss are context; all others are the template's. `wants_end`: the text ends with an answer that
    the template writes no end mark behind. `dropped`: characters of the messages that are not in the text.
    `unlike_asked`: answers that would be asked behind another text than stands before them here; they carry no loss.
    `is_bare`: there is no template, so the text begins as the tokenizer begins texts.
    """

    text: str
    supervised: tuple[Span, ...]
    contents: tuple[Span, ...]
    wants_end: bool = False
    dropped: int = 0
    unlike_asked: int = 0
    is_bare: bool = False


def render_row(row: Mapping[str, Any], template: ChatTemplate | None, train_on: TrainOn) -> Rendering:
    """Render a row of the canonical form: messages (and tools), prompt and completion, or text.

    Raises TemplateRefusalError, and ModelError for messages without a template.
    """
    if "messages" in row:
        if template is None:
            raise no_template()
        return _render_messages(row["messages"], row.get("tools"), template, train_on)
    if "prompt" in row:
        prompt, completion = str(row["prompt"]), str(row["completion"])
        asked = Span(0, len(prompt))
        answer = Span(len(prompt), len(prompt) + len(completion))
        supervised = (Span(0, answer.stop),) if train_on == "all" else (answer,)
        return Rendering(prompt + completion, supervised, (asked, answer), wants_end=True, is_bare=True)
    text = str(row["text"])
    whole = Span(0, len(text))
    return Rendering(text, (whole,), (whole,), wants_end=True, is_bare=True)


@dataclass(frozen=True)
class _Whole:
    """A conversation and its rendering, of which the parts are told."""

    messages: Sequence[Message]
    template: ChatTemplate
    text: str


def _render_messages(
    messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None, template: ChatTemplate, train_on: TrainOn
) -> Rendering:
    text = template.render(messages, tools)
    if template.folds_system:
        messages = fold_system(messages)
    whole = _Whole(messages, template, text)
    contents = place_contents(messages, tools, template, text)
    supervised: list[Span] = []
    unlike = 0
    wants_end = False
    for index in _answers(messages, train_on):
        before = template.render(messages[:index], tools, asks=True) if index else ""
        answer = _find_answer(whole, index, contents[index], before)
        if answer is None:
            unlike += 1
            continue
        supervised.append(answer.span)
        wants_end = index == len(messages) - 1 and not answer.has_end
    if train_on == "all":
        learnt = (span for span, message in zip(contents, messages, strict=True) if message.get(WEIGHT) != 0)
        supervised = _join([*supervised, *(span for span in learnt if span is not None)])
    placed = tuple(span for span in contents if span is not None)
    dropped = sum(
        len(str(message.get("content") or "").strip())
        for message, span in zip(messages, contents, strict=True)
        if span is None
    )
    return Rendering(text, tuple(supervised), placed, wants_end=wants_end, dropped=dropped, unlike_asked=unlike)


def _answers(messages: Sequence[Message], train_on: TrainOn) -> list[int]:
    found = [index for index, message in enumerate(messages) if message["role"] == ASSISTANT]
    chosen = found[-1:] if train_on == "last" else found
    return [index for index in chosen if messages[index].get(WEIGHT) != 0]


def place_contents(
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None,
    template: ChatTemplate,
    whole: str,
    *,
    asks: bool = False,
) -> list[Span | None]:
    """Return where the content of each message stands in the rendering; None where it does not."""
    texts = [str(message.get("content") or "") for message in messages]
    marker = unused_marker([*texts, whole])
    marked = [
        {**message, "content": marker.format(index)} if texts[index] else message
        for index, message in enumerate(messages)
    ]
    try:
        outline = template.render(marked, tools, asks=asks)
    except TemplateRefusalError:
        outline = ""
    spans: list[Span | None] = [None] * len(messages)
    place = position = 0
    for index, text in enumerate(texts):
        if not text:
            continue
        found = outline.find(marker.format(index), position)
        if found < 0:
            continue
        between = outline[position:found]
        shown = next((form for form in _forms(text) if whole.startswith(between + form, place)), None)
        if shown is None:
            return _search_contents(texts, whole)
        start = place + len(between)
        spans[index] = Span(start, start + len(shown))
        place, position = start + len(shown), found + len(marker.format(index))
    return spans if outline[position:] == whole[place:] else _search_contents(texts, whole)


def _forms(text: str) -> tuple[str, ...]:
    """Return a content as templates write it: as it is, or without outer white space."""
    return (text, text.strip(), text.rstrip(), text.lstrip())


def _search_contents(texts: Sequence[str], whole: str) -> list[Span | None]:
    """Look for contents one behind the other, where a template changes some of them."""
    spans: list[Span | None] = []
    place = 0
    for text in texts:
        shown = text.strip()
        found = whole.find(shown, place) if shown else -1
        spans.append(Span(found, found + len(shown)) if found >= 0 else None)
        place = found + len(shown) if found >= 0 else place
    return spans


@dataclass(frozen=True)
class _Answer:
    """The characters of an answer, and whether they end with the template's mark."""

    span: Span
    has_end: bool


def _find_answer(whole: _Whole, index: int, content: Span | None, before: str) -> _Answer | None:
    """Return where the message at `index` stands as an answer, with its end mark; None where it cannot be asked so.

    `before` is what it would be asked behind. Tool calls and thoughts that belong to the message are part of the
    answer. What the template writes by itself between prompt and content is not.
    """
    message, start = whole.messages[index], len(before)
    says_more = bool(message.get("tool_calls") or message.get("reasoning_content"))
    if not whole.text.startswith(before):
        return None
    if content is None and not says_more:
        return None
    if content is not None and content.start < start:
        return None
    if content is not None and not says_more:
        start = content.start
    stop = content.stop if content is not None else start
    limit = _end_of_turn(whole, index, stop)
    mark = whole.template.end_mark
    found = whole.text.rfind(mark, stop, limit) if mark else -1
    if found >= 0:
        return _Answer(Span(start, found + len(mark)), has_end=True)
    return _Answer(Span(start, limit if says_more else stop), has_end=False)


def _end_of_turn(whole: _Whole, index: int, stop: int) -> int:
    """Return where the turn of a message, which ends at `stop` or later, ends at the latest."""
    if index == len(whole.messages) - 1:
        return len(whole.text)
    try:
        until = whole.template.render(whole.messages[: index + 1])
    except TemplateRefusalError:
        until = ""
    if whole.text.startswith(until) and len(until) >= stop:
        return len(until)
    mark = whole.template.end_mark
    found = whole.text.find(mark, stop) if mark else -1
    return found + len(mark) if found >= 0 else stop


def _join(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, span.stop)):
        if joined and span.start <= joined[-1].stop:
            joined[-1] = Span(joined[-1].start, max(joined[-1].stop, span.stop))
        else:
            joined.append(span)
    return joined
