"""The page of a search over a real API, without a browser: what it says of the best trial, and what can be done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from finetune30.service.searches.standing import load_standing
from finetune30.store import RunStatus
from finetune30.store.search_ends import close_test, load_end, open_test, record_end, write_verdict
from finetune30.store.search_members import key_of_trial
from finetune30.store.search_rungs import record_rung
from finetune30.store.searches import Search, SearchStatus, TrialState, change_search, finish_trial, list_trials
from finetune30.store.tables import runs
from finetune30.ui import display
from finetune30.ui.fields import get_value
from finetune30.ui.messages import translate_message
from finetune30.ui.translations import translate
from support.searched import make_search, try_trials
from support.services import Services

pytestmark = [
    pytest.mark.integration,
    # Streamlit's test runner looks for a session where there is none.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

Page = Any
HOSTILE = "**a reason** <b>x</b> [y](http://z)"
LACKING = "not enough rows: about 1,530 are needed (trial 3: +3.1 points of right rows, p = 0.2, 216 rows, 3 seeds)"
BETTER = "better than the default (trial 3: +3.1 points of right rows, p = 0.02, 900 rows, 3 seeds)"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with contextlib.closing(Services(tmp_path_factory.mktemp("search-page"))) as started:
        started.start_api()
        started.wait_for_api()
        yield started


def begin(services: Services, name: str, *right: int | None) -> Search:
    search = make_search(services.store, name, seed=len(name))
    try_trials(services.store, Path(services.settings.results_folder), search, right)
    return search


def t(key: str, **values: Any) -> str:
    return translate("en", key, **values)


def checked(page: Page) -> Page:
    assert not page.exception, page.exception
    assert not page.error, [error.value for error in page.error]
    return page


def said(page: Page) -> str:
    return "\n".join(str(text.value) for text in (*page.info, *page.success, *page.warning, *page.caption))


def press(page: Page, key: str) -> Page:
    page.button(key=key).click().run()
    return checked(page)


def table(page: Page) -> str:
    return "\n".join(one.value.to_csv(index=False) for one in page.dataframe)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_search_that_goes_on_begins_with_what_may_be_believed(
    services: Services, visit: Callable[..., Page], language: str
) -> None:
    def own(key: str, **values: Any) -> str:
        return translate(language, key, **values)

    search = begin(services, f"goes on {language}", 300, 304, 296, 308, None)
    page = checked(visit(services.api_address, "searches", lang=language, search=search.id))
    first = page.info[0].value
    assert own("searches.best_value", best=3, metric="", value="").split("3")[0] in first
    assert "77.0 %" in first
    assert own("searches.lead", lead=own("unit.points", value="2.0")) in first
    assert own("searches.lead_may_be_luck", tried=5, reach="").split("5")[0] in first
    assert page.get("progress")[0].proto.text.startswith(own("searches.progress", ended=4, planned=20)[:12])
    shown = table(page)
    assert f'0,{own("searches.trial_state.DONE")},0.75,0.0005,"q_lin, v_lin",' in shown, "trial 0 has the default"
    assert f"4,{own('status.QUEUED')},,0.0001216,all-linear," in shown
    assert page.selectbox(key="search_choice").value == search.id
    assert len(page.get("vega_lite_chart")) == 2


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_rung_stands_with_what_was_decided_there(
    services: Services, visit: Callable[..., Page], language: str
) -> None:
    def own(key: str, **values: Any) -> str:
        return translate(language, key, **values)

    stop = {"kind": "clearly_worse", "at": [0.25, 0.5]}
    search = make_search(services.store, f"rungs {language}", seed=7, stop=stop)
    results = Path(services.settings.results_folder)
    try_trials(services.store, results, search, [300, 304, 296, None, None])
    decided = [(0, 0, 0.5), (0, 1, 0.7), (1, 0, 0.52), (1, 1, 0.71), (2, 0, 0.45), (3, 0, 0.4)]
    for number, rung, value in decided:
        verdict = "stopped" if number == 3 else "promoted"
        record_rung(
            services.store, search.id, number, rung,
            share=stop["at"][rung], step=(10, 20)[rung], total_steps=40, value=value, verdict=verdict,
            reason="", compared={"level": 0.005}, seconds=0.0,
        )  # fmt: skip
    with services.store.engine.begin() as connection:
        key = key_of_trial(search.id, 4)
        its = runs.c.idempotency_key == key
        now = services.store.now(connection)
        values = {"status": RunStatus.PAUSED.stored, "paused_at": now, "finished_at": now, "pause_at": 0.25}
        connection.execute(update(runs).where(its).values(**values))
    page = checked(visit(services.api_address, "searches", lang=language, search=search.id))
    (shown,) = [one.value for one in page.dataframe if own("searches.rung_share") in one.value.columns]
    assert shown.to_csv(index=False).splitlines()[1:] == [
        "25 %,10,5,1,3,1,0.5 %,40.0 %,45.0 %",
        f"50 %,20,2,0,2,0,0.5 %,{display.NOTHING},70.0 %",
    ]
    columns = ("share", "step", "reached", "paused", "promoted", "stopped", "level")
    assert list(shown.columns)[:7] == [own(f"searches.rung_{column}") for column in columns]


def test_use_these_settings_opens_submit_with_all_that_the_trial_was_trained_with(
    services: Services, visit: Callable[..., Page]
) -> None:
    search = begin(services, "used", 300, 304, 320)
    page = checked(visit(services.api_address, "searches", lang="en", search=search.id))
    (choice,) = [box for box in page.selectbox if box.label == t("searches.choose_trial")]
    assert choice.value == 2, "the best one stands there first"
    choice.set_value(1).run()
    page.button(key="search-use").click().run()
    assert not page.exception, page.exception
    assert [title.value for title in page.title] == [t("submit.title")]
    draft = page.session_state["draft"]
    run = load_standing(services.store, search.id, all_runs=True).runs[1]
    assert draft == run.config
    assert get_value(draft, "training.learning_rate") == pytest.approx(1.05e-4)


def test_a_search_is_stopped_resumed_and_given_more_trials_after_a_question(
    services: Services, visit: Callable[..., Page]
) -> None:
    search = begin(services, "moved", 300, None)

    def standing() -> Any:
        return load_standing(services.store, search.id, all_runs=True)

    page = checked(visit(services.api_address, "searches", lang="en", search=search.id))
    press(page, f"search-more-{search.id}")
    assert standing().spec.trials == 20, "it is asked first"
    page.number_input(key=f"search-more-count-{search.id}").set_value(5).run()
    press(page, f"search-more-{search.id}-yes")
    assert standing().spec.trials == 25
    press(page, f"search-stop-{search.id}")
    page.checkbox(key=f"search-stop-now-{search.id}").check().run()
    press(page, f"search-stop-{search.id}-yes")
    assert standing().search.status is SearchStatus.STOPPED
    assert standing().runs[1].status == "CANCELLED"
    page.run()
    assert t("searches.no_end") in said(page)
    press(page, f"search-resume-{search.id}")
    press(page, f"search-resume-{search.id}-yes")
    assert standing().search.status is SearchStatus.RUNNING
    assert standing().runs[1].status == "QUEUED"


def test_why_a_search_failed_is_text_whatever_stands_in_it(services: Services, visit: Callable[..., Page]) -> None:
    search = begin(services, "failed", 300, None)
    trial = list_trials(services.store, search.id)[1]
    finish_trial(services.store, trial, TrialState.FAILED, reason=HOSTILE)
    change_search(services.store, search.id, SearchStatus.RUNNING, status=SearchStatus.FAILED, reason=HOSTILE)
    page = checked(visit(services.api_address, "searches", lang="en", search=search.id))
    assert display.plain(HOSTILE, 400) in said(page)
    assert HOSTILE in table(page)


def test_a_judged_search_begins_with_its_verdicts(services: Services, visit: Callable[..., Page]) -> None:
    search = begin(services, "judged", 300, 304, 296, 312)
    record_end(services.store, search.id, 4, 3, None, None)
    change_search(services.store, search.id, SearchStatus.RUNNING, status=SearchStatus.SUCCEEDED)
    page = checked(visit(services.api_address, "searches", lang="en", search=search.id))
    assert t("searches.repeating", best=3, ended=0) in said(page)
    end = load_end(services.store, search.id)
    assert end is not None
    luck = {"size": 0.041, "tried": 4, "as_points": True}
    near = {"trials": [0, 1], "compared": 4, "cheapest": 0, "costs": {}}
    write_verdict(
        services.store, end, {"verdict": "not_enough", "message": LACKING, "expected_luck": luck, "near": near}
    )
    test = open_test(services.store, end, lease_seconds=600)
    assert test is not None
    close_test(services.store, test, result={"verdict": "better", "message": BETTER})
    page = checked(visit(services.api_address, "searches", lang="en", search=search.id))
    assert page.success[0].value == f"{t('searches.test_rows', count=1)}: {display.plain(BETTER, 400)}"
    assert page.info[0].value == f"{t('searches.evaluation_rows')}: {display.plain(LACKING, 400)}"
    assert t("searches.luck_size", tried=4, size="4.1 points") in said(page)
    assert t("searches.near", count=2, compared=4, cheapest=0) in said(page)
    assert t("searches.by_rows_and_seeds") in said(page)
    page.session_state["search-parallel"] = True
    assert len(checked(page.run()).get("vega_lite_chart")) == 3
    page = checked(visit(services.api_address, "searches", lang="zh", search=search.id))
    assert display.plain(translate_message("zh", LACKING), 400) in said(page)
    change_search(services.store, search.id, SearchStatus.SUCCEEDED, status=SearchStatus.RUNNING)
    assert open_test(services.store, end, lease_seconds=600) is not None
    page = checked(visit(services.api_address, "searches", lang="en", search=search.id))
    assert page.info[0].value.startswith(t("searches.best_value", best=3, metric="", value="")[:20]), "there is more"
    earlier = t("searches.evaluation_rows") + t("searches.of_earlier", tried=4)
    assert f"{earlier}: {display.plain(LACKING, 400)}" in said(page)
    assert f"{t('searches.test_rows', count=2)}: {t('searches.looking')}" in said(page)


def test_without_searches_the_page_says_how_one_is_made(tmp_path: Path, visit: Callable[..., Page]) -> None:
    with contextlib.closing(Services(tmp_path)) as started:
        started.start_api()
        started.wait_for_api()
        assert t("searches.empty") in said(checked(visit(started.api_address, "searches", lang="en")))
