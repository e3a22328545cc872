"""Charts are drawn without Altair's check of them, so it is made here; each draws the table that it was given."""

from __future__ import annotations

import json
from typing import Any

import altair as alt
import pytest

from finetune30.ui import charts

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def draw_all() -> None:
    """Draw one chart of each kind (by itself: Streamlit's test runner reads the source of this function)."""
    from finetune30.ui import charts, many_charts, matrix

    runs = [
        {"created_at": f"2026-11-0{n}T10:00:00Z", "score": n / 10, "name": f"run {n}", "dataset_digest": "ab" * n}
        for n in (1, 2, 3)
    ]
    charts.bars({"train": {"good": 3, "bad": 1}, "evaluation": {"good": 1}}, title="labels", key="bars")
    charts.daily({"2026-11-01": 2, "2026-11-02": 0}, title="days", key="daily")
    charts.trend(runs, "score", title="score", form=".0%", key="trend", by="dataset_digest")
    words = {"title": "figure", "x": "across", "y": "upwards", "count": "rows"}
    charts.lines({"one": [(0, 1), (1, 2)], "two": [(0, 2), (1, 1)]}, words, "lines")
    charts.lines({"one": [(0, 1), (1, 2)]}, words, "bins", as_bars=True, on_press=print)
    block = {"row_names": ["a", "b"], "column_names": ["a", "b"], "values": [[5, 1], [2, 7]]}
    matrix.show_matrix(block, words, "matrix", lambda row, column: None)
    rates = many_charts.build_axis("rate", [1e-4, 2e-3, 1e-2])
    scores = many_charts.build_axis("score", [0.5, 0.7, 0.6], is_share=True)
    kinds = many_charts.build_axis("kind", ["x", "y", "x"])
    many_charts.scatter(["p", "q", "r"], rates, scores, kinds, key="scatter")
    many_charts.parallel(["p", "q", "r"], [rates, kinds, scores], key="parallel")


@pytest.fixture(scope="module")
def drawn() -> list[Any]:
    testing = pytest.importorskip("streamlit.testing.v1", reason="Streamlit is not installed")
    page = testing.AppTest.from_function(draw_all, default_timeout=200).run()
    assert not page.exception, page.exception
    return [element.proto for element in page.get("vega_lite_chart")]


def test_every_chart_is_one_that_altair_takes(drawn: list[Any]) -> None:
    assert len(drawn) == 8
    for proto in drawn:
        assert alt.Chart.from_dict(json.loads(proto.spec), validate=True)


def test_every_chart_has_the_tables_that_it_names(drawn: list[Any]) -> None:
    for proto in drawn:
        told = {dataset.name for dataset in proto.datasets}
        assert told
        assert told == set(_names(json.loads(proto.spec)))


def _names(node: Any) -> list[str]:
    """The names of data anywhere in a specification."""
    if isinstance(node, list):
        return [name for entry in node for name in _names(entry)]
    if not isinstance(node, dict):
        return []
    own = [node["data"]["name"]] if isinstance(node.get("data"), dict) and "name" in node["data"] else []
    return own + [name for entry in node.values() for name in _names(entry)]


@pytest.mark.parametrize(
    ("last", "written"),
    [
        ("2026-11-01T10:02:00Z", "%H:%M:%S"),
        ("2026-11-02T10:00:00Z", "%m-%d %H:%M"),
        ("2027-01-01T10:00:00Z", "%Y-%m-%d"),
    ],
)
def test_moments_beneath_an_axis_are_written_so_that_they_differ(last: str, written: str) -> None:
    assert charts._clock([{"at": "2026-11-01T10:00:00Z"}, {"at": last}]) == written
