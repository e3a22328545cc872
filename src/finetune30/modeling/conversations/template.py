"""A tokenizer's chat template: what it makes of messages, and what it is like, found by asking it.

One rendering is used everywhere: training, evaluation, answers and serving call `ChatTemplate.render`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from finetune30.data.conversations.json_texts import json_fix, read_json
from finetune30.errors import ModelError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: A message as templates read it: role, content, and what else it has (name, tool_calls, tool_call_id …).
Message = Mapping[str, Any]
#: The key of a message whose value 0 says that it is not learnt; templates do not see it.
WEIGHT = "weight"

#: What `chat.template` calls ChatML (OpenAI 2023), for models without a template; its marks are text for a tokenizer
#: that does not know them.
CHATML = "chatml"
#: Options of templates that think unless they are told not to (Qwen 3).
OPTIONS: tuple[dict[str, Any], ...] = ({}, {"enable_thinking": False})
#: What a template takes the arguments of a call as: objects, JSON texts, or either of them as the row has it.
Arguments = Literal["as_written", "object", "text"]
#: What templates call to be told the time.
CLOCK = "strftime_now"
#: Stands before a template that writes the date, and takes the clock's place: `date_codes` holds what each directive of
#: strftime stands for. The line break behind it is Jinja's to remove.
_FIXED_CLOCK = (
    "{%- macro strftime_now(format) -%}{%- set read = namespace(directive='') -%}{%- for sign in format -%}"
    "{%- if not read.directive and sign != '%' -%}{{- sign -}}"
    "{%- elif not read.directive or sign == '-' -%}{%- set read.directive = read.directive + sign -%}"
    "{%- else -%}{{- date_codes[read.directive + sign] -}}{%- set read.directive = '' -%}{%- endif -%}"
    "{%- endfor -%}{%- endmacro %}\n"
)
#: What Python raises in a template, which is a program: for what it is given, or for what it does itself.
_FAULTS_OF_PROGRAMS = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)
_DIRECTIVES = [f"%{flag}{letter}" for flag in ("", "-") for letter in "aAbBcdDeFfGHIjklmMnpPrRsStTuUVwWxXyYzZ%"]


class TemplateRefusalError(Exception):
    """A template raised for a conversation; the message is its own, on one line."""


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template with the options that it is rendered with.

    `text` is the Jinja source. `folds_system`: the template has no place for a system message, so its text is put
    before the first user message. `end_mark` is the special token that it writes behind an answer, "" where it writes
    none. `date` (YYYY-MM-DD, midnight) is what it takes for today, "" for that of the clock; descriptions of before had
    no date, and took `arguments` as they were written. `asks_with`: the options that new questions are asked with, as
    most rows of a training were; None: `options`.
    """

    tokenizer: PreTrainedTokenizerBase = field(compare=False, repr=False)
    text: str
    options: Mapping[str, Any] = field(default_factory=dict)
    folds_system: bool = False
    end_mark: str = ""
    date: str = ""
    arguments: Arguments = "as_written"
    asks_with: Mapping[str, Any] | None = None

    @property
    def asking(self) -> ChatTemplate:
        """The same template with the options that new questions are asked with."""
        return self if self.asks_with is None else replace(self, options=self.asks_with, asks_with=None)

    @property
    def named_options(self) -> str:
        """Return the options in words."""
        return name_options(self.options)

    @property
    def writes_date(self) -> bool:
        """Tell whether the text asks a clock."""
        return CLOCK in self.text

    @property
    def variants(self) -> tuple[ChatTemplate, ...]:
        """The same template with each of the other options that it knows."""
        others = (options for options in OPTIONS if options != self.options)
        return tuple(
            replace(self, options=options)
            for options in others
            if all(key in self.text for key in (*options, *self.options))
        )

    @property
    def plain_options(self) -> dict[str, Any]:
        """What transformers' `apply_chat_template` is to be given so that it renders alike."""
        if not self.date:
            return dict(self.options)
        return {**self.options, "chat_template": _FIXED_CLOCK + self.text, "date_codes": _read_clock(self.date)}

    @property
    def digest(self) -> str:
        """Return the sha256 of text and options: what makes two renderings the same."""
        tree: list[Any] = [self.text, dict(self.options), self.folds_system]
        if later := self._describe_later():
            tree.append(later)
        return hashlib.sha256(json.dumps(tree, ensure_ascii=False, sort_keys=True).encode()).hexdigest()

    def render(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None, *, asks: bool = False
    ) -> str:
        """Return the text of a conversation; `asks` adds what stands before an answer that is to be generated.

        Less the spaces at its end: tokenizers join a space and the word behind it to one token, which stands in rows
        that are trained, so a token of the space alone would ask for what no row has shown.
        Raises TemplateRefusalError where the template does not take it.
        """
        from jinja2 import TemplateError

        options = {"chat_template": self.text, **self.plain_options}
        try:
            text = self.tokenizer.apply_chat_template(
                self.prepare(messages),
                tools=None if not tools else [dict(tool) for tool in tools],
                add_generation_prompt=asks,
                tokenize=False,
                **options,
            )
        except (TemplateError, *_FAULTS_OF_PROGRAMS) as error:
            raise TemplateRefusalError(first_line(error)) from error
        return str(text).rstrip(" ") if asks else str(text)

    def prepare(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Return the messages as the template takes them: with the system message and the arguments in their places.

        Raises TemplateRefusalError for arguments that are no JSON.
        """
        folded = fold_system(messages) if self.folds_system else messages
        return [_with_arguments(message, self.arguments) for message in folded]

    def describe(self) -> dict[str, Any]:
        """Return what is kept of it beside a model, JSON."""
        return {
            "digest": self.digest,
            "text": self.text,
            "options": dict(self.options),
            "folds_system": self.folds_system,
            "end_mark": self.end_mark,
            **self._describe_later(),
            **({} if self.asks_with is None else {"asks_with": dict(self.asks_with)}),
        }

    def _describe_later(self) -> dict[str, str]:
        """Return what descriptions of before had not, where it changes a rendering."""
        found = {"date": self.date, "arguments": self.arguments}
        return {key: value for key, value in found.items() if value not in ("", "as_written")}


def restore_template(tokenizer: PreTrainedTokenizerBase, described: Mapping[str, Any]) -> ChatTemplate:
    """Return the template that `ChatTemplate.describe` described."""
    known = {key: described[key] for key in ("text", "options", "folds_system", "end_mark")}
    later = {key: described[key] for key in ("date", "arguments", "asks_with") if key in described}
    return ChatTemplate(tokenizer, **known, **later)


def name_options(options: Mapping[str, Any]) -> str:
    """Return options of a template in words."""
    listed = ", ".join(f"{key} {value}" for key, value in options.items())
    return f"with {listed}" if listed else "without options"


def fold_system(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with the text of a leading system message before that of the first user message."""
    first, *others = messages
    if first["role"] != "system" or not others or others[0]["role"] != "user":
        return list(messages)
    return [{**others[0], "content": f"{first['content']}\n\n{others[0]['content']}"}, *others[1:]]


def _with_arguments(message: Message, wanted: Arguments) -> dict[str, Any]:
    """Return a message whose calls have their arguments as a template takes them."""
    seen = {key: value for key, value in message.items() if key != WEIGHT}
    calls = message.get("tool_calls")
    if not calls or wanted == "as_written":
        return seen
    return {**seen, "tool_calls": [_convert_call(call, wanted) for call in calls]}


def _convert_call(call: Mapping[str, Any], wanted: Arguments) -> dict[str, Any]:
    if "function" in call:
        return {**call, "function": _convert_call(call["function"], wanted)}
    arguments = call.get("arguments")
    if wanted == "text" and isinstance(arguments, Mapping):
        return {**call, "arguments": json.dumps(arguments, ensure_ascii=False)}
    if wanted == "object" and isinstance(arguments, str):
        try:
            read = read_json(arguments.strip() or "{}")
        except ValueError as error:
            wrong = f"the arguments of a call are no JSON: {first_line(error)}"
            raise TemplateRefusalError(json_fix(error, "the arguments of a call", wrong)) from error
        return {**call, "arguments": read}
    return dict(call)


@lru_cache
def _read_clock(date: str) -> dict[str, str]:
    midnight = datetime.fromisoformat(date)
    return {directive: midnight.strftime(directive) for directive in _DIRECTIVES}


def no_template() -> ModelError:
    """Return the error for conversations where the model's tokenizer has no chat template."""
    return ModelError(
        "the rows are conversations, and the model's tokenizer has no chat template, as those of plain base models",
        f"set chat.template to {CHATML}, choose the model's chat variant (often called -Instruct), or train on plain "
        "text or on prompt and completion",
    )


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
