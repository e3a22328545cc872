"""What the tests of the shipped conversations share: reading, how close two texts are, which Chinese is written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import finetune30.data
from finetune30.problems.causal_lm.expected import plain

STARTER = Path(finetune30.data.__file__).parent / "starter"

Row = dict[str, Any]


def load(name: str) -> list[Row]:
    """Return the objects of a JSON Lines file, named from the folder of the starter data."""
    return [json.loads(line) for line in (STARTER / name).read_text(encoding="utf-8").splitlines()]


def said(rows: Iterable[Row], role: str) -> list[str]:
    return [message["content"] for row in rows for message in row["messages"] if message["role"] == role]


def of_language(rows: Iterable[Row], language: str) -> list[Row]:
    return [row for row in rows if row["lang"] == language]


def overlap(first: str, second: str) -> float:
    """Return the share of pairs of neighbouring characters that two texts have in common, 0 to 1."""
    one, other = (set(map("".join, pairwise(re.sub(r"\W", "", plain(text))))) for text in (first, second))
    return len(one & other) / len(one | other)


#: Simplified forms that Big5 has all the same, as rare characters of their own.
SIMPLIFIED_IN_BIG5 = set("万与么价体儿几听坏并据机气确种荐优党宁岭怀怜惊扰极柜洁圣复夸异痒筑网胜腊触赶踊适")


def is_traditional(text: str) -> bool:
    """Say whether a text holds no character that only simplified Chinese writes."""
    try:
        text.encode("big5")
    except UnicodeEncodeError:
        return False
    return SIMPLIFIED_IN_BIG5.isdisjoint(text)


_HAN = r"[\u4e00-\u9fff]"


def has_full_width_marks(text: str) -> bool:
    """Say whether no half-width mark touches a Han character and a blank parts it from every letter and digit."""
    return re.search(rf"{_HAN}[,.!?:;()0-9A-Za-z]|[,!?;()0-9A-Za-z]{_HAN}", text) is None
