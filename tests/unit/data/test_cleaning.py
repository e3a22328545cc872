"""Cleaning recipes: each step, replay, and that clean rows stay as they are."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune30.data import cleaning
from finetune30.data.cleaning import DEFAULT_RECIPE, TEXT_STEPS, clean_rows, clean_texts
from finetune30.data.html_text import strip_html
from finetune30.errors import ConfigError

RECIPE = [step for step in DEFAULT_RECIPE if step["step"] != "drop_by_rule"]


def rows_of(*texts, labels=None):
    return pl.DataFrame(
        {
            "row_id": [f"a.csv:{line}" for line in range(2, len(texts) + 2)],
            "split": ["train"] * len(texts),
            "text": list(texts),
            "text_pair": [None] * len(texts),
            "label_text": labels or ["x"] * len(texts),
            "reason": [None] * len(texts),
        },
        schema_overrides={"text_pair": pl.String, "reason": pl.String, "text": pl.String},
    )


def kept(result):
    return result.rows.filter(pl.col("reason").is_null())["text"].to_list()


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        ("remove_html", "a <b>b</b>old<br/>word &amp; more", "a bold word & more"),
        ("remove_html", "<script>alert(1)</script>text<!-- no -->", "text"),
        ("remove_html", "<em>very</em> <span class='x'>good</span>, <STRONG>yes</STRONG>", "very good, yes"),
        ("remove_html", "odd <,> and <'> are no tags", "odd <,> and <'> are no tags"),
        ("remove_html", "if x <y and z> 3 then <3", "if x <y and z> 3 then <3"),
        ("mojibake", "cafÃ© and “quotesâ€\x9d", "café and “quotes”"),
        ("mojibake", "SÃO PAULO and Ångström", "SÃO PAULO and Ångström"),
        ("unicode_nfc", "cafe\u0301", "café"),
        ("control_characters", "a\x00b\u200bc\ufeff", "abc"),
        ("white_space", "  a \t b\n\nc\u00a0", "a b c"),
    ],
)
def test_text_step_does_its_work(step, before, after):
    result = clean_rows(rows_of(before), [{"step": step}])
    assert kept(result) == [after]
    assert result.changed == ({step: 1} if before != after else {})


def test_dedupe_keeps_the_first_and_other_labels():
    result = clean_rows(
        rows_of("a", "a", "a ", "b", labels=["x", "x", "y", "x"]), [{"step": "white_space"}, {"step": "dedupe"}]
    )
    assert kept(result) == ["a", "a", "b"]
    assert result.dropped == {"dedupe": 1}
    assert result.rows["reason"].to_list() == [None, "duplicate", None, None]


def test_unknown_step_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="step 2 of the recipe is 'wash'") as caught:
        clean_rows(rows_of("a"), [{"step": "dedupe"}, {"step": "wash"}])
    assert "white_space" in caught.value.remedy


def test_parameter_that_a_step_does_not_have_is_refused():
    with pytest.raises(ConfigError, match="has no parameter level"):
        clean_rows(rows_of("a"), [{"step": "dedupe", "level": 3}])


pieces = st.sampled_from(
    [
        "<b>",
        "</b>",
        "<br/>",
        "&amp;",
        "&lt;",
        "&gt;",
        "&#65;",
        "<",
        ">",
        "b>",
        "cafÃ©",
        "â€™",
        "Ã",
        "́",
        "e",
        "é",
        "\x00",
        "\u200b",
        " ",
        "\t",
        "\n",
        "\xa0",
        "text",
        "漢字",
        "<script>",
        "</script>",
        "&amp;lt;b&amp;gt;",
        "ï»¿",
    ]
)
dirty = st.lists(pieces | st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=8).map("".join)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(dirty, min_size=1, max_size=6))
def test_cleaning_clean_rows_changes_nothing(texts):
    first = clean_rows(rows_of(*texts), RECIPE)
    rows = first.rows.filter(pl.col("reason").is_null())
    again = clean_rows(rows, RECIPE)
    assert again.rows.equals(rows)
    assert again.changed == {}
    assert again.dropped == {"dedupe": 0}
    assert clean_rows(rows_of(*texts), RECIPE).rows.equals(first.rows)


@settings(max_examples=100, deadline=None)
@given(text=dirty, step=st.sampled_from(sorted(TEXT_STEPS)))
def test_every_text_step_alone_is_idempotent(text, step):
    once = clean_rows(rows_of(text), [{"step": step}]).rows
    assert clean_rows(once, [{"step": step}]).rows.equals(once)
    assert strip_html(strip_html(text)) == strip_html(text)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(dirty, max_size=6), steps=st.lists(st.sampled_from(sorted(TEXT_STEPS)), max_size=5))
def test_texts_that_are_asked_are_cleaned_as_rows_are(texts, steps):
    recipe = [{"step": step} for step in steps]
    wanted = clean_rows(rows_of(*texts), recipe).rows["text"].to_list() if texts else []
    assert clean_texts(texts, recipe) == wanted
    assert [clean for text in texts for clean in clean_texts([text], recipe)] == wanted


def test_texts_that_no_step_changes_need_no_table(monkeypatch):
    seen = []
    real = cleaning._clean_cell

    def clean_cell(rows, *rest):
        seen.extend(rows["text"])
        return real(rows, *rest)

    monkeypatch.setattr(cleaning, "_clean_cell", clean_cell)
    texts = ["R&B, 3 < 4", "  <b>bold</b>", "plain", "caf\u00e9"]
    assert clean_texts(texts, [{"step": "remove_html"}, {"step": "control_characters"}]) == [
        "R&B, 3 < 4",
        "bold",
        "plain",
        "caf\u00e9",
    ]
    assert seen == ["  <b>bold</b>"]
