"""Every kind of block on the page, in both languages, whatever names of data hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from finetune30.blocks import Block, Column, Curve, Figure, Matrix, Table, Text, Words, as_tree
from finetune30.problems.classification.view import view_single_label

# Streamlit's test runner looks for a session where there is none.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
testing = pytest.importorskip("streamlit.testing.v1", reason="Streamlit is not installed")

HOSTILE = "**bold** <b>x</b> [a](b) $x$ \u202e"


def words(text: str) -> Words:
    return Words(text, f"中{text}")


def draw() -> None:
    """What the test runner runs: it knows nothing of this module."""
    import streamlit as st

    from finetune30.ui.blocks import show_blocks

    show_blocks(st.session_state["blocks"], "run")


def drawn(blocks: Sequence[Block | dict[str, Any]], language: str = "en") -> Any:
    page = testing.AppTest.from_function(draw, default_timeout=100)
    trees = [block if isinstance(block, dict) else as_tree(block) for block in blocks]
    page.session_state["blocks"] = json.loads(json.dumps(trees))
    page.session_state["language"] = language
    page.run()
    assert not page.exception, page.exception
    return page


@pytest.mark.parametrize(("language", "start"), [("en", ""), ("zh", "中")])
def test_every_kind_is_drawn_in_the_language_of_the_visitor(language: str, start: str) -> None:
    columns = (Column(words("Name"), "text"), Column(words("Share"), "percent"), Column(words("Rows"), "count"))
    page = drawn(
        [
            Figure(words("Accuracy"), 0.8312, "percent", (0.7, 0.9), 1216, (words("always a"), 0.5)),
            Figure(words("Time"), 61, "seconds"),
            Table(words("Each"), columns, (("a", 0.5, 1000), (words("rest"), None, None))),
            Matrix(words("Cells"), words("true"), words("said"), ("a", "b"), ("a", "b"), ((1, 2), (3, 4))),
            Curve(words("Lines"), words("x"), words("y"), {"one": ((1.0, 2.0),), "two": ((1.0, 3.0), (2.0, 4.0))}),
            Curve(words("Bars"), words("x"), words("y"), {"rows": ((0.5, 3.0),)}, as_bars=True),
            Curve(words("Empty"), words("x"), words("y")),
            Text(words("Said"), words("first")),
            Figure(words("Loss"), None, "number"),
        ],
        language,
    )
    assert [(metric.label, metric.value) for metric in page.metric] == [
        (f"{start}Accuracy", "83.1 %"),
        (f"{start}Time", "1 分 01 秒" if start else "1 min 01 s"),
        (f"{start}Loss", "–"),
    ]
    titles = ["Each", "Cells", "Lines", "Bars", "Empty", "Said"]
    assert [title.value for title in page.markdown] == [f"**{start}{title}**" for title in titles]
    (judged, empty) = [caption.value for caption in page.caption]
    assert all(part in judged for part in ("70.0 %", "90.0 %", "1,216", f"{start}always a", "50.0 %"))
    assert empty.startswith(f"{start}Empty")
    (table,) = [found.value for found in page.dataframe]
    assert list(table.columns) == [f"{start}Name", f"{start}Share", f"{start}Rows"]
    assert table.to_numpy().tolist()[0] == ["a", 50.0, 1000]
    assert table.iloc[1, 0] == f"{start}rest"
    assert [text.value for text in page.text] == [f"{start}first"]
    assert not page.selectbox  # nothing tells which rows it counts


def test_names_of_data_stay_text() -> None:
    matrix = [[3, 5], [1, 1]]
    metrics = {"eval_accuracy": 0.4, "eval_confusion_matrix": matrix}
    page = drawn(view_single_label(metrics, {"label_names": [HOSTILE, "plain"]}))
    (judged,) = [caption.value for caption in page.caption]
    assert r"\*\*bold\*\* \<b\>x\</b\> \[a\]\(b\) \$x\$" in judged
    options = page.selectbox[0].options
    assert any("**bold** <b>x</b>" in option for option in options)  # a place without Markdown
    assert not any("\u202e" in text for text in (judged, *options))


def test_many_classes_are_drawn_and_each_cell_with_rows_can_be_chosen() -> None:
    matrix = [[5 if row == column else int((row + 1) % 77 == column) for column in range(77)] for row in range(77)]
    names = [f"class {number}" for number in range(77)]
    page = drawn(view_single_label({"eval_accuracy": 5 / 6, "eval_confusion_matrix": matrix}, {"label_names": names}))
    options = page.selectbox[0].options
    assert len(options) == 1 + 77 + 2 * 77  # wrong rows, classes, cells; the most confused pairs are cells too
    assert "Confusion matrix: class 30 → class 31 (1)" in options


def test_kind_of_a_later_api_is_said() -> None:
    page = drawn([{"kind": "hologram", "title": {"en": "Cube", "zh": "立方"}}])
    assert [caption.value for caption in page.caption] == ["This page cannot draw a piece of the kind hologram."]
