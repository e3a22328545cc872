"""From the start of the process to the end of the first optimizer step, by the clock of whoever started it.

python -m benchmarks.first_step PATH PRECISION BASE_FOLDER ROWS_FILE
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main() -> None:
    """Build an engine, take one step, print the time of day at which it ended."""
    path, precision, base, rows_file = sys.argv[1:5]
    from benchmarks.contender import Ours

    rows = [(text, int(label)) for text, label in json.loads(Path(rows_file).read_text(encoding="utf-8"))]
    contender = Ours(path, precision, 2, Path(base), rows)
    contender.take_first_step()
    print(time.time())


if __name__ == "__main__":
    main()
