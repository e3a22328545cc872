"""Every message that stands in the code, but the terminal's own, is Chinese on the Chinese page.

The sources are read, not a list: whoever writes an error, a fault, a finding or a note without a template in
`ui/messages.yaml` sees it here.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from importlib.resources import files
from string import Formatter

import yaml

from finetune30.ui.messages import NESTED, OPEN, load_templates, translate_message
from finetune30.ui.translations import load_catalogue
from support.messages import VALUE, find_messages, find_messages_in
from support.present import present

#: Quotation marks may stand in the code or come with the value (`!r`).
_QUOTED = re.compile(r"""['"]?(\{[^{}]*\})['"]?""")
_PLACE = re.compile(r"[^:]+(:\d+){0,2}|[\w.]+( \([^)]*\))?")


def test_every_message_of_the_code_is_said_in_chinese():
    messages = find_messages()
    assert len(messages) > 700
    rooms = {place.partition("/")[0] for place in messages.values()}
    assert {"api", "config", "data", "hub", "jobs", "modeling", "problems", "service", "store", "training"} <= rooms
    assert {text: place for text, place in messages.items() if not is_said(text)} == {}


def test_a_message_without_a_template_is_found_however_it_is_put_together():
    code = """
_CHOICES = {"a": "buy a new hat", "b": "mend the old hat"}
def complain(name, hats):
    more = f" and {hats} more" if hats else ""
    raise DataError(f"the hat of {name!r} is missing{more}", _CHOICES[name])
def other(found):
    found.notes.append("nothing")
    notes.append(describe(found))
def describe(found):
    return "hats were " + ("counted twice" if found else "not counted")
"""
    texts = set(find_messages_in(code))
    assert texts == {
        "the hat of {} is missing", "the hat of {} is missing and {} more", "buy a new hat", "mend the old hat",
        "hats were counted twice", "hats were not counted",
    }  # fmt: skip
    assert not any(is_said(text) for text in texts)


def test_no_template_stands_twice():
    text = (files("finetune30.ui") / "messages.yaml").read_text(encoding="utf-8")
    written = [key.value for key, _ in present(yaml.compose(text)).value]
    assert [key for key, count in Counter(_bare(key) for key in written).items() if count > 1] == []


def test_rules_and_parts_of_the_data_are_named_in_chinese_within_sentences():
    said = translate_message(
        "zh", "12 training rows are left after the rules (3 empty_text, 1 truncated); at least 20 are needed"
    )
    assert said == "套用規則後，訓練資料剩下 12 筆（3 空白文字、1 截斷），至少需要 20 筆"
    said = translate_message("zh", "written in Latin, nearly all other rows in Han")
    assert said == "以拉丁字母書寫，其他資料幾乎都是漢字"
    assert load_catalogue()["rule.truncated"]["zh"] == "截斷"
    said = translate_message("zh", "no column is plainly the label; the columns are 'a', 'b' and 7 more")
    assert said == "無法判斷哪一欄是「標籤」；現有欄位：'a', 'b' 等，另有 7 個"


def is_said(text: str, depth: int = 0) -> bool:
    """Tell whether a text, values as `{}`, has templates for all of its words."""
    text = _bare(text)
    if not re.search("[a-z]{3}", text):
        return True
    for pattern in _patterns():
        if (found := pattern.fullmatch(text)) and all(_fits(*value, depth + 1) for value in found.groupdict().items()):
            return True
    place, colon, rest = text.partition(": ")  # a place or a key stands before what is wrong there
    is_place = (place == VALUE or " " not in place) and _PLACE.fullmatch(place)
    return bool(colon and rest and is_place) and is_said(rest, depth + 1)


def _fits(name: str, value: str, depth: int) -> bool:
    if value == VALUE:
        return True
    has_words = " " in value and re.search("[a-z]{3}", value) is not None
    return is_said(value, depth) if name in NESTED or (name in OPEN and has_words) else not has_words


@cache
def _patterns() -> list[re.Pattern[str]]:
    return [re.compile("".join(_pieces(_bare(english)))) for english in load_templates()]


def _pieces(template: str) -> list[str]:
    pieces: list[str] = []
    for fixed, name, _, _ in Formatter().parse(template):
        again = any(f"(?P<{name}>" in piece for piece in pieces)
        pieces.append(re.escape(fixed) + (f"(?P={name})" if name and again else f"(?P<{name}>.+?)" if name else ""))
    return pieces


def _bare(text: str) -> str:
    return _QUOTED.sub(lambda found: found.group(1), text)
