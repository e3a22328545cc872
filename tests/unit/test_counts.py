"""What is counted is said in the singular of one, in commands, on the page and in what the page translates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import finetune30
from finetune30.ui.messages import translate_message
from finetune30.ui.translations import translate
from finetune30.values import filled, of_one, say_count

ROOT = Path(finetune30.__file__).parent
#: Rooms in which one is no rare count.
ROOMS = ("cli", "service/parity", "service/runs", "service/searches", "service/sets", "service/suspects",
         "service/testing", "store")  # fmt: skip
_NOUNS = (
    "answers|cells|columns|conversations|epochs|files|findings|folds|groups|labels|lines|looks|models|pairs|pieces|"
    "processes|questions|records|repeats|rows|runs|searches|seeds|sets|steps|texts|times|tokens|trials|values|versions"
)
#: A count in braces, and what is counted; a constant is no count that may be one.
_BARE = re.compile(rf"""\{{(?![A-Z_]+\}})[^{{}}"]+\}} (?:[a-z]+ )?(?:{_NOUNS})\b""")
#: Places where it is never one, or stands behind words that hide a number.
_NEVER_ONE = (
    "{after} rows", "{told} seeds", "{rows:,} rows", "{judging.look} times", "{often} times", "{split} rows",
    "{pairs} pairs", "{LEAST_FINISHED} trials", "is None else planned} trials", "is None else search.trials} trials",
    "{point['training_rows']:>9,} rows", "{len(counts) - _LABELS_SHOWN} more labels", ":,.0f} trainable",
    "{len(block['row_names'])} rows", "{len(names)} columns", "gives answers", "give answers", "{seeds} seed does",
    "{called} runs",
)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "of_a_one"),
    [
        ("rows", "row"), ("training rows are", "training row is"), ("searches begin", "search begins"),
        ("processes were started", "process was started"), ("copies", "copy"), ("rows).", "row)."),
        ("has rows", "has row"), ("is", "is"), ("counts twice", "counts twice"),
    ],
)  # fmt: skip
def test_words_follow_a_one_in_the_singular(words: str, of_a_one: str) -> None:
    assert of_one(words) == of_a_one
    assert say_count(1, words) == f"1 {of_a_one}"
    assert say_count(0, words) == f"0 {words}"
    assert say_count(1200, words, ",") == f"1,200 {words}"
    assert filled(f"{{count:,}} {words}", {"count": 1}) == f"1 {of_a_one}"
    assert filled(f"{{count:,}} {words}", {"count": 2000}) == f"2,000 {words}"


def test_the_page_and_its_translations_know_the_singular() -> None:
    assert "(1 row)" in translate("en", "compare.group", names="a, b", rows=1)
    assert "(2 rows)" in translate("en", "compare.group", names="a, b", rows=2)
    for said in ("1 run has", "3 runs have"):
        chinese = translate_message("zh", f"not judged yet: on half of the rows and on all of them {said} not ended")
        assert chinese == f"尚未評判：使用一半資料與全部資料的實驗有 {said[0]} 個尚未結束"


@pytest.mark.parametrize("room", ROOMS)
def test_no_plural_stands_behind_a_bare_count(room: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for match in _BARE.finditer(path.read_text(encoding="utf-8"))
        if "say_count" not in match.group() and not any(one in match.group() for one in _NEVER_ONE)
    ]
    assert found == []
