"""Whatever leaves as CSV goes through the guard against formulas: who writes CSV is known by name."""

from __future__ import annotations

import re
from pathlib import Path

import finetune30

ROOT = Path(finetune30.__file__).parent
WRITES_CSV = re.compile(r"\bcsv\.writer\b|\bDictWriter\b|\b(?:write|sink|to)_csv\b|import writer\b")
#: ui/display.py: the page's own, held to the same cells by test_formula_guard.
#: checkout.py: data that is read again, so it is written as it is (docs/data.md).
KNOWN = {"ui/display.py": 1, "data/versions/checkout.py": 1}


def test_every_writer_of_csv_is_known() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): len(WRITES_CSV.findall(path.read_text(encoding="utf-8")))
        for path in sorted(ROOT.rglob("*.py"))
    }
    assert {name: count for name, count in found.items() if count} == KNOWN, (
        "write it with finetune30.values.encode_csv"
    )
