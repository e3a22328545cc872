"""The record of many runs without a browser: columns, what is hidden, the address, the side bar, the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune30.api.application import build_app
from finetune30.config.loading import validate_tree
from finetune30.settings import Settings
from finetune30.store import RunFilter, RunStatus, RunStore
from finetune30.store.annotations import RunEdit, edit_run
from finetune30.store.workers import report_worker
from finetune30.ui.display import NOTHING
from finetune30.ui.messages import translate_message
from finetune30.ui.translations import translate
from finetune30.ui.views.run_table import BEST, STAR, state_label
from support.api_thread import serve

pytestmark = [
    pytest.mark.integration,
    # Streamlit's test runner looks for a session where there is none.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

Page = Any
LANGUAGES = pytest.mark.parametrize("language", ["en", "zh"])


class Queue:
    def publish(self, run_id: str) -> None:
        """Tell nobody."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Any]:
    """An API on a port of its own, without Redis and worker, and its store."""
    settings = Settings(
        results_folder=tmp_path / "results",
        submitted_folder=tmp_path / "config",
        data_folder=tmp_path / "data_store",
        disk_reserve_bytes=0,
        redis_url="redis://127.0.0.1:9/0",
    )
    app = build_app(settings, publisher=Queue())
    with serve(app) as url:
        store: RunStore = app.state.services.store
        yield SimpleNamespace(url=url, store=store, results=settings.results_folder)


def add(service: Any, name: str, accuracy: float | None, **tree: Any) -> str:
    """Record a run, finished where it has an accuracy."""
    config = validate_tree({"experiment_name": name, **tree})
    run = service.store.create(config, kind="queued", results_root=service.results)
    if accuracy is not None:
        claim = service.store.claim(run.id, lease_seconds=60)
        service.store.describe(claim, dataset_digest="d" * 64)
        service.store.succeed(claim, {"eval_accuracy": accuracy, "eval_loss": 1 - accuracy}, "0" * 64)
    return str(run.id)


def table(page: Page) -> Any:
    return page.dataframe[0].value


@LANGUAGES
def test_columns_are_what_differs_and_what_was_written(service: Any, visit: Callable[..., Page], language: str) -> None:
    def t(key: str, **values: Any) -> str:
        return translate(language, key, **values)

    better = add(service, "fast", 0.75, training={"learning_rate": 0.002})
    add(service, "slow", 0.5, training={"learning_rate": 0.0001})
    edit_run(service.store, better, RunEdit(starred=True, tags=("baseline",)))
    page = visit(service.url, "experiments", lang=language)
    rows = table(page)
    assert list(rows[t("column.name")]) == ["slow", f"{STAR} {BEST} fast"]
    assert [list(cell) for cell in rows[t("column.status")]] == [[f"✓ {t('status.SUCCEEDED')}"]] * 2
    assert list(rows[t("field.training.learning_rate")]) == [0.0001, 0.002]
    assert [list(cell) for cell in rows[t("column.tags")]] == [[], ["baseline"]]
    for hidden in ("field.lora.r", "column.progress", "column.note"):  # alike, or nothing to say
        assert t(hidden) not in rows
    assert not any("UTC" in title for title in rows)
    assert not {"columns", "differing", "page", "selected", "desc"} & set(page.query_params)


def test_columns_are_chosen_and_stand_in_the_address(service: Any, visit: Callable[..., Page]) -> None:
    def t(key: str) -> str:
        return translate("en", key)

    add(service, "fast", 0.75, training={"learning_rate": 0.002})
    add(service, "slow", 0.5, training={"learning_rate": 0.0001})
    page = visit(service.url, "experiments", lang="en")
    page.session_state["experiments-columns-menu"] = True
    page.run()
    page.toggle(key="experiments_differing").set_value(False).run()
    assert t("field.training.learning_rate") not in table(page)
    page.multiselect(key="experiments_columns").set_value(["score", "lora.r", "metrics.eval_loss"]).run()
    assert not page.exception, page.exception
    assert list(table(page)[t("field.lora.r")]) == [8, 8]
    assert list(table(page)[t("metric.eval_loss")]) == [0.5, 0.25]
    assert page.query_params["columns"] == ["score", "lora.r", "metrics.eval_loss"]
    assert page.query_params["differing"] == "false"
    page.session_state["experiments-columns-menu"] = False
    page.run()
    assert list(table(page)[t("field.lora.r")]) == [8, 8]  # chosen also while its menu is folded
    assert page.query_params["columns"] == ["score", "lora.r", "metrics.eval_loss"]


@LANGUAGES
def test_archived_runs_are_hidden_and_said(service: Any, visit: Callable[..., Page], language: str) -> None:
    edit_run(service.store, add(service, "old", 0.5), RunEdit(archived=True))
    said = translate(language, "experiments.archived_hidden", count=1)
    page = visit(service.url, "experiments", lang=language)
    assert said in [caption.value for caption in page.caption]
    add(service, "new", 0.5)
    page = visit(service.url, "experiments", lang=language)
    assert list(table(page)[translate(language, "column.name")]) == [f"{BEST} new"]
    assert said in [caption.value for caption in page.caption]
    page = visit(service.url, "experiments", lang=language, archived="only")
    (name,) = table(page)[translate(language, "column.name")]
    assert name == f"old · {translate(language, 'marks.archived')}"
    assert page.query_params["archived"] == "only"
    assert said not in [caption.value for caption in page.caption]


def test_an_address_fills_the_filters_and_what_cannot_be_read_is_left_out(
    service: Any, visit: Callable[..., Page]
) -> None:
    for number in range(3):
        edit_run(service.store, add(service, f"run {number}", 0.5 + number / 10), RunEdit(tags=("x",)))
    add(service, "other", 0.5)
    page = visit(
        service.url, "experiments", lang="en", name="run", tag="x", sort_by="eval_accuracy", desc="false",
        status="SUCCEEDED", max_runtime="much", start_date="soon", archived="maybe", page="2-nonsense" * 300,
    )  # fmt: skip
    names = [name.removeprefix(f"{BEST} ") for name in table(page)["Name"]]
    assert names == ["run 0", "run 1", "run 2"]
    assert page.text_input(key="filter_name").value == "run"
    assert page.multiselect(key="filter_tag").value == ["x"]
    assert page.query_params["sort_by"] == "eval_accuracy"
    for word in ("max_runtime", "start_date", "archived", "page"):
        assert word not in page.query_params
    page.text_input(key="filter_name").set_value("").run()
    assert "name" not in page.query_params
    assert len(table(page)) == 3


@LANGUAGES
def test_where_a_run_waits_without_a_worker_the_page_says_how_to_start_one(
    service: Any, visit: Callable[..., Page], language: str
) -> None:
    run_id = add(service, "waiting", None)
    said = translate(language, "health.no_worker_waits", command="make start-worker")
    assert said in [warning.value for warning in visit(service.url, "follow", lang=language, task=run_id).warning]
    page = visit(service.url, "experiments", lang=language)
    assert said in [warning.value for warning in page.warning]
    side = " ".join(block.value for block in page.sidebar.markdown)
    assert translate(language, "health.no_worker", command="make start-worker") in side
    assert translate(language, "health.redis_down") in side
    assert [list(cell) for cell in table(page)[translate(language, "column.status")]] == [
        [f"◷ {translate(language, 'status.QUEUED')}"]
    ]


@LANGUAGES
def test_a_worker_that_drains_is_shown_and_begins_nothing(
    service: Any, visit: Callable[..., Page], language: str
) -> None:
    run_id = add(service, "waiting", None)
    report_worker(service.store, "elsewhere:boot:1:1", "there", ("cpu",), draining=True)
    page = visit(service.url, "follow", lang=language, task=run_id)
    said = translate(language, "health.no_worker_waits", command="make start-worker")
    assert said in [warning.value for warning in page.warning]
    side = " ".join(block.value for block in page.sidebar.markdown)
    assert translate(language, "health.draining", count=1) in side
    assert translate(language, "health.workers_of", busy=0, places=0, slots=NOTHING) in side


@LANGUAGES
def test_a_run_that_no_worker_knows_says_what_is_not_known(
    service: Any, visit: Callable[..., Page], language: str
) -> None:
    run_id = add(service, "ahead", None)
    fault = "training.later: unknown key"
    report_worker(service.store, "elsewhere:boot:1:1", "there", ("cpu",), refused={run_id: fault})
    page = visit(service.url, "follow", lang=language, task=run_id)
    shown = " ".join(caption.value for caption in page.caption).replace("\\", "")
    in_own_words = translate_message(language, fault) or fault
    assert (in_own_words == fault) is (language == "en")
    assert translate(language, "follow.waits.other_version", fault=in_own_words) in shown


def test_the_place_in_the_queue_is_sent(service: Any, visit: Callable[..., Page]) -> None:
    page = visit(service.url, lang="en", preset="default")  # without, an empty installation shows its cards
    page.select_slider[0].set_value(10).run()
    next(button for button in page.button if button.label == "Submit").click().run()
    assert not page.exception, page.exception
    (run,) = service.store.find(RunFilter())
    assert run.priority == 10


def test_states_are_told_apart_without_colour() -> None:
    from finetune30.ui.views.run_table import PILLS, SIGNS

    assert set(SIGNS) == set(PILLS) == set(RunStatus)
    assert len(set(SIGNS.values())) == len(RunStatus)
    assert state_label("LOST") == "? LOST"
