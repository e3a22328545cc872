"""Every kind of block on a terminal."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from finetune30.blocks import Block, Column, Curve, Figure, Matrix, Table, Text, Words, as_tree
from finetune30.cli.blocks import print_blocks


def words(text: str) -> Words:
    return Words(text, f"中 {text}")


def drawn(*blocks: Block, width: int = 200) -> list[str]:
    """The lines that a terminal shows, without blanks at their ends."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False, markup=False)
    print_blocks(console, json.loads(json.dumps([as_tree(block) for block in blocks])))
    return [line.rstrip() for line in stream.getvalue().splitlines() if line.strip()]


def test_figures_share_a_table_and_say_what_judges_them() -> None:
    accuracy = Figure(words("Accuracy"), 0.8312, "percent", (0.7, 0.9), 1216, (words("always 'a'"), 0.5))
    lines = drawn(accuracy, Figure(words("Loss"), 0.25, "number"), Figure(words("Nothing"), None, "number"))
    assert [line.split() for line in lines[1:]] == [["Loss", "0.25"], ["Nothing"]]
    assert lines[0].split("  ", 1)[0] == "Accuracy"
    assert lines[0].endswith("83.12 %  95 % interval 70.00 % to 90.00 %; 1,216 rows; always 'a': 50.00 %")


def test_a_table_says_why_rows_are_faint_and_draws_these_dim() -> None:
    columns = (Column(words("Part"), "text"), Column(words("Rows"), "count"))
    table = Table(words("Parts"), columns, (("all", 90), ("few", 7)), faint=(1,), note=words("Grey: few rows"))
    stream = io.StringIO()
    print_blocks(Console(file=stream, width=80, force_terminal=True, color_system="standard"), [as_tree(table)])
    (many,) = [line for line in stream.getvalue().splitlines() if "90" in line]
    (few,) = [line for line in stream.getvalue().splitlines() if "7" in line and "few" in line]
    assert ("\x1b[2m" in many, "\x1b[2m" in few) == (False, True)
    assert drawn(table)[-1] == "Grey: few rows"


def test_table_shows_cells_by_their_format_and_says_how_many_are_left() -> None:
    columns = (Column(words("Name"), "text"), Column(words("Share"), "percent"), Column(words("Rows"), "count"))
    rows = tuple((f"label {number}", 0.5, 1000 + number) for number in range(33))
    lines = drawn(Table(words("Each"), columns, ((words("said"), None, None), *rows)))
    assert lines[0] == "Each"
    assert lines[1].split() == ["Name", "Share", "Rows"]
    assert lines[2].strip() == "said"
    assert lines[3].split() == ["label", "0", "50.00", "%", "1,000"]
    assert lines[-1] == "… 4 more: --json has them"


def test_matrix_shows_both_properties_and_a_large_one_says_where_it_is() -> None:
    small = Matrix(words("Cells"), words("true"), words("said"), ("a", "b"), ("a", "c"), ((1, 2), (3, 4000)))
    lines = drawn(small)
    assert lines[0] == "Cells"
    assert [line.split() for line in lines[1:]] == [
        ["true", "↓", "said", "→", "a", "c"],
        ["a", "1", "2"],
        ["b", "3", "4,000"],
    ]
    names = tuple(map(str, range(40)))
    large = drawn(Matrix(words("Cells"), words("true"), words("said"), names, names, ((0,) * 40,) * 40))
    assert large[1] == "40 rows and 40 columns are too many for a terminal: the page draws them, --json has them"


def test_bars_are_as_long_as_their_values() -> None:
    lines = drawn(
        Curve(words("Errors"), words("x"), words("y"), {"rows": ((-1.0, 10), (0.5, 40), (2.0, 0))}, as_bars=True)
    )
    assert (lines[0], lines[1].split()) == ("Errors", ["x", "y"])
    assert [(line.split()[:2], line.count("█")) for line in lines[2:]] == [
        (["-1", "10"], 10),
        (["0.5", "40"], 40),
        (["2", "0"], 0),
    ]


def test_lines_are_drawn_by_height_with_their_ends() -> None:
    curve = Curve(words("Loss"), words("step"), words("loss"), {"train": ((1, 0.0), (2, 7.0), (3, 3.0)), "eval": ()})
    lines = drawn(curve)
    assert lines[2].split() == ["train", "▁█▄", "0", "3"]
    assert lines[3].split() == ["eval"]


def test_text_keeps_its_lines() -> None:
    assert drawn(Text(words("Said"), Words("one\ntwo", "一"))) == ["Said", "one", "two"]


@pytest.mark.parametrize("evil", ["\x1b[31mred", "[bold]x[/bold]", "a\rb", "\u202eabc"])
def test_text_of_data_cannot_steer_the_terminal(evil: str) -> None:
    said = Words(evil, evil)
    blocks = (
        Figure(said, 0.5, "percent", rows=3, baseline=(said, 0.5)),
        Table(said, (Column(said, "text"),), ((evil,),)),
        Matrix(said, said, said, (evil,), (evil,), ((1,),)),
        Curve(said, said, said, {evil: ((0.0, 1.0),)}),
        Text(said, said),
    )
    for block in blocks:
        text = "\n".join(drawn(block))
        assert text.isprintable() or all(char.isprintable() or char == "\n" for char in text)
        if evil.startswith("["):
            assert evil in text
