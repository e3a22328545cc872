"""Problems that the product does not know, as an installed package would add them.

`ordinal`: classes with an order, a threshold between neighbours. `next_token`: one text that is not called so, a target
for every token, nothing kept of an evaluation but sums, texts for answers. `answers`: the classes of `ordinal` for two
texts, all three under names of their own.
"""

from __future__ import annotations

from pathlib import Path

ORDINAL, NEXT_TOKEN, ANSWERS = "toy_ordinal", "toy_next_token", "toy_answers"


def save_entry_points(folder: Path) -> Path:
    """Write what pip would: a folder which, on Python's path, makes the toys problems of the product."""
    described = folder / "toy_problems-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-problems\nVersion: 1.0\n")
    lines = [f"{name} = support.toys.{name.removeprefix('toy_')}" for name in (ORDINAL, NEXT_TOKEN, ANSWERS)]
    (described / "entry_points.txt").write_text("\n".join(["[finetune30.problems]", *lines, ""]))
    return folder
