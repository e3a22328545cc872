"""Print how much of each room the tests reach: usage: report_coverage.py FILE, which `coverage json` wrote."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

PACKAGE = "finetune30/"


def sum_rooms(report: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return (statements reached, statements) by room, the least reached first, and "all" at the end.

    A module that stands beside the rooms is a room of its own.
    """
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for path, found in report["files"].items():
        inside = path.replace("\\", "/").rpartition(PACKAGE)[2]
        room = inside.partition("/")[0].removesuffix(".py")
        for name in (room, "all"):
            sums[name][0] += found["summary"]["covered_lines"]
            sums[name][1] += found["summary"]["num_statements"]
    counted = {room: (reached, total) for room, (reached, total) in sums.items() if total}
    return dict(sorted(counted.items(), key=lambda item: (item[0] == "all", item[1][0] / item[1][1])))


def main() -> None:
    """Print one line a room."""
    rooms = sum_rooms(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    for room, (reached, total) in rooms.items():
        sys.stdout.write(f"{room:<12} {100 * reached / total:5.1f} %  {reached:>6,} of {total:>6,} statements\n")


if __name__ == "__main__":
    main()
