"""A tokenizer's chat template: what it makes of messages, and what it is like, found by asking it.

One rendering is used everywhere: training, evaluation, answers and serving call `ChatTemplate.render`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.errors import ModelError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from finetune30.modeling.base import BaseSource

#: A message as templates read it: role, content, and what else it has (name, tool_calls, tool_call_id …).
Message = Mapping[str, Any]
#: The key of a message whose value 0 says that it is not learnt; templates do not see it.
WEIGHT = "weight"

#: ChatML (OpenAI 2023), for models without a template; its marks are text for a tokenizer that does not know them.
CHATML = "chatml"
_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
#: Options of templates that think unless they are told not to (Qwen 3): tried where an answer would not stand where the
#: generation prompt ends.
_OPTIONS: tuple[dict[str, Any], ...] = ({}, {"enable_thinking": False})
#: What stands for a content while it is looked for in a rendering; no text holds it (see `unused_marker`).
_MARKER = "\ue000{}\ue001"


class TemplateRefusalError(Exception):
    """A template raised for a conversation; the message is its own, on one line."""


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template with the options that it is rendered with.

    `text` is the Jinja source. `folds_system`: the template has no place for a system message, so its text is put
    before the first user message. `end_mark` is the special token that it writes behind an answer, "" where it writes
    none.
    """

    tokenizer: PreTrainedTokenizerBase = field(compare=False, repr=False)
    text: str
    options: Mapping[str, Any] = field(default_factory=dict)
    folds_system: bool = False
    end_mark: str = ""

    @property
    def digest(self) -> str:
        """Return the sha256 of text and options: what makes two renderings the same."""
        tree = [self.text, dict(self.options), self.folds_system]
        return hashlib.sha256(json.dumps(tree, ensure_ascii=False, sort_keys=True).encode()).hexdigest()

    def render(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None, *, asks: bool = False
    ) -> str:
        """Return the text of a conversation; `asks` adds what stands before an answer that is to be generated.

        Raises TemplateRefusalError where the template does not take it.
        """
        from jinja2 import TemplateError

        folded = fold_system(messages) if self.folds_system else list(messages)
        try:
            text = self.tokenizer.apply_chat_template(
                [{key: value for key, value in message.items() if key != WEIGHT} for message in folded],
                tools=None if not tools else [dict(tool) for tool in tools],
                chat_template=self.text,
                add_generation_prompt=asks,
                tokenize=False,
                **self.options,
            )
        except (TemplateError, TypeError, KeyError, ValueError, AttributeError) as error:
            raise TemplateRefusalError(first_line(error)) from error
        return str(text)

    def describe(self) -> dict[str, Any]:
        """Return what is kept of it beside a model, JSON."""
        return {
            "digest": self.digest,
            "text": self.text,
            "options": dict(self.options),
            "folds_system": self.folds_system,
            "end_mark": self.end_mark,
        }


def restore_template(tokenizer: PreTrainedTokenizerBase, described: Mapping[str, Any]) -> ChatTemplate:
    """Return the template that `ChatTemplate.describe` described."""
    known = {key: described[key] for key in ("text", "options", "folds_system", "end_mark")}
    return ChatTemplate(tokenizer, **known)


def fold_system(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with the text of a leading system message before that of the first user message."""
    first, *others = messages
    if first["role"] != "system" or not others or others[0]["role"] != "user":
        return list(messages)
    return [{**others[0], "content": f"{first['content']}\n\n{others[0]['content']}"}, *others[1:]]


def open_template(tokenizer: PreTrainedTokenizerBase, source: BaseSource, wanted: str | None) -> ChatTemplate | None:
    """Find the template of a model and how it has to be rendered; None where the model has none.

    `wanted` is `chat.template`: None (the tokenizer's own), "chatml", or a Jinja file. Raises ModelError where it
    cannot be read, or cannot render a question with its answer.
    """
    text = _text_of(tokenizer, wanted)
    if text is None:
        return None
    for options in _OPTIONS:
        plain = ChatTemplate(tokenizer, text, options)
        try:
            answers_follow = _answers_where_asked(plain)
        except TemplateRefusalError as error:
            raise ModelError(
                f"the chat template of '{source.name}' cannot render a question and its answer: {error}",
                f"set chat.template to {CHATML} or to a Jinja file",
            ) from error
        if answers_follow:
            return _with_facts(plain)
    return _with_facts(ChatTemplate(tokenizer, text))


def _text_of(tokenizer: PreTrainedTokenizerBase, wanted: str | None) -> str | None:
    if wanted == CHATML:
        return _CHATML
    if wanted is not None:
        try:
            return Path(wanted).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(
                f"chat.template: '{wanted}' cannot be read: {first_line(error)}",
                f"name a Jinja file in UTF-8, {CHATML}, or null for the model's own",
            ) from error
    own = tokenizer.chat_template
    if isinstance(own, Mapping):
        own = own.get("default")
    return str(own) if own else None


def no_template() -> ModelError:
    """Return the error for conversations where the model's tokenizer has no chat template."""
    return ModelError(
        "the rows are conversations, and the model's tokenizer has no chat template, as those of plain base models",
        f"set chat.template to {CHATML}, choose the model's chat variant (often called -Instruct), or train on plain "
        "text or on prompt and completion",
    )


def describe_template(template: ChatTemplate | None) -> list[str]:
    """Return what was found about a template, for the log."""
    if template is None:
        return ["the model has no chat template: prompts and texts are read as they stand"]
    lines = []
    if template.folds_system:
        lines.append("the template has no place for a system message: its text goes before the first question")
    if template.options:
        options = ", ".join(f"{key} {value}" for key, value in template.options.items())
        lines.append(f"the template is rendered with {options}, so that answers stand where they are asked for")
    if not template.end_mark:
        lines.append("the template writes no end mark behind an answer: the tokenizer's end token is taught")
    return lines


def _answers_where_asked(template: ChatTemplate) -> bool:
    """Tell whether an answer stands right behind what a question renders to when it is asked."""
    asked = [{"role": "user", "content": "a"}]
    answer = _MARKER.format(0)
    whole = template.render([*asked, {"role": "assistant", "content": answer}])
    return whole.startswith(template.render(asked, asks=True) + answer)


def _with_facts(template: ChatTemplate) -> ChatTemplate:
    return ChatTemplate(
        template.tokenizer,
        template.text,
        template.options,
        folds_system=not _keeps_system(template),
        end_mark=_find_end_mark(template),
    )


def _keeps_system(template: ChatTemplate) -> bool:
    marked = _MARKER.format(0)
    try:
        text = template.render([{"role": "system", "content": marked}, {"role": "user", "content": "a"}], asks=True)
    except TemplateRefusalError:
        return False
    return marked in text


def _find_end_mark(template: ChatTemplate) -> str:
    """Return the special token that follows an answer, with nothing but white space between."""
    answer = _MARKER.format(0)
    text = template.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}])
    _, found, behind = text.partition(answer)
    behind = behind.lstrip()
    marks = special_marks(template.tokenizer)
    return next((mark for mark in marks if found and behind.startswith(mark)), "")


def special_marks(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the special tokens of a tokenizer as text, longest first."""
    added = tokenizer.added_tokens_decoder.values()
    names = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
    return sorted((name for name in names if name), key=lambda name: (-len(name), name))


def unused_marker(texts: Sequence[str]) -> str:
    """Return a pattern with `{}` for a number that makes markers which none of the texts holds."""
    for first in range(0xE000, 0xF8FF, 2):
        if not any(chr(first) in text for text in texts):
            return f"{chr(first)}{{}}{chr(first + 1)}"
    raise TemplateRefusalError("the texts hold every character for private use")


def split_at(text: str, marks: Sequence[str]) -> list[str]:
    """Return a text cut before and behind every mark."""
    if not marks:
        return [text]
    return [part for part in re.split("(" + "|".join(map(re.escape, marks)) + ")", text) if part]
