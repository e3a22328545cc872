"""Every text of the page in every language, from `strings/*.yaml`: `key: {en: …, zh: …}`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from finetune30.values import filled

#: Code in the catalogue and the address -> the language's own name.
LANGUAGES = {"zh": "繁體中文", "en": "English"}
#: Code in the catalogue -> what a document says of its language (BCP 47).
LANGUAGE_TAGS = {"zh": "zh-Hant-TW", "en": "en"}
FALLBACK = "en"


@cache
def load_catalogue() -> dict[str, dict[str, str]]:
    """Return key -> language -> text of all files."""
    merged: dict[str, dict[str, str]] = {}
    folder = files("finetune30.ui") / "strings"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".yaml"):
            texts: dict[str, dict[str, str]] = yaml.safe_load(file.read_text(encoding="utf-8"))
            if doubled := merged.keys() & texts.keys():
                raise ValueError(f"{file.name}: {', '.join(sorted(doubled))} stand in another file too")
            merged |= texts
    return merged


def translate(language: str, key: str, **values: Any) -> str:
    """Return the text of a key; `values` fill its {names}. Raises KeyError for an unknown key."""
    text = load_catalogue()[key][language]
    if not values:
        return text
    return filled(text, values) if language == "en" else text.format(**values)


def has_text(language: str, key: str) -> bool:
    """Tell whether the catalogue has a text for a key in a language."""
    return language in load_catalogue().get(key, {})


def match_language(locale: str | None) -> str:
    """Return the language for a browser's locale such as zh-TW or en-GB."""
    return "zh" if (locale or "").lower().startswith("zh") else FALLBACK
