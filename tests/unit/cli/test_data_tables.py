"""Terminal views of data."""

from __future__ import annotations

import io
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from finetune30.cli.data_tables import _print_labels, print_diff, print_version
from finetune30.data.versions.schema import schema_of
from finetune30.data.versions.storage import VersionStore
from finetune30.service.datasets.versions import diff_trees

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


def test_versions_of_any_columns_are_printed_with_their_values(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    messages = [[{"role": "user", "content": "hi"}], [{"role": "user", "content": "bye"}]]
    before = pl.DataFrame({"messages": messages, "stars": [0, 4], "origin": ["a:1", "a:2"]})
    after = before.with_columns(stars=pl.Series([3, 4]))
    schema = schema_of(before, {"messages": "text", "stars": "target", "origin": "origin"})
    store = VersionStore(tmp_path)
    facts: dict[str, Any] = {"targets": {}, "schema": schema, "problem_type": "x", "source": {}}
    made = [store.create({"train": rows}, **facts)[0] for rows in (before, after)]
    print_diff(diff_trees(store, made[0].digest, made[1].digest))
    assert capsys.readouterr().out.splitlines() == [
        "0 added, 0 removed, 1 relabelled, 0 changed, 1 unchanged",
        '~ relabelled a:1  [0 -> 3]  [{"role": "user", "content": "hi"}]',
    ]
    first = {"train": before.head(1).to_dicts()}
    print_version({**made[0].as_dict(), "tags": [], "runs": [], "first_rows": first})
    lines = capsys.readouterr().out.splitlines()
    assert "columns       messages (text), stars (target)" in lines
    assert lines[-1] == 'train  0  [{"role": "user", "content": "hi"}]'
