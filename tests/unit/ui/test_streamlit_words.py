"""The style that puts other words into the place of Streamlit's own, and whether those places are still there."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

from finetune30.ui import streamlit_words
from finetune30.ui.streamlit_words import PLACES, WORDS, build_script, build_style
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


def test_script_has_the_words_of_a_language_and_none_of_streamlits_own() -> None:
    own, chinese = partial(translate, "en"), partial(translate, "zh")
    script = build_script(own, chinese)
    pairs = dict(json.loads(script[script.rindex("([[") + 1 : -1]))
    assert len(pairs) == len(WORDS)
    (limit,) = [
        (found[1], ours) for own_words, ours in pairs.items() if (found := re.fullmatch(own_words, "200MB per file"))
    ]
    assert limit == ("200MB", "每個檔案最多 {}")
    assert build_script(own, own).endswith("([])")
    assert (
        re.search(r"<[/\w!]", build_script(own, lambda name: "</script>")) is None
    )  # Streamlit would leave it all out


def test_streamlit_still_writes_these_words() -> None:
    folder = Path(streamlit.__file__).parent / "static" / "static" / "js"
    source = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.js")))
    wanted = [max(translate("en", name).split("{}"), key=len) for name in WORDS]
    assert [words for words in wanted if not re.search(rf"[`\"'}}]{re.escape(words)}[`\"'$]", source)] == []
    script = (Path(streamlit_words.__file__).parent / "streamlit_words.js").read_text(encoding="utf-8")
    marks = set(re.findall(r"data-testid=(\w+)", script))
    assert len(marks) == 4
    assert [mark for mark in marks if f"`{mark}`" not in source] == []
