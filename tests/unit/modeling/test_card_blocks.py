"""Blocks as Markdown on the card of a model."""

from __future__ import annotations

import re

from finetune30.blocks import Column, Curve, Figure, Matrix, Table, Text, Words
from finetune30.modeling.card_blocks import draw_blocks
from finetune30.modeling.model_card import replace_results


def words(text: str) -> Words:
    return Words(text, f"中 {text}")


def cells(markdown: str) -> list[list[str]]:
    """The cells of every line of a table, as a reader of Markdown splits them."""
    lines = [line for line in markdown.splitlines() if line.startswith("|") and set(line) != {"|", "-"}]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_figures_share_a_table_without_columns_that_nobody_fills() -> None:
    accuracy = Figure(words("Accuracy"), 0.8312, "percent", (0.7, 0.9), 1216, (words("always a"), 0.5))
    loss = Figure(words("Loss"), 0.25, "number")
    assert cells(draw_blocks([accuracy, loss])) == [
        ["", "Value", "95 % interval", "Rows", "Without learning"],
        ["Accuracy", "83.12 %", "70.00 % to 90.00 %", "1,216", "50.00 % (always a)"],
        ["Loss", "0.25", "", "", ""],
    ]
    assert cells(draw_blocks([loss])) == [["", "Value"], ["Loss", "0.25"]]


def test_other_kinds_have_a_heading_of_their_own() -> None:
    table = Table(
        words("Each"),
        (Column(words("Name"), "text"), Column(words("Rows"), "count")),
        (("a", 1000), ("b", None)),
        note=words("few of b"),
    )
    matrix = Matrix(words("Cells"), words("true"), words("said"), ("a", "b"), ("a", "b"), ((1, 2), (3, 4)))
    curve = Curve(words("Errors"), words("x"), words("y"), {"rows": ((0.5, 3.0),)}, as_bars=True)
    several = Curve(words("Lines"), words("x"), words("y"), {"one": ((1.0, 2.0),), "two": ((1.0, 3.0),)})
    drawn = draw_blocks([table, matrix, curve, several, Text(words("Said"), Words("first\nsecond", "一"))])
    assert "few of b" in drawn.splitlines()
    assert [line for line in drawn.splitlines() if line.startswith("#")] == [
        f"### {title}" for title in ("Each", "Cells", "Errors", "Lines", "Said")
    ]
    assert cells(drawn) == [
        ["Name", "Rows"],
        ["a", "1,000"],
        ["b", ""],
        ["true ↓ said →", "a", "b"],
        ["a", "1", "2"],
        ["b", "3", "4"],
        ["x", "y"],
        ["0.5", "3"],
        ["", "x", "y"],
        ["one", "1", "2"],
        ["two", "1", "3"],
    ]
    assert drawn.endswith("> first\n> second")


def test_card_stays_short() -> None:
    names = tuple(map(str, range(40)))
    table = Table(words("Each"), (Column(words("Name"), "text"),), tuple((name,) for name in names))
    matrix = Matrix(words("Cells"), words("true"), words("said"), names, names, ((0,) * 40,) * 40)
    drawn = draw_blocks([table, matrix])
    assert len(cells(drawn)) == 31
    assert drawn.endswith("… 10 more rows.")


def test_names_of_data_stay_text() -> None:
    evil = "a|b <img src=x> [link](javascript:x) `code`\n# heading \x1b[31m"
    table = Table(words("Each"), (Column(words("Name"), "text"),), ((evil,),))
    (_, (cell,)) = cells(draw_blocks([table]))
    assert cell == r"a\|b \<img src=x\> \[link\](javascript:x) \`code\` \# heading \[31m"


def test_results_of_a_card_are_replaced_and_nothing_else() -> None:
    card = "# A model\n\n## Results on the evaluation rows\n\n### Some\n\n| a row |\n|---|\n\n## Use\n\nLike this.\n"
    figure = Figure(Words("Accuracy", "準確率"), 0.5, "percent")
    replaced = replace_results(card, [figure])
    assert "a row" not in replaced
    assert replaced.startswith("# A model\n\n## Results on the evaluation rows\n\n|  | Value |")
    assert replaced.endswith("\n\n## Use\n\nLike this.\n")
    assert replace_results("# Of somebody else\n", [figure]) == "# Of somebody else\n"
