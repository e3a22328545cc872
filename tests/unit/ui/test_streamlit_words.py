"""The style that puts other words into the place of Streamlit's own, and whether those places are still there."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest

from finetune30.ui.streamlit_words import PLACES, build_style
from finetune30.ui.translations import translate

streamlit = pytest.importorskip("streamlit", reason="Streamlit is not installed")


def test_every_place_gets_its_words() -> None:
    style = build_style(partial(translate, "zh"))
    assert style.count("content:") == len(PLACES) == style.count("{ font-size: 0; }")
    assert 'button p::after { font-size: 0.875rem; content: "選擇檔案"; }' in style
    assert "hidden" not in style  # what is hidden gives a button no name
    assert build_style(lambda name: '"\\').count('content: "\\"\\\\"') == len(PLACES)


def test_streamlit_still_has_these_places() -> None:
    """Another release may call its parts otherwise; then the English words would come back without a sound."""
    folder = Path(streamlit.__file__).parent / "static" / "static" / "js"
    source = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.js")))
    marks = {mark for place in PLACES.values() for mark in re.findall(r"data-testid=(\w+)", place)}
    assert {"stFileUploaderDropzone", "stTextInput", "stTextArea", "InputInstructions"} < marks
    assert [mark for mark in marks if f"`{mark}`" not in source] == []
    assert "`Upload`" in source
