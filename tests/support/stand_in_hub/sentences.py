"""Labelled sentences made by rule: the label can be told from the words, and no two rows are the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

_THINGS = ("film", "book", "plot", "room", "food", "service", "staff", "story", "music", "price")
_GOOD = ("good", "great", "nice", "awesome", "happy", "clean", "fine", "best", "lovely", "fresh")
_BAD = ("bad", "awful", "poor", "slow", "sad", "dirty", "broken", "worst", "dull", "stale")
_DEGREES = ("very", "really", "quite", "so", "truly")
_TIMES = ("today", "again", "this year", "last night", "in the end", "from the start")

#: Words that a tiny vocabulary needs to read all sentences here without falling back to letters.
ENGLISH_WORDS = (
    *_THINGS, *_GOOD, *_BAD, *_DEGREES, "today", "again", "this", "year", "last", "night", "in", "end", "from",
    "start", "was", "we", "found", "the", "and", "it", "to", "me", "feel", "made", "as", "like", "two", "one",
)  # fmt: skip

_CHINESE_THINGS = ("酒店", "房间", "服务", "早餐", "电影", "手机", "价格", "前台", "位置", "空调")
_CHINESE_GOOD = ("很好", "不错", "干净", "满意", "舒服", "热情", "方便", "值得推荐")
_CHINESE_BAD = ("很差", "失望", "太脏", "糟糕", "太吵", "冷淡", "麻烦", "不会再来")
_CHINESE_STARTS = ("这次", "上周", "昨天", "总的来说", "我觉得", "说实话", "朋友说", "第二次来")


def write_reviews(count: int, seed: str, *, long: bool = False) -> list[tuple[str, int]]:
    """Return English sentences with 1 for praise and 0 for complaint, alternating; `long`: several sentences a row."""
    chance = random.Random(seed)
    labels = [number % 2 for number in range(count)]
    return _without_repeats(labels, lambda label: _review(chance, label, parts=4 if long else 1))


def write_chinese_reviews(count: int, seed: str) -> list[tuple[str, int]]:
    """Return Chinese sentences with 1 for praise and 0 for complaint, alternating."""
    chance = random.Random(seed)

    def write(label: int) -> str:
        words = _CHINESE_GOOD if label else _CHINESE_BAD
        first, second = chance.sample(_CHINESE_THINGS, 2)
        return f"{chance.choice(_CHINESE_STARTS)}{first}{chance.choice(words)}，{second}也{chance.choice(words)}。"

    return _without_repeats([number % 2 for number in range(count)], write)


def write_pairs(count: int, seed: str) -> list[tuple[str, str, float]]:
    """Return pairs of sentences with how alike they are, from 0 to 5: 5 for the same, 0 for the opposite."""
    chance = random.Random(seed)
    pairs = []
    for number in range(count):
        first = _review(chance, 1)
        second = first if number % 3 == 0 else _review(chance, number % 3 - 1)
        pairs.append((first, second, {0: 5.0, 1: 0.4, 2: 2.6}[number % 3]))
    return pairs


def write_feelings(count: int, seed: str, names: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Return sentences that say by name which one or two of the labels they have."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        labels = sorted({number % len(names), *([chance.randrange(len(names))] if number % 4 == 0 else [])})
        told = " and ".join(names[label] for label in labels)
        rows.append((f"the {chance.choice(_THINGS)} {chance.choice(_TIMES)} made me feel {told} {number}", labels))
    return rows


def _review(chance: random.Random, label: int, parts: int = 1) -> str:
    words = _GOOD if label else _BAD
    sentences = []
    for _ in range(parts):
        first, second = chance.sample(_THINGS, 2)
        degree, time = chance.choice(_DEGREES), chance.choice(_TIMES)
        sentences.append(
            f"{time} the {first} was {degree} {chance.choice(words)} and the {second} {chance.choice(words)}"
        )
    return " . ".join(sentences) + " ."


def _without_repeats(labels: Sequence[int], write: Callable[[int], str]) -> list[tuple[str, int]]:
    seen: set[str] = set()
    rows = []
    for label in labels:
        while (text := write(label)) in seen:
            pass
        seen.add(text)
        rows.append((text, label))
    return rows
