"""Messages of the API in the visitor's language, from `messages.yaml`: English template -> Traditional Chinese one.

A template holds its values as {names}; a brace of the text itself is written twice. A message that no template fits
stays English beneath a heading for its code.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.resources import files
from string import Formatter

import yaml

from finetune30.ui.translations import load_catalogue
from finetune30.values import of_one

#: Values that are themselves made of templates.
NESTED = frozenset(
    {"allowed", "more", "bounds", "shares", "silence", "then", "there", "wait", "what", "word", "written"}
)
#: Values that may be: where no template fits they are names, or words of a library, and stay as they are.
OPEN = frozenset({"columns", "how", "lines", "main", "others", "reason", "reasons", "said", "script", "split"})
#: Values that list rules; the page's own words for them stand in its catalogue.
RULES = frozenset({"reasons", "rules"})


def translate_message(language: str, message: str) -> str | None:
    """Return a message of the API in a language, None where the catalogue has no template for it."""
    if language == "en":
        return message
    lines = [_translate_line(line) for line in message.split("\n")]
    return None if any(line is None for line in lines) else "\n".join(line for line in lines if line is not None)


@cache
def load_templates() -> dict[str, str]:
    """Return English template -> Chinese template."""
    text = (files("finetune30.ui") / "messages.yaml").read_text(encoding="utf-8")
    templates: dict[str, str] = yaml.safe_load(text)
    return templates


@lru_cache(maxsize=4096)  # every drawing of a page asks for the same ones, each of a thousand patterns
def _translate_line(line: str) -> str | None:
    for pattern, template in _patterns():
        found = pattern.fullmatch(line)
        if found is None:
            continue
        values = {name: _translate_value(name, value) for name, value in found.groupdict().items()}
        if all(value is not None for value in values.values()):
            return template.format(**values)
    return _with_place(line)


def _with_place(line: str) -> str | None:
    """A place (`file:line:column`) or a key of the configuration, and what is wrong there."""
    start, colon, rest = line.partition(": ")
    if not colon or not rest or not re.fullmatch(r"[^:]+(:\d+){0,2}|[\w.]+( \([^)]*\))?", start):
        return None
    translated = _translate_line(rest)
    return None if translated is None else f"{start}：{translated}"


def _translate_value(name: str, value: str) -> str | None:
    if name in NESTED:
        return _translate_line(value)
    if name in OPEN:
        value = _translate_line(value) or value
    if name in RULES:
        value = re.sub(r"[a-z]+(_[a-z]+)*", lambda found: _rule(found.group()), value).replace(", ", "、")
    return value


def _rule(name: str) -> str:
    """Return the page's Chinese word for a rule, or what is no rule as it came."""
    return load_catalogue().get(f"rule.{name}", {}).get("zh", name)


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Templates as patterns; those with more fixed text are tried first, so that a general one hides no other."""
    ordered = sorted(load_templates().items(), key=lambda entry: -len(re.sub(r"\{\w+\}", "", entry[0])))
    return [(_compile(english), chinese) for english, chinese in ordered]


def _compile(template: str) -> re.Pattern[str]:
    parts: list[str] = []
    named: set[str] = set()
    for fixed, name, _, _ in Formatter().parse(template):
        single = f" {of_one(fixed[1:])}" if named and fixed.startswith(" ") else fixed  # as it follows a 1
        parts.append(re.escape(fixed) if single == fixed else f"(?:{re.escape(fixed)}|{re.escape(single)})")
        if name:
            parts.append(f"(?P={name})" if name in named else f"(?P<{name}>.+?)")
            named.add(name)
    return re.compile("".join(parts))
