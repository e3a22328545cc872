"""The end of a search on a real store: what is planned, when it is judged, what is said, and who may open test rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from finetune30.cli.main import app
from finetune30.config import ExperimentConfig
from finetune30.config.loading import validate_tree
from finetune30.config.schema import MOST_SEED
from finetune30.config.search_loading import validate_search
from finetune30.errors import ConflictError
from finetune30.jobs.publishing import QueuePublisher
from finetune30.service.runs.open_records import Records
from finetune30.service.searches.advancing import decide
from finetune30.service.searches.changing import delete_search, resume_search, write_search
from finetune30.service.searches.ending import carry_out_end, open_end, plan_end
from finetune30.service.searches.judging import compare_sides
from finetune30.service.searches.keeper import SearchKeeper
from finetune30.service.searches.opening import open_test_rows_once
from finetune30.service.searches.plans import SearchPlan
from finetune30.service.searches.repeats import Repeats, load_repeats, runs_of_end
from finetune30.service.searches.standing import Standing, load_standing
from finetune30.service.searches.summary import describe_search
from finetune30.service.searches.verdicts import Judging
from finetune30.service.sets.plans import config_of
from finetune30.settings import load_settings
from finetune30.store import Run
from finetune30.store.run_sets import RunSet, load_set, runs_of
from finetune30.store.search_ends import SearchEnd, load_end, open_test
from finetune30.store.searches import (
    Search,
    SearchStatus,
    TrialState,
    finish_trial,
    list_driven,
    list_trials,
    record_trial,
    remove_search,
)
from finetune30.ui.messages import translate_message
from support.patience import wait_until
from support.run_store_lab import Lab

ERROR = {"code": "data_error", "message": "rows.csv:1:1: no text", "remedy": "mend it"}
PARAMETERS = {"lora.r": {"values": [4, 8, 16]}}
#: Comes to a run: its set's place (0: that of trial 0) and its number in the plan; tells whether it succeeds.
Comes = Callable[[int, int], bool]


def make(lab: Lab, *, sampler_seed: int = 7, training_seed: int = 42, **search: Any) -> Search:
    config = ExperimentConfig.model_validate({"experiment_name": "sought", "training": {"seed": training_seed}})
    given = {"seed": sampler_seed, "trials": 3, "parameters": PARAMETERS, "confirm": {"seeds": 3}, **search}
    plan = SearchPlan(config, frozenset(), "0" * 64, validate_search(given), "eval_accuracy", greater_is_better=True)
    return write_search(lab.store, plan, kind="local")


def try_all(lab: Lab, search: Search, *values: float) -> Standing:
    """Write trials with these values, and let the search end."""
    for number, value in enumerate(values):
        record_trial(lab.store, search.id, number, labels=None, parameters={"lora.r": 4 + number}, versions={})
        finish_trial(lab.store, list_trials(lab.store, search.id)[number], TrialState.DONE, value)
    return decide(lab.store, load_standing(lab.store, search.id))


def end_of(lab: Lab, search: Search) -> SearchEnd:
    end = load_end(lab.store, search.id)
    assert end is not None
    return end


def repeat(lab: Lab, standing: Standing, comes: Comes = lambda side, number: True, *, right: int = 0) -> bool:
    """Carry the repeats out; of 400 rows that trial 0 has half right, the best one has `right` more right."""
    sets = end_of(lab, standing.search).sets

    def carry_out(run_set: RunSet, explicit: frozenset[str]) -> None:
        side, config = sets.index(run_set.id), validate_tree(run_set.config)
        for entry in run_set.plan:
            number = entry["number"]
            run = runs_of(lab.store, run_set).get(number)
            if run is None:
                key = run_set.key_of(number)
                own = config_of(config, entry)
                run = lab.store.create(own, kind="local", results_root=lab.results, idempotency_key=key)
            elif not comes(side, number) or run.status == "SUCCEEDED":
                continue
            else:
                run = lab.store.retry(run.id)
            end_run(lab, run, 200 + right * side + number, succeeds=comes(side, number))

    return carry_out_end(Records(lab.store, lab.results), standing, carry_out)


def end_run(lab: Lab, run: Run, right: int, *, succeeds: bool) -> None:
    claim = lab.store.claim(run.id, lease_seconds=60)
    assert claim is not None
    if not succeeds:
        lab.store.fail(claim, ERROR)
        return
    rows = [f"{row:03}" for row in range(400)]
    named = [["a"] if row < right else ["b"] for row in range(400)]
    outcome = [row < right for row in range(400)]
    frame = pl.DataFrame({"row_id": rows, "label": [["a"]] * 400, "prediction": named, "outcome": outcome})
    (lab.results / run.folder).mkdir(parents=True, exist_ok=True)
    frame.write_parquet(lab.results / run.folder / "predictions.parquet")
    score = {"score": 0.5, "score_name": "eval_f1", "score_format": "percent"}
    lab.store.succeed(claim, {"eval_accuracy": right / 400, **score}, "f" * 64)


def test_searches_that_plan_the_same_share_no_repeats_and_one_is_deleted_alone(lab: Lab) -> None:
    first, second = make(lab), make(lab, sampler_seed=8)
    standings = [try_all(lab, one, 0.5, 0.7, 0.6) for one in (first, second)]
    sets = [end_of(lab, one).sets for one in (first, second)]
    assert len({set_id for one in sets for set_id in one}) == 4
    for standing in standings:
        assert repeat(lab, standing, right=100)
    kept = runs_of_end(lab.store, end_of(lab, second))
    with pytest.raises(ConflictError, match=rf"is a repeat of search {second.id[:8]} 'sought' and cannot be deleted"):
        lab.store.delete(kept[0].id, lab.results)
    assert delete_search(Records(lab.store, lab.results), first) == []
    assert [run.id for run in runs_of_end(lab.store, end_of(lab, second))] == [run.id for run in kept]
    gone = end_of(lab, second)
    remove_search(lab.store, second.id)
    assert (runs_of_end(lab.store, gone), load_repeats(lab.store, gone)) == ([], [])


def test_failed_repeats_leave_an_end_open_until_they_are_repeated(lab: Lab) -> None:
    search = make(lab)
    standing = try_all(lab, search, 0.5, 0.7, 0.6)
    assert not repeat(lab, standing, lambda side, number: side == 0 or number == 1, right=100)
    assert end_of(lab, search).judged_at is None
    command = f"ft30 search resume {search.id[:8]} --here"
    told = describe_search(lab.store, search)["end"]
    assert told["waits"] == (
        f"2 of 3 repeats of trial 1 failed: rows.csv:1:1: no text\nit is judged once they have been repeated: {command}"
    )
    assert translate_message("zh", told["waits"]) is not None
    resume_search(lab.store, search)
    assert repeat(lab, standing, lambda side, number: number < 3, right=100)
    verdict = end_of(lab, search).verdict or {}
    assert verdict["repeats"] == {
        "default": {"planned": 3, "finished": 3, "failed": 0},
        "best": {"planned": 3, "finished": 2, "failed": 1},
    }
    assert verdict["verdict"] == "not_enough", "it fails where trial 0 does not"
    assert verdict["message"].startswith("not judged better: more repeats of it failed than of trial 0 (trial 1: +2")
    assert "\n1 of 3 repeats of trial 1 failed" in verdict["message"]


def test_what_is_compared_is_named_and_where_it_is_not_the_metric_that_is_said(lab: Lab) -> None:
    search = make(lab)
    assert repeat(lab, try_all(lab, search, 0.5, 0.7, 0.6), right=100)
    verdict = end_of(lab, search).verdict or {}
    assert (verdict["verdict"], verdict["measure"], verdict["other_metric"]) == ("better", "all_labels_right", None)
    assert "points of rows with all labels right" in verdict["message"]
    assert translate_message("zh", verdict["message"]) is not None
    with lab.store.engine.begin() as connection:
        connection.exec_driver_sql("update searches set metric = 'score'")
        connection.exec_driver_sql("update search_ends set judged_at = null, verdict = null")
    assert repeat(lab, load_standing(lab.store, search.id))
    other = end_of(lab, search).verdict or {}
    assert other["other_metric"] == "score"
    assert "told apart by score, which is not the mean of what is compared" in other["message"]


def test_a_search_that_a_limit_ends_has_an_end_too(lab: Lab) -> None:
    search = make(lab, limits={"disk_gb": 1e-6}, trials=20)
    record_trial(lab.store, search.id, 0, labels=None, parameters={}, versions={})
    record_trial(lab.store, search.id, 1, labels=None, parameters={"lora.r": 8}, versions={})
    record_trial(lab.store, search.id, 2, labels=None, parameters={"lora.r": 4}, versions={})
    for one in list_trials(lab.store, search.id)[:2]:
        finish_trial(lab.store, one, TrialState.DONE, 0.5 + one.number / 5, size_bytes=1000)
    standing = decide(lab.store, load_standing(lab.store, search.id))
    assert (standing.search.status, standing.search.reason[:14]) == (SearchStatus.STOPPED, "2e-06 of 1e-06")
    end = open_end(lab.store, standing)
    assert end is not None
    assert (end.tried, end.best) == (2, 1), "the third one has not begun"
    assert repeat(lab, standing, right=100)


def test_one_that_a_limit_ends_waits_for_trials_that_workers_have(lab: Lab) -> None:
    search = make(lab, limits={"disk_gb": 1e-6}, trials=20)
    with lab.store.engine.begin() as connection:
        connection.exec_driver_sql("update searches set kind = 'queued'")
    for number in range(2):
        record_trial(lab.store, search.id, number, labels=None, parameters={}, versions={})
    lab.create(idempotency_key=f"search:{search.id}:1")
    first, second = list_trials(lab.store, search.id)
    finish_trial(lab.store, first, TrialState.DONE, 0.5, size_bytes=2000)
    assert decide(lab.store, load_standing(lab.store, search.id)).search.status is SearchStatus.RUNNING
    finish_trial(lab.store, second, TrialState.DONE, 0.7, size_bytes=2000)
    assert decide(lab.store, load_standing(lab.store, search.id)).search.status is SearchStatus.STOPPED
    assert [one.id for one in list_driven(lab.store)] == [search.id], "its end is under way"


def test_seeds_of_repeats_stay_within_what_a_configuration_takes(lab: Lab) -> None:
    search = make(lab, training_seed=MOST_SEED - 2)
    try_all(lab, search, 0.5, 0.7, 0.6)
    plan = load_set(lab.store, end_of(lab, search).sets[1]).plan
    assert [entry["seed"] for entry in plan] == [MOST_SEED - 3, MOST_SEED - 4, MOST_SEED - 5]
    plan_end(lab.store, load_standing(lab.store, search.id))
    assert len(end_of(lab, search).sets) == 2, "the same end"


def test_test_rows_are_not_opened_where_no_model_could_be_asked(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FT30_RESULTS_FOLDER", str(lab.results))
    monkeypatch.setenv("FT30_DATA_FOLDER", str(tmp_path / "data"))
    search = make(lab)
    standing = try_all(lab, search, 0.5, 0.7, 0.6)
    assert repeat(lab, standing, right=100)
    assert describe_search(lab.store, search)["end"]["test_rows"] == "not opened yet"
    records = Records(lab.store, lab.results)
    open_test_rows_once(records, standing, load_settings(), print)
    told = describe_search(lab.store, search)["end"]
    assert (told["tests"], told["test_rows"][:12]) == ([], "not opened: ")
    assert json.dumps(told)


def judge(best: int, default: int, rows: int, **options: Any) -> dict[str, Any]:
    import numpy as np

    spec = validate_search({"trials": 3, "parameters": PARAMETERS})
    sides = [np.repeat((np.arange(rows)[:, None] < right).astype(float), 3, axis=1) for right in (default, best)]
    repeats = [Repeats(3, 3, 0, 0, "")] * 2
    judging = Judging(1, "right", repeats, None, options.pop("look", None))
    return compare_sides(spec.confirm.least_gain, judging, sides, tried=options.pop("tried", 1))


def test_one_row_is_one_row() -> None:
    message = judge(1, 1, 1)["message"]
    assert "p = 1, 1 row, 3 seeds" in message
    assert translate_message("zh", message) is not None


def test_a_later_look_at_test_rows_counts() -> None:
    first, third = judge(20, 12, 40, look=1), judge(20, 12, 40, look=3, tried=3)
    assert third["p_rows"] == pytest.approx(3 * first["p_rows"])
    assert "look 3 at these test rows: p over rows counts 3 times" in third["message"]
    assert "look" not in first["message"]
    assert (first["look"], third["look"]) == (1, 3)


@pytest.mark.parametrize(("best", "default", "rows", "look"), [(20, 20, 40, None), (20, 18, 40, 1), (60, 30, 90, 1)])
def test_what_is_lacking_is_said_with_what_to_do_in_both_languages(
    best: int, default: int, rows: int, look: int | None
) -> None:
    said = judge(best, default, rows, look=look)
    for line in said["message"].split("\n"):
        assert translate_message("zh", line) is not None, line
    if said["verdict"] == "not_enough":
        assert "to tell it, " in said["message"] or "so many seeds" in said["message"]
        assert said["rows_needed"] is not None


@pytest.fixture
def judged(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """A search of workers whose best trial is judged, in the records that a command here opens."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FT30_RESULTS_FOLDER", str(lab.results))
    monkeypatch.setenv("FT30_DATA_FOLDER", str(tmp_path / "data"))
    search = make(lab)
    assert repeat(lab, try_all(lab, search, 0.5, 0.7, 0.6), right=100)
    with lab.store.engine.begin() as connection:
        connection.exec_driver_sql("update searches set kind = 'queued'")
    return search


def has_told(keeper: SearchKeeper, publisher: QueuePublisher, caplog: pytest.LogCaptureFixture) -> bool:
    keeper.look(publisher)
    return "test rows" in caplog.text


def test_a_process_that_cannot_open_the_test_rows_is_told_once_with_the_command(
    lab: Lab, judged: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = SearchKeeper(lab.store, load_settings())
    with QueuePublisher(load_settings()) as publisher, monkeypatch.context() as elsewhere:
        elsewhere.setenv("FT30_RESULTS_FOLDER", str(tmp_path / "elsewhere"))  # the process finds no such search
        keeper.look(publisher)
        keeper.look(publisher)
        wait_until(lambda: has_told(keeper, publisher, caplog), 60, "it is told")
        keeper.look(publisher)
    keeper.close()
    (command,) = re.findall(r"open them with: ft30 (search test \w+ --once)", caplog.text)
    assert CliRunner().invoke(app, command.split()).exit_code == 0
    assert (end_of(lab, judged).left_unopened or "") != "", "there are none, and that is on record"


def test_a_later_end_opens_no_test_rows_again_but_says_what_a_look_would_count(lab: Lab, judged: Search) -> None:
    assert open_test(lab.store, end_of(lab, judged), lease_seconds=60) is not None
    standing = resume_search(lab.store, judged, trials=4)
    record_trial(lab.store, judged.id, 3, labels=None, parameters={"lora.r": 16}, versions={})
    finish_trial(lab.store, list_trials(lab.store, judged.id)[3], TrialState.DONE, 0.8)
    standing = decide(lab.store, load_standing(lab.store, judged.id))
    assert repeat(lab, standing, right=100)
    assert list_driven(lab.store) == []
    told = describe_search(lab.store, judged)["end"]
    assert [(one["count"], one["tried"]) for one in told["tests"]] == [(1, 3)], "the earlier look stays"
    assert translate_message("zh", told["test_rows"]) is not None
    assert told["test_rows"].startswith("not opened again: look 2 would count 2 times\n")
    (command,) = re.findall(r"take it with: ft30 (search test \w+)", told["test_rows"])
    refused = CliRunner().invoke(app, command.split())
    assert str(refused.exception).startswith("there is no dataset version '0000"), "its rows are gone"
    assert (
        "test rows, look 1 (after 3 trials): no result" in CliRunner().invoke(app, ["search", "show", judged.id]).stdout
    )
