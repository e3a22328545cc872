"""JSON columns take any tree."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from finetune30.store.json_columns import dump_json_column

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


def test_what_databases_refuse_is_replaced():
    text = dump_json_column(
        {"loss": math.nan, "worst": [-math.inf], "text": "a\0b\ud800c\U0001f600", "kept": "\\u0000"}
    )
    assert json.loads(text) == {"loss": None, "worst": [None], "text": "a\ufffdb\ufffdc\U0001f600", "kept": "\\u0000"}


@given(TREES)
def test_any_tree_becomes_strict_json(tree):
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = dump_json_column(tree)
    again = json.dumps(json.loads(text, parse_constant=refuse), ensure_ascii=False)
    assert "\\u0000" not in again.replace("\\\\", "")
    again.encode()
