"""The command of a benchmark that counts simulated cases: how many times each, and where the table goes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def print_table(about: str | None, tabulate: Callable[[int], str], *, times: int, counted: str) -> None:
    """Print what `tabulate` makes of --times, and write it to --output; `counted` says what happens so many times."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=times, help=counted)
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    text = tabulate(options.times)
    print(text)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text + "\n", encoding="utf-8")
