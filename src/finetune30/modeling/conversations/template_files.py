"""What the files of a chat template say, read before tokenizer and model are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finetune30.modeling.conversations.template import CHATML, CLOCK

if TYPE_CHECKING:
    from finetune30.modeling.base import BaseSource

_FILES = ("chat_template.jinja", "tokenizer_config.json")


def asks_clock(source: BaseSource, wanted: str | None) -> bool:
    """Tell whether a model's template, or the one that `chat.template` names, asks for the date."""
    if wanted == CHATML:
        return False
    try:
        files = [source.folder / name for name in _FILES] if wanted is None else [Path(wanted).expanduser()]
        return any(CLOCK.encode() in file.read_bytes() for file in files if file.is_file())
    except (OSError, RuntimeError):  # whoever opens the template or the tokenizer says so, with what to do
        return False
