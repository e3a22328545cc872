"""The analysis as a page: self-contained, in two languages, and text of the data stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import polars as pl
import pytest

from finetune30.data.analysis.drift import compare_rows
from finetune30.data.analysis.statistics import analyze_rows
from finetune30.problems import load_problem
from finetune30.service.datasets.html_report import LANGUAGES, Language, build_html

SINGLE = load_problem("single_label_classification")


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str | None] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [value for name, value in attributes if name in ("src", "href")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_page_is_self_contained_and_escapes_what_comes_from_data(language: Language) -> None:
    columns = {
        "split": ["train"] * 6,
        "text": ["<script>alert(1)</script> & more", "plain words"] * 3,
        "text_pair": [None] * 6,
        "label_text": ["<b>", "y"] * 3,
    }
    rows = pl.DataFrame(columns, schema_overrides={"text_pair": pl.String})
    drift = {"name": "other", **compare_rows(rows, rows, SINGLE)}
    page = build_html(analyze_rows(rows, SINGLE, name="<mine>"), language, drift)
    links = Links()
    links.feed(page)
    assert links.tags.count("svg") >= 4
    assert "script" not in links.tags
    assert links.outside == []
    assert not re.search(r"https?://|@import|url\(", page)
    said = ("資料報告：&lt;mine&gt;", "與 other 的比較", "卡方同質性檢定", "雙樣本檢定")
    assert [words in page for words in said] == [language == "zh-TW"] * 4
