"""Words that Streamlit itself writes, in the language of the page, where a style can put others in their place."""

from __future__ import annotations

from collections.abc import Callable


def _hint_of(field: str) -> str:
    """Return where a field says which key applies it; a field with a most number of characters counts them behind."""
    hint = "[data-testid=InputInstructions] span:first-child"
    return f":is({field}:not(:has([maxlength])) {hint}, {field}:has([maxlength]) {hint}:not(:last-child))"


_LINE = ":is([data-testid=stTextInput], [data-testid=stNumberInput])"

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
