"""Words that Streamlit itself writes, in the language of the page.

Where a style can put others in their place, it does. Names of buttons, tips and menus take a script
(`streamlit_words.js`, docs/decisions/streamlit-mends.md): nothing in it comes from anywhere but the catalogue.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path


def _hint_of(field: str) -> str:
    """Return where a field says which key applies it; a field with a most number of characters counts them behind."""
    hint = "[data-testid=InputInstructions] span:first-child"
    return f":is({field}:not(:has([maxlength])) {hint}, {field}:has([maxlength]) {hint}:not(:last-child))"


_LINE = ":is([data-testid=stTextInput], [data-testid=stNumberInput])"

#: Words of the catalogue, which in English are Streamlit's own; `{}` stands for what it writes there itself.
WORDS = (
    "streamlit_word.per_file",
    "streamlit_word.columns",
    "streamlit_word.csv",
    "streamlit_word.chart_png",
    "streamlit_word.chart_copy",
    "streamlit_word.search",
    "streamlit_word.fullscreen",
    "streamlit_word.close_fullscreen",
    "streamlit_word.clear_selection",
    "streamlit_word.ascending",
    "streamlit_word.descending",
    "streamlit_word.format",
    "streamlit_word.autosize",
    "streamlit_word.pin",
    "streamlit_word.unpin",
    "streamlit_word.hide",
    "streamlit_word.select_all",
    "streamlit_word.clear_all",
    "streamlit_word.clear_value",
    "streamlit_word.increment",
    "streamlit_word.decrement",
    "streamlit_word.show_password",
    "streamlit_word.hide_password",
    "streamlit_word.show_data",
    "streamlit_word.copy",
    "streamlit_word.svg",
    "streamlit_word.png",
    "streamlit_word.home",
    "streamlit_word.collapse_side",
    "streamlit_word.expand_side",
    "streamlit_word.help_for",
    "streamlit_word.help",
    "streamlit_word.open",
    "streamlit_word.choose_date",
    "streamlit_word.remove",
    "streamlit_word.send",
)
_SCRIPT = Path(__file__).parent / "streamlit_words.js"

#: Text of the catalogue -> where Streamlit writes its own.
PLACES = {
    "streamlit.upload": "[data-testid=stFileUploaderDropzone] button p",
    "streamlit.apply": _hint_of(_LINE),
    "streamlit.apply_lines": _hint_of("[data-testid=stTextArea]"),
    "streamlit.submit": f"[data-testid=stForm] {_hint_of(_LINE)}",
}


def build_style(say: Callable[[str], str]) -> str:
    """Return the style that shows `say(name)` in each of the places; later ones go before earlier ones."""
    rules = []
    for name, place in PLACES.items():
        words = say(name).replace("\\", "\\\\").replace('"', '\\"')
        rules.append(f"{place} {{ font-size: 0; }}")  # not hidden: a button would lose its name for screen readers
        rules.append(f'{place}::after {{ font-size: 0.875rem; content: "{words}"; }}')
    return "\n".join(["<style>", *rules, "</style>"])


def build_script(own: Callable[[str], str], say: Callable[[str], str]) -> str:
    """Return the call of the script that writes `say(name)` for `own(name)`; the same words give them back."""
    pairs = [(re.escape(own(name)).replace(r"\{\}", "(.+)"), say(name)) for name in WORDS if own(name) != say(name)]
    # No text may end the script that it stands in.
    return f"{_load_script()}({json.dumps(pairs).replace('<', chr(92) + 'u003c')})"


@cache
def _load_script() -> str:
    return _SCRIPT.read_text(encoding="utf-8").rstrip()
