"""Ollama's Modelfile for a GGUF, where the chat template is one whose words in Ollama's language are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.modeling.conversations.template import TemplateRefusalError, restore_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MODELFILE = "Modelfile"
_ASKED = (
    [{"role": "user", "content": "a"}],
    [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}],
    [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "<think>\nb\n</think>\n\nd"},
        {"role": "user", "content": "c"},
    ],
)
#: ChatML: every message between its marks. `{system}` is a message that the template puts in by itself.
_CHATML = """FROM ./model.gguf
TEMPLATE \"\"\"{{{{- range .Messages }}}}<|im_start|>{{{{ .Role }}}}
{{{{ .Content }}}}<|im_end|>
{{{{ end }}}}<|im_start|>assistant
\"\"\"
{system}{stops}"""


def write_modelfile(tokenizer: PreTrainedTokenizerBase, ends: Sequence[int], folder: Path) -> bool:
    """Write the Modelfile and tell whether there is one: only a template that renders as ChatML does has one."""
    if not tokenizer.chat_template:
        return False
    system = _find_system(tokenizer)
    if system is None:
        return False
    own: Any = tokenizer
    stops = "".join(f'PARAMETER stop "{own.convert_ids_to_tokens(end)}"\n' for end in ends)
    said = f'SYSTEM """{system}"""\n' if system else ""
    (folder / MODELFILE).write_text(_CHATML.format(system=said, stops=stops), encoding="utf-8")
    return True


def _find_system(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the system message that a template puts in where there is none; None for one that is not ChatML."""
    described = {"text": tokenizer.chat_template, "options": {}, "folds_system": False, "end_mark": ""}
    template = restore_template(tokenizer, described)
    try:
        rendered = [template.render(messages, asks=True) for messages in _ASKED]
    except TemplateRefusalError:
        return None
    before, found, _ = rendered[0].partition("<|im_start|>user")
    system = before.removeprefix("<|im_start|>system\n").removesuffix("<|im_end|>\n") if before else ""
    if not found or '"""' in system:
        return None
    for messages, text in zip(_ASKED, rendered, strict=True):
        has_system = messages[0]["role"] == "system"
        head = [] if has_system or not system else [{"role": "system", "content": system}]
        if text != _as_chatml([*head, *messages]):
            return None
    return system


def _as_chatml(messages: Sequence[dict[str, str]]) -> str:
    said = "".join(f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in messages)
    return f"{said}<|im_start|>assistant\n"
