import csv
import io
from datetime import UTC, datetime
from functools import partial

import pytest

from finetune30.ui import display
from finetune30.ui.translations import translate

HOSTILE = (
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "![x](https://example.com/x.png)",
    ":material/delete: $x$ **bold** `code`",
    "\x1b[31mred\x1b[0m\x07",
    "\u202egnp.exe",
)


def in_english(seconds: float | None) -> str:
    return display.duration(seconds, partial(translate, "en"))


def in_chinese(seconds: float | None) -> str:
    return display.duration(seconds, partial(translate, "zh"))


@pytest.mark.parametrize("text", HOSTILE)
def test_plain_text_leaves_no_markdown_sign_unescaped(text):
    shown = display.plain(text)
    bare = "".join(part[1:] if number else part for number, part in enumerate(shown.split("\\")))
    assert not set("*_`[]<>$:!~") & set(bare)
    assert not any(ord(character) < 32 or character in "\u202e\x7f" for character in shown)


def test_lines_keep_their_indentation_without_becoming_code():
    shown = display.plain_lines("if x:\n    *y*\n\tz")
    assert shown.split("  \n") == ["if x\\:", "\xa0" * 4 + "\\*y\\*", "\xa0" * 4 + "z"]


def test_raw_text_is_cut_and_loses_control_characters():
    assert display.raw("a\x1b[31mb") == "a[31mb"
    assert len(display.raw("x" * 10_000)) == display.LONGEST_TEXT


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\t=1", "  =1", "\r=1"])
def test_csv_cells_are_never_formulas(cell):
    text = display.save_csv(["name", "=x"], [[cell, 1.5]]).decode("utf-8-sig")
    header, row = csv.reader(io.StringIO(text, newline=""))
    assert header == ["name", "'=x"]
    assert row == ["'" + cell, "1.5"]


def test_csv_leaves_numbers_and_nothing_alone():
    text = display.save_csv(["a", "b"], [[-1.5, None]]).decode("utf-8-sig")
    assert text.splitlines()[1] == "-1.5,"


@pytest.mark.parametrize(
    ("function", "value", "shown"),
    [
        (display.number, 1234567, "1,234,567"),
        (display.number, 0.123456, "0.1235"),
        (display.number, 12345.678, "12,346"),
        (display.number, None, "–"),
        (display.number, float("nan"), "–"),
        (display.number, True, "–"),
        (display.percent, 0.9231, "92.3 %"),
        (display.rate, 5e-5, "5e-05"),
        (display.size, 753_000_000, "753 MB"),
        (display.size, 12, "12 B"),
        (in_english, 3.21, "3.2 s"),
        (in_english, 245, "4 min 05 s"),
        (in_english, 7800, "2 h 10 min"),
        (in_english, None, "–"),
        (in_chinese, 40, "40 秒"),
        (in_chinese, 245, "4 分 05 秒"),
        (in_chinese, 7800, "2 小時 10 分"),
    ],
)
def test_values_are_shown_with_units(function, value, shown):
    assert function(value) == shown


def test_times_are_local_with_utc_beside_them():
    moment = "2026-11-23T22:00:31+00:00"
    assert display.local_time(moment, "Asia/Taipei") == "2026-11-24 06:00:31"
    assert display.local_time("2026-11-23T22:00:31", None) == "2026-11-23 22:00:31"
    assert display.utc_time(moment) == "2026-11-23 22:00:31 UTC"
    assert display.local_time("rubbish", "Nowhere/Land") == "–"


def test_clock_of_the_end_is_that_of_the_visitor_and_says_another_day():
    now = datetime(2026, 1, 31, 12, 0, 30, tzinfo=UTC)  # 20:00:30 in Taipei
    assert display.clock_in(90, "Asia/Taipei", now) == "20:02"
    assert display.clock_in(90, "UTC", now) == "12:02"
    assert display.clock_in(4 * 3600, "Asia/Taipei", now) == "2026-02-01 00:00"
