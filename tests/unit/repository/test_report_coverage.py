"""The figures of `make coverage`, by room."""

from __future__ import annotations

from typing import Any

from support.scripts import load_script


def reached(covered: int, total: int) -> dict[str, Any]:
    return {"summary": {"covered_lines": covered, "num_statements": total}}


def test_rooms_are_summed_and_the_least_reached_stands_first() -> None:
    files = {
        "src/finetune30/data/ledger.py": reached(9, 10),
        "src/finetune30/data/sources/files.py": reached(1, 10),
        "src/finetune30/errors.py": reached(3, 4),
        "src/finetune30/__init__.py": reached(0, 0),
        "/elsewhere/finetune30/api/keys.py": reached(0, 6),
    }
    rooms = load_script("report_coverage").sum_rooms({"files": files})
    assert list(rooms.items()) == [("api", (0, 6)), ("data", (10, 20)), ("errors", (3, 4)), ("all", (13, 30))]
