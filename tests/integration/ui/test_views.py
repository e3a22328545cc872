"""Every view of the page draws runs and data of every kind of learning: real runs, a real API, no browser."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune30.service.mirrors.carrying import carry_run
from finetune30.service.mirrors.trackers.tensorboard import TensorBoard
from finetune30.service.runs.open_records import Records
from finetune30.store.run_sets import record_set
from finetune30.store.test_looks import load_looks
from finetune30.ui import display
from finetune30.ui.app import PAGES
from finetune30.ui.client import ApiClient
from finetune30.ui.translations import translate
from finetune30.ui.views import data, run
from finetune30.ui.views.run_table import BEST
from support.kinds import KINDS, MULTI_LABEL, REGRESSION, SINGLE_LABEL, Kind
from support.patience import wait_until
from support.services import Services

pytestmark = [
    pytest.mark.integration,
    # Streamlit's test runner looks for a session where there is none.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

Page = Any
SCORES = ("eval_accuracy", "eval_f1", "eval_mse")
#: The figure by which each kind is known, as its problem calls it in both languages.
MEASURED = {
    SINGLE_LABEL.name: {"en": "Accuracy", "zh": "準確率"},
    MULTI_LABEL.name: {"en": "Exact match", "zh": "完全相符率"},
    REGRESSION.name: {"en": "Mean squared error", "zh": "均方誤差"},
}
#: The pieces below the figures.
PIECES = {
    SINGLE_LABEL.name: {
        "en": ["Each label", "Confusion matrix", "Most confused pairs"],
        "zh": ["各標籤表現", "混淆矩陣", "最常混淆的標籤"],
    },
    MULTI_LABEL.name: {"en": ["Each label"], "zh": ["各標籤表現"]},
    REGRESSION.name: {"en": ["Residuals \\(prediction \\- target\\)"], "zh": ["殘差（預測 \\- 目標）"]},
}


def t(key: str, **values: Any) -> str:
    return translate("en", key, **values)


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    given: Kind = request.param
    return given


@pytest.fixture
def look(visit: Callable[..., Page], kinds_api: Services) -> Callable[..., Page]:
    """Return look(view, **parameters) -> the page in English, which refuses nothing."""

    def look_at(view: str, **parameters: str) -> Page:
        return checked(visit(kinds_api.api_address, view, lang="en", **parameters))

    return look_at


def checked(page: Page) -> Page:
    """Return a page that was drawn to its end; neither an exception nor a refusal stands on it."""
    assert not page.exception, page.exception
    assert not page.error, [error.value for error in page.error]
    return page


def of_label(widgets: Any, label: str) -> Any:
    found = [widget for widget in widgets if widget.label == label]
    assert found, (label, [widget.label for widget in widgets])
    return found[0]


def unfold(page: Page, key: str) -> Page:
    """Open a folded part of a page: what is in it is made then."""
    page.session_state[key] = True
    return checked(page.run())


def figures(page: Page) -> dict[str, str]:
    return {metric.label: metric.value for metric in page.metric}


def cells(page: Page) -> str:
    """Everything that stands in the tables of a page."""
    return " ".join(table.value.astype(str).to_csv(index=False) for table in page.dataframe)


def run_names(table: Any) -> list[str]:
    """The names in a table of runs, without the sign of the best one."""
    return [str(name).removeprefix(f"{BEST} ") for name in table[t("column.name")]]


def digest_of(services: Services, kind: Kind) -> str:
    digest = services.store.get(kind.name).dataset_digest
    assert digest is not None
    return digest


def relabelled_of(services: Services, kind: Kind) -> str:
    """Return the digest of the version that was made from the data of a kind."""
    client = ApiClient(services.api_address)
    versions = client.load_versions()
    client.close()
    (made,) = [version for version in versions if version.get("parent") == digest_of(services, kind)]
    return str(made["digest"])


def test_every_view_has_a_test_here() -> None:
    assert set(PAGES) - {"models", "searches"} == {"submit", "follow", "experiments", "run", "compare", "data", "try"}


@pytest.mark.parametrize("part", run.PARTS)
def test_run_shows_each_of_its_parts(look: Callable[..., Page], kinds_api: Services, kind: Kind, part: str) -> None:
    page = look("run", run=kinds_api.store.get(kind.name).id)
    page.segmented_control(key="run_part").set_value(part).run()
    checked(page)
    if part == "results":
        assert MEASURED[kind.name]["en"] in figures(page)
    elif part == "data":
        assert figures(page)[t("run.data_rows")] == "48"
    elif part == "errors":
        assert page.selectbox(key=f"why-order-{kinds_api.store.get(kind.name).id}").options
    elif part == "files":
        assert "predictions.parquet" in cells(page)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_results_are_drawn_piece_by_piece_and_list_their_rows(
    visit: Callable[..., Page], kinds_api: Services, kind: Kind, language: str
) -> None:
    run_id = kinds_api.store.get(f"{kind.name}-again").id
    page = checked(visit(kinds_api.api_address, "run", lang=language, run=run_id))
    wanted = MEASURED[kind.name][language]
    assert figures(page)[wanted]
    assert any(caption.value.startswith(wanted) and "12" in caption.value for caption in page.caption)
    assert not [caption.value for caption in page.caption if caption.value.strip().endswith((":", "："))]
    titles = [block.value.strip("*") for block in page.markdown]
    pieces = PIECES[kind.name][language]
    assert [title for title in titles if title in pieces] == pieces

    choice = page.selectbox(key=f"behind-{run_id}")
    counts = {place: re.search(r"\((\d+)\)$", name) for place, name in enumerate(choice.options)}
    assert choice.value is None
    assert sum(found is not None for found in counts.values()) >= 3
    for place, count in counts.items():
        checked(choice.select_index(place).run())
        choice = page.selectbox(key=f"behind-{run_id}")
        if count is not None:
            assert [caption.value for caption in page.caption if shown(language, count.group(1)) == caption.value]
            assert [table for table in page.dataframe if len(table.value) == int(count.group(1))]
    assert "the film was" in cells(page)


def shown(language: str, rows: str) -> str:
    return translate(language, "data.shown_rows", shown=rows, total=rows)


def test_errors_are_narrowed_and_a_row_can_be_put_right(
    visit: Callable[..., Page], kinds_api: Services, kind: Kind
) -> None:
    # In English alone: this runner sends back what was chosen by its English name. The browser tests read both.
    language = "en"
    run_id = kinds_api.store.get(f"{kind.name}-again").id
    page = checked(visit(kinds_api.api_address, "run", lang=language, run=run_id))
    # As a press on a result does.
    page.session_state["run_part"] = "errors"
    page.session_state[f"why-shown-{run_id}"] = "all"
    parts = [table for table in checked(page.run()).dataframe if "#6b7479" in table.proto.arrow_data.styler.styles]
    assert parts, "12 rows are few: the parts of them are grey"
    told = [caption.value.replace("\\", "") for caption in page.caption]  # as it is read
    assert any("Grey: fewer than 30 rows" in value for value in told), told
    page.text_input(key=f"why-text-{run_id}").set_value("AWFUL").run()
    share = display.plain(display.percent(4 / 12))
    counted = translate(language, "why.count", total="4", rows="12", share=share).replace("\\", "")
    assert counted in [block.value.strip("*").replace("\\", "") for block in checked(page).markdown]
    (table,) = [table.value for table in page.dataframe if len(table.value) == 4]
    assert all("awful" in text for text in table[translate(language, "compare.text")])
    orders = page.selectbox(key=f"why-order-{run_id}").options
    wanted = "why.order.error_down" if kind is REGRESSION else "why.order.confidence_down"
    assert orders[0] == translate(language, wanted)


def test_follow_shows_an_ended_run(look: Callable[..., Page], kinds_api: Services, kind: Kind) -> None:
    page = look("follow", task=kinds_api.store.get(kind.name).id)
    assert float(figures(page)["Training loss"]) < 1
    assert any("SUCCEEDED" in block.value for block in page.code)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_experiments_list_runs_of_all_kinds(visit: Callable[..., Page], kinds_api: Services, language: str) -> None:
    page = checked(visit(kinds_api.api_address, "experiments", lang=language))
    for kind in KINDS:
        assert kind in cells(page)


def test_experiments_judge_each_kind_by_its_own_score(look: Callable[..., Page], kinds_api: Services) -> None:
    page = look("experiments")
    table = page.dataframe[0].value
    scores = dict(zip(run_names(table), table[t("column.score_name")], strict=True))
    assert scores[REGRESSION.name] == t("metric.eval_mse")
    assert scores[SINGLE_LABEL.name] == t("metric.eval_accuracy")
    best = unfold(page, "experiments-best").dataframe[-1].value  # one of each kind: they were trained on different data
    assert sorted(best[t("column.score_name")]) == sorted(t(f"metric.{name}") for name in SCORES)


def test_experiments_keep_runs_below_an_error(look: Callable[..., Page], kinds_api: Services) -> None:
    page = look("experiments")
    page.selectbox(key="filter_score_name").set_value("eval_mse").run()
    page.number_input(key="filter_max_score-eval_mse").set_value(-1.0).run()
    assert any(info.value == t("experiments.nothing_fits") for info in checked(page).info)
    page.number_input(key="filter_max_score-eval_mse").set_value(1000.0).run()
    table = checked(page).dataframe[0].value
    assert set(run_names(table)) == {REGRESSION.name, f"{REGRESSION.name}-again"}
    errors = [kinds_api.store.get(name).metrics["eval_mse"] for name in run_names(table)]  # type: ignore[index]
    assert list(table[t("metric.eval_mse")]) == errors


def test_compare_shows_runs_of_one_kind(look: Callable[..., Page], kinds_api: Services, kind: Kind) -> None:
    ids = [kinds_api.store.get(name).id for name in (kind.name, f"{kind.name}-again")]
    page = look("compare", ids=",".join(ids))
    shown = cells(page)
    assert "training.num_train_epochs" in shown
    verdicts = list(page.success) + list(page.warning)
    assert len(verdicts) == 1
    said = verdicts[0].value.replace("\\", "")
    if kind is REGRESSION:
        # Twenty times as many epochs: the squared error of the first is next to nothing.
        assert f"The mean squared error of {kind.name} is " in said
        assert f" lower than that of {kind.name}-again (95 % interval " in said
    else:
        assert kind.name in said
    assert not [run_id for run_id in ids if run_id[:6] in said]
    assert f"{kind.name}-eval.csv:" in shown  # rows on which the two disagree
    assert any(t("compare.labels") == title.value for title in page.header) == (kind is MULTI_LABEL)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_compare_names_a_run_on_other_rows_and_judges_the_others(
    visit: Callable[..., Page], kinds_api: Services, language: str
) -> None:
    first, again, other = (kinds_api.store.get(name).id for name in ("regression", "regression-again", "multi-label"))
    page = checked(visit(kinds_api.api_address, "compare", lang=language, ids=f"{first},{other},{again}"))
    (left,) = [text for info in page.info if "multi-label" in (text := info.value.replace("\\", ""))]
    words = {"en": "is not compared: the evaluation rows differ (12 in run", "zh": "：評估資料不同（實驗"}
    assert words[language] in left
    assert len(page.success) == 1
    assert {"en": "mean squared error", "zh": "均方誤差"}[language] in page.success[0].value


def test_compare_shows_runs_of_three_kinds_beside_each_other(look: Callable[..., Page], kinds_api: Services) -> None:
    page = look("compare", ids=",".join(kinds_api.store.get(name).id for name in KINDS))
    assert any("evaluation rows differ" in info.value for info in page.info)


@pytest.mark.parametrize("part", data.PARTS)
def test_data_shows_each_part_of_a_version(
    look: Callable[..., Page], kinds_api: Services, kind: Kind, part: str
) -> None:
    page = look("data", version=relabelled_of(kinds_api, kind)[:12])
    page.segmented_control(key="data_part").set_value(part).run()
    checked(page)
    if part == "rows":
        assert kind.rows()[-1][1].split("|")[0] in cells(page)
    elif part == "diff":
        counts = {kind: figures(page)[t(f"diff.{kind}")] for kind in data.DIFF_KINDS}
        assert counts == {"added": "0", "removed": "1", "relabelled": "1", "changed": "0", "unchanged": "58"}


def test_suspects_are_searched_for_and_shown(look: Callable[..., Page], kinds_api: Services, kind: Kind) -> None:
    page = look("data", version=digest_of(kinds_api, kind)[:12])
    page.segmented_control(key="data_part").set_value("suspects").run()
    of_label(checked(page).button, t("suspects.search")).click().run()

    def settled() -> bool:
        page.run()
        assert not page.exception, page.exception
        return not any(info.value == t("suspects.searching") for info in page.info)

    wait_until(settled, 200, "the search ends")
    if kind is REGRESSION:
        assert ["no labels to doubt" in error.value for error in page.error] == [True]
        return
    checked(page)
    of_label(page.toggle, t("suspects.everything")).set_value(True).run()
    assert kind.marks["great"].split("|")[0] in cells(checked(page))


def test_try_answers_a_text_and_a_file(look: Callable[..., Page], kinds_api: Services, kind: Kind) -> None:
    page = look("try", run=kinds_api.store.get(kind.name).id)
    page.text_area(key="try_text").set_value("the film was awful awful").run()
    of_label(page.button, t("try.ask")).click().run()
    checked(page)
    if kind is REGRESSION:
        assert float(figures(page)[t("try.value")].replace("−", "-")) == pytest.approx(-1.5, abs=0.5)
    else:
        assert any("anger" in block.value for block in page.markdown)
        said = t("try.confidence", share="")
        assert any(caption.value.startswith(said) for caption in page.caption)
    page.file_uploader[0].upload("asked.csv", b"nr,text\n1,the film was great great\n2,\n", "text/csv").run()
    column = of_label(checked(page).selectbox, t("field.data.text_column"))
    assert (column.value, column.options) == ("text", ["nr", "text"])
    of_label(page.button, t("try.batch_run", rows="2")).click().run()
    checked(page)
    _, content = page.session_state["try_file"]
    first, second = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    assert (first["row_id"], first["text"], first["nr"]) == ("asked.csv:2", "the film was great great", "1")
    (answer,) = (name for name in first if name.endswith(" prediction"))
    assert first[answer] not in ("", t("try.no_tokens"))
    assert second[answer] == t("try.no_tokens")
    if kind is not REGRESSION:
        (confidence,) = (float(first[name]) for name in first if name.endswith(" confidence"))
        (share,) = (first[name] for name in first if name.endswith(" probability"))
        assert 0.5 < confidence <= float(share.partition("|")[0])


def test_submit_takes_the_data_of_a_version(visit: Callable[..., Page], kinds_api: Services, kind: Kind) -> None:
    name = f"version:{digest_of(kinds_api, kind)}"
    page = visit(kinds_api.api_address, "", lang="en", data=name)
    assert not page.exception, page.exception
    (error,) = page.error  # the default model is out of reach, and never replaced unasked beside data of one's own
    assert "not cached on this machine" in error.value
    assert of_label(page.button, t("stand_ins.take_starter"))
    assert any(t("submit.out_of_reach") in caption.value for caption in page.caption)
    chosen = t("data_choice.chosen", name=display.plain(name[: len("version:") + 12]))
    assert chosen in [caption.value for caption in page.caption]


def test_submit_begins_with_the_configuration_of_a_run(
    look: Callable[..., Page], kinds_api: Services, kind: Kind
) -> None:
    page = look("run", run=kinds_api.store.get(kind.name).id)
    of_label(page.button, t("run.clone")).click().run()
    checked(page)
    assert [title.value for title in page.title] == [t("submit.title")]
    of_label(page.button, t("data_choice.preview")).click().run()
    shown = cells(checked(page))
    assert "the film was great great" in shown
    headings = [text.value.strip("*") for text in page.markdown]
    assert t("files.title") in headings
    assert "data.text_column" in shown
    if "problem_type" not in kind.config:
        assert t("detected.title") in headings
        assert "model.problem_type" in shown


def test_a_set_of_runs_stands_above_the_comparison(look: Callable[..., Page], kinds_api: Services) -> None:
    run = kinds_api.store.get(SINGLE_LABEL.name)
    own = {"seed": 1, "dataset_digest": run.dataset_digest}
    record_set(
        kinds_api.store,
        name="together",
        purpose="seeds",
        request_sha256="0" * 64,
        config=run.config,
        dataset_digest=str(run.dataset_digest),
        plan=[{"number": 1, **own}, {"number": 2, **own}],
    )
    page = unfold(look("compare"), "compare-sets")
    assert of_label(page.selectbox, t("sets.choose")).value is not None
    assert t("sets.none_finished") in [info.value for info in page.info]
    assert t("sets.not_handed_in") in cells(page)


def test_test_rows_are_opened_by_a_press_and_a_run_without_says_so(
    look: Callable[..., Page], kinds_api: Services
) -> None:
    run = kinds_api.store.get(SINGLE_LABEL.name)
    page = look("run", run=run.id)
    page.button(key=f"test-{run.id}").click().run()
    assert any("The look is counted" in block.value for block in page.markdown)
    page.button(key=f"test-{run.id}-yes").click().run()
    assert any("it has no test rows" in error.value for error in page.error)
    assert load_looks(kinds_api.store, [run.id]) == {run.id: []}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_run_tells_how_far_each_tracker_knows_it(
    visit: Callable[..., Page], kinds_api: Services, tmp_path: Path, language: str
) -> None:
    run_id = kinds_api.store.get(SINGLE_LABEL.name).id
    records = Records(kinds_api.store, kinds_api.settings.results_folder)
    carried = carry_run(records, run_id, TensorBoard(tmp_path), timeout_seconds=10.0)
    page = checked(visit(kinds_api.api_address, "run", lang=language, run=run_id))
    words = translate(language, "run.mirror_complete", tracker="TensorBoard", records=carried.records)
    assert words in [caption.value for caption in page.caption]
