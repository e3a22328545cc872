"""A row of conversations as text, with the characters that carry loss.

They are told in the one rendering that is tokenised (see `placing`). An answer carries loss from where the text ends
that it would be asked with, to the mark that ends it; one that would be asked with another text carries none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from finetune30.modeling.conversations.beginnings import Beginnings
from finetune30.modeling.conversations.placing import Placed, Span, place_parts
from finetune30.modeling.conversations.template import (
    WEIGHT,
    ChatTemplate,
    Message,
    TemplateRefusalError,
    fold_system,
    no_template,
)

#: Which answers carry loss: those of the assistant, its last one, or every content.
TrainOn = Literal["assistant", "last", "all"]
ASSISTANT = "assistant"


@dataclass(frozen=True)
class Rendering:
    """A row as text.

    `supervised`: characters that carry loss, in order, not overlapping. `contents`: characters of messages, of which
    those that carry no loss are context; all others are the template's. `question`: what the user says before the last
    answer, without a system message that was put before it. `wants_end`: the text ends with an answer that the template
    writes no end mark behind; what it writes there instead is left out, for the end stands right behind the answer.
    `dropped`: characters of messages, calls and tools that are not in the text. Answers that carry no loss:
    `unlike_asked` would be asked behind another text than stands before them here, of `left_out` the template writes
    nothing. `is_bare`: there is no template, so the text begins as the tokenizer begins texts. `answer`: the last
    answer with its end mark, also where more than answers carries loss; None where it carries none. `asked_with`: the
    options that the last answer which carries loss is asked with. `refused`: options under which the template does not
    take the row, with its words.
    """

    text: str
    supervised: tuple[Span, ...]
    contents: tuple[Span, ...]
    question: Span | None = None
    wants_end: bool = False
    dropped: int = 0
    unlike_asked: int = 0
    left_out: int = 0
    is_bare: bool = False
    answer: Span | None = None
    asked_with: Mapping[str, Any] | None = None
    refused: tuple[str, ...] = ()


def render_row(row: Mapping[str, Any], template: ChatTemplate | None, train_on: TrainOn) -> Rendering:
    """Render a row of the canonical form: messages (and tools), prompt and completion, or text.

    A template with options is rendered with those under which its answers stand where they are asked for. Raises
    TemplateRefusalError, and ModelError for messages without a template.
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
        return Rendering(
            prompt + completion, supervised, (asked, answer), asked, wants_end=True, is_bare=True, answer=answer
        )
    text = str(row["text"])
    whole = Span(0, len(text))
    return Rendering(text, (whole,), (whole,), wants_end=True, is_bare=True, answer=whole)


@dataclass(frozen=True)
class _Whole:
    """A conversation, its rendering, and where its parts stand there.

    `folded`: characters of a system message that stand before the first question.
    """

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] | None
    template: ChatTemplate
    text: str
    placed: Placed
    folded: int = 0

    @cached_property
    def own(self) -> Beginnings:
        """The beginnings of the text under the template."""
        return self._beginnings(self.template)

    @cached_property
    def alike(self) -> tuple[Beginnings, ...]:
        """Those under other options that give the same text."""
        return tuple(self._beginnings(one) for one in self.template.variants if self._renders_alike(one))

    def _beginnings(self, template: ChatTemplate) -> Beginnings:
        return Beginnings(self.messages, self.tools, template, self.text, self.placed)

    def _renders_alike(self, other: ChatTemplate) -> bool:
        try:
            return other.render(self.messages, self.tools) == self.text
        except TemplateRefusalError:
            return False


@dataclass(frozen=True)
class _Answer:
    """The characters of an answer, whether they end with the template's mark, and how many of them it writes itself.

    `options`: those that it is asked with.
    """

    span: Span
    has_end: bool
    written: int
    options: Mapping[str, Any]


def _render_messages(
    messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None, template: ChatTemplate, train_on: TrainOn
) -> Rendering:
    """Render under the options of which most answers stand where they are asked for, the template's own first.

    Options under which the template does not take the row are no choice for it. Raises TemplateRefusalError where all
    of them are such.
    """
    best: tuple[int, Rendering] | None = None
    seen: set[str] = set()
    refused: dict[str, str] = {}
    for one in (template, *template.variants):
        try:
            text = one.render(messages, tools)
            if text in seen:  # its way to ask was tried with that text
                continue
            told = fold_system(messages) if one.folds_system else messages
            folded = len(told[0]["content"]) - len(messages[1]["content"]) if len(told) < len(messages) else 0
            whole = _Whole(told, tools, one, text, place_parts(told, tools, one, text), folded)
            written, rendering = _tell(whole, train_on)
            seen.add(text)
        except TemplateRefusalError as error:
            refused[one.named_options] = str(error)
            continue
        if best is None or (rendering.unlike_asked, written) < (best[1].unlike_asked, best[0]):
            best = written, rendering
        if not best[1].unlike_asked and not best[0]:
            break
    told_of = tuple(f"{options}: {words}" for options, words in refused.items())
    if best is None:
        several = len(set(refused.values())) > 1
        raise TemplateRefusalError("; ".join(told_of) if several else next(iter(refused.values())))
    return replace(best[1], refused=told_of)


def _tell(whole: _Whole, train_on: TrainOn) -> tuple[int, Rendering]:
    """Return a rendering, and the characters of its answers that the template writes."""
    messages, placed = whole.messages, whole.placed
    supervised: list[Span] = []
    written = unlike = left_out = 0
    wants_end = False
    last: Span | None = None
    asked_with: Mapping[str, Any] | None = None
    final = max((index for index, message in enumerate(messages) if message["role"] == ASSISTANT), default=None)
    for index in _answers(messages, train_on):
        if not placed.of(index):
            left_out += 1
            continue
        answer = _find_answer(whole, index)
        if answer is None:
            unlike += 1
            continue
        written += answer.written
        last = answer.span if index == final else None
        supervised.append(answer.span)
        asked_with = answer.options
        wants_end = index == len(messages) - 1 and not answer.has_end
    if train_on == "all":
        learnt = [index for index, message in enumerate(messages) if message.get(WEIGHT) != 0]
        said = [span for index in learnt for span in placed.of(index, "content", "thought")]
        supervised = _join([*supervised, *said])
    rendering = Rendering(
        whole.text[: supervised[-1].stop] if wants_end else whole.text,
        tuple(supervised),
        placed.contents,
        _find_question(whole),
        wants_end=wants_end,
        dropped=placed.dropped + _count_left_out_tools(whole),
        unlike_asked=unlike,
        left_out=left_out,
        answer=last,
        asked_with=asked_with,
    )
    return written, rendering


def is_learnt(message: Message) -> bool:
    """Tell whether a message is an answer that may carry loss."""
    return message["role"] == ASSISTANT and message.get(WEIGHT) != 0


def _answers(messages: Sequence[Message], train_on: TrainOn) -> list[int]:
    found = [index for index, message in enumerate(messages) if message["role"] == ASSISTANT]
    chosen = found[-1:] if train_on == "last" else found
    return [index for index in chosen if is_learnt(messages[index])]


def _count_left_out_tools(whole: _Whole) -> int:
    """Return the characters of names and descriptions of declared tools that the text does not hold."""
    functions = [tool.get("function", tool) for tool in whole.tools or ()]
    texts = [str(function.get(key) or "") for function in functions for key in ("name", "description")]
    if not texts or not _leaves_tools_out(whole):
        return 0
    return sum(map(len, texts))


def _leaves_tools_out(whole: _Whole) -> bool:
    try:
        return whole.template.render(whole.messages) == whole.text
    except TemplateRefusalError:
        return False


def _find_question(whole: _Whole) -> Span | None:
    """Return what the user says before the last answer."""
    last = max(_answers(whole.messages, "assistant"), default=len(whole.messages))
    users = [index for index, message in enumerate(whole.messages[:last]) if message["role"] == "user"]
    spans = whole.placed.of(users[-1], "content") if users else ()
    if not spans:
        return None
    start = spans[0].start + (0 if users[-1] else whole.folded)
    return Span(min(start, spans[0].stop), spans[0].stop)


def _find_answer(whole: _Whole, index: int) -> _Answer | None:
    """Return where the message at `index` stands as an answer, with its end mark; None where it cannot be asked so."""
    spans = whole.placed.of(index)
    stop = max(span.stop for span in spans)
    says_more = bool(whole.placed.of(index, "thought", "call"))
    first = min(span.start for span in spans)
    start, written, options = None, 0, whole.template.options
    for asked, asks_with in _asked_until(whole, index, 0 if says_more else first):
        between = 0 if says_more else max(0, first - asked)
        if asked < stop and (start is None or between < written):
            start, written, options = asked, between, asks_with
        if start is not None and not written:
            break
    if start is None:
        return None
    limit = _end_of_turn(whole, index, stop)
    mark = whole.template.end_mark
    found = whole.text.rfind(mark, stop, limit) if mark else -1
    if found >= 0:
        return _Answer(Span(start, found + len(mark)), has_end=True, written=written, options=options)
    if says_more:  # less the break behind the turn
        stop = max(stop, len(whole.text[:limit].rstrip()))
    return _Answer(Span(start, stop), has_end=False, written=written, options=options)


def _asked_until(whole: _Whole, index: int, first: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield where the texts end that ask for the message at `index` and stand at the beginning, and their options.

    The row's own options come first. Others may ask for an answer in the same text: with a thought that is empty, or
    without one. `first`: where an answer begins that answers nothing.
    """
    if not index:
        yield first, whole.template.options
        return
    until = whole.own.asked_until(index)
    if until is not None:
        yield until, whole.template.options
    for other in whole.alike:
        try:
            until = other.asked_until(index)
        except TemplateRefusalError:
            continue
        if until is not None:
            yield until, other.template.options


def _end_of_turn(whole: _Whole, index: int, stop: int) -> int:
    """Return where the turn of a message, which ends at `stop` or later, ends at the latest."""
    if index == len(whole.messages) - 1:
        return len(whole.text)
    until = whole.own.ended_at(index)
    if until is not None and until >= stop:
        return until
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
