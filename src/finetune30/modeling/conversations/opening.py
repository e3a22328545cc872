"""A model's chat template, and how it has to be rendered: found by asking it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from finetune30.errors import ModelError, first_line
from finetune30.modeling.conversations.template import (
    CHATML,
    Arguments,
    ChatTemplate,
    Message,
    TemplateRefusalError,
    special_marks,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from finetune30.modeling.base import BaseSource

_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
#: What stands for a content while it is looked for in a rendering.
_MARKER = "\ue0000\ue001"
_QUESTION: Message = {"role": "user", "content": "a"}


def open_template(
    tokenizer: PreTrainedTokenizerBase, source: BaseSource, wanted: str | None, date: str = ""
) -> ChatTemplate | None:
    """Find the template of a model and how it has to be rendered; None where the model has none.

    `wanted` is `chat.template`: None (the tokenizer's own), "chatml", or a Jinja file. `date` (YYYY-MM-DD) is what a
    template that writes the date is to write. Raises ModelError where it cannot be read, or cannot render a question
    with its answer.
    """
    text = _text_of(tokenizer, wanted)
    if text is None:
        return None
    plain = ChatTemplate(tokenizer, text)
    plain = replace(plain, date=date if plain.writes_date else "")
    try:
        known = [one for one in (plain, *plain.variants) if _takes_questions(one)] or [plain]
        chosen = next((one for one in known if find_between(one) == ""), known[0])
        return replace(
            chosen,
            folds_system=not _keeps_system(chosen),
            end_mark=_find_end_mark(chosen),
            arguments=_find_arguments(chosen),
        )
    except TemplateRefusalError as error:
        raise ModelError(
            f"the chat template of '{source.name}' cannot render a question and its answer: {error}",
            f"set chat.template to {CHATML} or to a Jinja file",
        ) from error


def _text_of(tokenizer: PreTrainedTokenizerBase, wanted: str | None) -> str | None:
    if wanted == CHATML:
        return _CHATML
    if wanted is not None:
        try:
            return Path(wanted).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError, RuntimeError) as error:  # no text; no path; no such user's home
            raise ModelError(
                f"chat.template: '{wanted}' cannot be read: {first_line(error)}",
                f"name a Jinja file in UTF-8, {CHATML}, or null for the model's own",
            ) from error
    own = tokenizer.chat_template
    if isinstance(own, Mapping):
        own = own.get("default")
    return str(own) if own else None


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
    between = find_between(template)
    if between is None:
        lines.append(
            "WARNING: the template asks for an answer behind another text than it writes before one; such answers "
            "carry no loss"
        )
    elif between:
        lines.append(f"the template writes {between!r} before an answer, and does not ask with it: it is learnt too")
    if template.date:
        lines.append(f"the template writes the date: it is {template.date} here, in answers and when it goes on")
    if not template.end_mark:
        lines.append("the template writes no end mark: the tokenizer's end token is taught right behind an answer")
    return lines


def find_between(template: ChatTemplate) -> str | None:
    """Return what the template writes between what a question renders to when it is asked and its answer.

    None where the answer stands behind another text. Raises TemplateRefusalError.
    """
    whole = template.render([_QUESTION, {"role": "assistant", "content": _MARKER}])
    asked = template.render([_QUESTION], asks=True)
    before, found, _ = whole.partition(_MARKER)
    return before.removeprefix(asked) if found and before.startswith(asked) else None


def _takes_questions(template: ChatTemplate) -> bool:
    """Tell whether a question and its answer can be rendered under the options of a template."""
    try:
        find_between(template)
    except TemplateRefusalError:
        return False
    return True


def _keeps_system(template: ChatTemplate) -> bool:
    try:
        text = template.render([{"role": "system", "content": _MARKER}, _QUESTION], asks=True)
    except TemplateRefusalError:
        return False
    return _MARKER in text


def _find_end_mark(template: ChatTemplate) -> str:
    """Return the special token that follows an answer, with nothing but white space between."""
    text = template.render([_QUESTION, {"role": "assistant", "content": _MARKER}])
    _, found, behind = text.partition(_MARKER)
    behind = behind.lstrip()
    marks = special_marks(template.tokenizer)
    return next((mark for mark in marks if found and behind.startswith(mark)), "")


def _find_arguments(template: ChatTemplate) -> Arguments:
    """Return what the template takes the arguments of a call as: what it writes as one JSON object, not as its text."""
    written = f'{{"{_MARKER}": 1}}'
    as_text, as_object = _render_call(template, written), _render_call(template, {_MARKER: 1})
    if written in as_text:
        return "as_written" if f'"{_MARKER}"' in as_object else "text"
    return "object" if _MARKER in as_object else "as_written"


def _render_call(template: ChatTemplate, arguments: object) -> str:
    call = {"id": "call00000", "type": "function", "function": {"name": "f", "arguments": arguments}}
    try:
        return template.render([_QUESTION, {"role": "assistant", "content": "", "tool_calls": [call]}])
    except TemplateRefusalError:
        return ""
