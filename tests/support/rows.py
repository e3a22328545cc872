"""Small data of known content."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from finetune30.data.encoding import EncodedSplit

_OPENINGS = ("the film was", "the room was", "the food is", "i loved the staff and the plot was", "it was")
_GOOD = ("good", "great", "very nice", "happy and clean", "not bad", "the best")
_BAD = ("bad", "awful", "very poor", "sad and dirty", "not good", "the worst")


def write_reviews(
    path: Path, count: int, *, labels: tuple[str, str] = ("negative", "positive"), first: int = 0
) -> Path:
    """Write `count` short reviews with alternating labels as CSV; every text differs, by its number from `first` on."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for i in range(first, first + count):
            words = (_GOOD if i % 2 else _BAD)[i // 2 % 6]
            writer.writerow([f"{_OPENINGS[i % 5]} {words} {'and so ' * (i % 4)}again {i}", labels[i % 2]])
    return path


def encoded_split(
    count: int, *, problem_type: str = "single_label_classification", seed: int = 0, classes: int = 2
) -> EncodedSplit:
    """Return an EncodedSplit of random token ids (5 to 44) between special tokens, 4 to 15 tokens a row."""
    random = np.random.default_rng(seed)
    lengths = random.integers(4, 16, size=count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = random.integers(5, 45, size=int(offsets[-1])).astype(np.int32)
    tokens[offsets[:-1]], tokens[offsets[1:] - 1] = 2, 3
    draw: dict[str, Callable[[], Any]] = {
        "single_label_classification": lambda: (tokens[offsets[:-1] + 1] % classes).astype(np.int64),
        "multi_label_classification": lambda: random.integers(0, 2, size=(count, classes)).astype(np.float32),
        "regression": lambda: random.normal(size=count).astype(np.float32),
    }
    names = [f"rows.csv:{i + 2}" for i in range(count)]
    return EncodedSplit(names, tokens, offsets, None, draw[problem_type](), np.zeros(count, dtype=bool))
