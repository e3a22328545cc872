"""Terminal views of data."""

from __future__ import annotations

import io

from rich.console import Console

from finetune30.cli.data_tables import _print_labels

TREE = {
    "label_counts": {"0": 60, "1": 30},
    "total_samples": 90,
    "is_balanced": True,
    "imbalance_ratio": 2.0,
}


def test_bars_are_plain_signs_where_the_terminal_has_no_unicode():
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    _print_labels(Console(file=plain, width=80), TREE)
    plain.seek(0)
    assert f"{'#' * 30}\n" in plain.read()
