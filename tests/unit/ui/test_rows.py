"""What the page shows of a row, whatever its columns."""

from __future__ import annotations

from typing import Any

import pytest

from finetune30.ui.rows import LONGEST_TEXT, cell_of, columns_of, text_cell, text_of


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        ("plain", "plain"),
        ('["a"]', '["a"]'),
        (0, "0"),
        (2.5, "2.5"),
        (["房", None], '["房", null]'),
        ([], "[]"),
        ([{"role": "user", "content": "hi"}, {"role": "tool", "content": None}], "user: hi ⏎ tool: "),
        ([{"role": "user"}], '[{"role": "user"}]'),
    ],
)
def test_values_are_shown_as_text(value: Any, shown: str) -> None:
    assert cell_of(value) == shown


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (
            '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]}',
            "user: hi ⏎ assistant: yes",
        ),
        ('{"prompt": "2+2=", "completion": "4"}', "prompt: 2+2= ⏎ completion: 4"),
        ('{"text": "a page"}', "a page"),
        ("{broken", "{broken"),
        ("[1]", "[1]"),
    ],
)
def test_a_conversation_is_what_was_said_and_only_in_its_own_column(cell: str, shown: str) -> None:
    assert text_cell("conversation", cell) == shown
    assert text_cell("text", cell) == cell


def test_texts_of_a_row_stand_in_one_line_that_ends_and_steers_nothing() -> None:
    version = {"columns": [{"name": name, "role": "text"} for name in ("a", "b")] + [{"name": "c", "role": "target"}]}
    assert (columns_of(version, "text"), columns_of(version, "target"), columns_of({}, "text")) == (
        ["a", "b"],
        ["c"],
        [],
    )
    row = {"a": "one\u202e", "b": "two", "a_before": "zero", "b_before": None}
    assert text_of(row, ["a", "b"]) == "one ⟷ two"
    assert text_of(row, ["a", "b"], "_before") == "zero"
    assert len(text_of({"a": "x" * 5000}, ["a"])) == LONGEST_TEXT
