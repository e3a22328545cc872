"""Compare and Run tell what was said of two runs on their test rows: real runs, a real API, no browser."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from finetune30.store.test_looks import end_look, load_looks, open_look, record_verdict
from finetune30.ui.client import ApiClient
from finetune30.ui.translations import translate
from support.kinds import REGRESSION
from support.services import Services

pytestmark = [
    pytest.mark.integration,
    # Streamlit's test runner looks for a session where there is none.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

Page = Any


@pytest.mark.parametrize(
    ("language", "warned", "lower"),
    [("en", "Both are counted", "lower than that of"), ("zh", "都會計入", "均方誤差比")],
)
def test_two_runs_are_compared_on_test_rows_by_a_press_that_warns_and_verdicts_are_told(
    visit: Callable[..., Page], kinds_api: Services, language: str, warned: str, lower: str
) -> None:
    runs = [kinds_api.store.get(name) for name in (REGRESSION.name, f"{REGRESSION.name}-again")]
    ids = [run.id for run in runs]
    key = f"test-{ids[0]}-{ids[1]}"
    earlier = [len(looks) for looks in load_looks(kinds_api.store, ids).values()]
    page = visit(kinds_api.api_address, "compare", lang=language, ids=",".join(ids))
    page.button(key=key).click().run()
    assert any(warned in block.value for block in page.markdown)
    page.button(key=f"{key}-yes").click().run()
    assert page.error, "neither run has test rows"
    assert [len(looks) for looks in load_looks(kinds_api.store, ids).values()] == earlier, "nothing was opened"
    looks = []
    for run_id in ids:
        opened = open_look(kinds_api.store, run_id, lease_seconds=60)
        assert opened is not None
        end_look(kinds_api.store, opened, error={"message": "of a test"})
        looks.append(opened)
    with contextlib.closing(ApiClient(kinds_api.api_address)) as api:
        (pair,) = api.compare(ids)["pairs"]
    kept = {"names": {run.id: f"'{run.name}'" for run in runs}, "looks": {look.run_id: look.count for look in looks}}
    record_verdict(kinds_api.store, looks, {**pair, **kept})
    page = visit(kinds_api.api_address, "compare", lang=language, ids=",".join(ids))
    told = [box.value for box in (*page.success, *page.warning)]
    assert sum(lower in value for value in told) == 2, "on the evaluation rows, and on the test rows"
    counts = {"first": looks[0].count, "second": looks[1].count, "verdicts": looks[0].count}
    assert translate(language, "compare.test_looks", **counts) in [caption.value for caption in page.caption]
    page = visit(kinds_api.api_address, "run", lang=language, run=ids[0])
    assert any(lower in block.value for block in page.text)
