"""Learning curves on the page, over a real API, without a browser: the answer first, the curve, the runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune30.ui.translations import translate
from support.searched import make_curve
from support.services import Services

pytestmark = [
    pytest.mark.integration,
    # Streamlit's test runner looks for a session where there is none.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

Page = Any


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with contextlib.closing(Services(tmp_path_factory.mktemp("set-page"))) as started:
        started.start_api()
        started.wait_for_api()
        yield started


def open_set(visit: Callable[..., Page], services: Services, language: str) -> Page:
    page = visit(services.api_address, "compare", lang=language)
    page.session_state["compare-sets"] = True
    page.run()
    assert not page.exception, page.exception
    return page


@pytest.mark.parametrize(
    ("language", "answer", "waiting"),
    [
        (
            "en",
            "more data would likely help: doubling from 500 to 1,000 rows gave ",
            "on all of them 1 run has not ended",
        ),
        (
            "zh",
            "更多資料很可能有幫助：資料由 500 筆加倍到 1,000 筆",
            "尚未評判：使用一半資料與全部資料的實驗有 1 個尚未結束",
        ),
    ],
)
def test_a_curve_begins_with_its_answer_and_shows_the_score_by_rows_with_its_band(
    services: Services, visit: Callable[..., Page], language: str, answer: str, waiting: str
) -> None:
    results = Path(services.settings.results_folder)
    make_curve(services.store, results, f"goes on {language}", {0.5: [300, 303], 1: [360, None]})
    page = open_set(visit, services, language)
    told = [info.value.replace("\\:", ":") for info in page.info]  # as it is read
    assert any(waiting in value for value in told), told
    make_curve(services.store, results, f"ended {language}", {0.25: [250, 255], 0.5: [300, 303], 1: [360, 363]})
    page = open_set(visit, services, language)
    told = [box.value.replace("\\:", ":") for box in page.success]
    assert any(answer in value for value in told), told
    (chart,) = page.get("vega_lite_chart")
    marks = [json.dumps(layer["mark"]) for layer in json.loads(chart.proto.spec)["layer"]]
    assert [mark for mark in marks if "area" in mark], "the band"
    table = page.dataframe[-1].value
    assert table[translate(language, "sets.training_rows")].tolist() == ["250", "250", "500", "500", "1,000", "1,000"]
