"""Trials that pause at rungs, on the real queue and at a terminal: killed anywhere, the same decisions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from sqlalchemy import update

from finetune30.config import ExperimentConfig
from finetune30.config.search_loading import validate_search
from finetune30.service.searches.changing import begin_search, resume_search, stop_search, write_search
from finetune30.service.searches.plans import SearchPlan
from finetune30.service.searches.rungs import level_of_one
from finetune30.service.searches.space import Space
from finetune30.service.searches.standing import Standing, load_standing
from finetune30.service.searches.suggesting import Past, count_visible, suggest
from finetune30.service.searches.verifying import verify_search
from finetune30.service.statistics.prediction import compare_with_best
from finetune30.store import RunStatus
from finetune30.store.search_tables import search_rungs
from finetune30.store.searches import Search, SearchStatus, TrialState, load_search
from support.drill import drill_variables, score_of, score_on_the_way
from support.fork_server import ForkServer
from support.kinds import SINGLE_LABEL, KindsLab
from support.patience import wait_until
from support.services import Services, running_services

pytestmark = pytest.mark.integration

DRILLED: dict[str, Any] = drill_variables(0.01, scored=True)
#: Where whoever decides and whoever pauses may die, each for another trial.
POINTS = (
    "search.before_decision:1",
    "search.after_decision:7",
    "search.before_promotion:1",
    "search.after_promotion:1",
    "search.after_stop:1",
)
CONFIG = ExperimentConfig.model_validate({"experiment_name": "sought", "training": {"max_steps": 5}})
SPEC: dict[str, Any] = {
    **{"seed": 7, "window": 2, "trials": 13, "confirm": {"seeds": 0}},
    "parameters": {"training.learning_rate": {"low": 1e-5, "high": 2e-3, "scale": "log"}},
    "stop": {"kind": "clearly_worse", "at": [0.4, 0.6]},
}


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with running_services(tmp_path) as started:
        yield started


def begin(services: Services, **search: Any) -> Search:
    spec = validate_search({**SPEC, **search})
    plan = SearchPlan(CONFIG, frozenset(), "0" * 64, spec, "eval_accuracy", greater_is_better=True)
    made = write_search(services.store, plan, kind="queued")
    begin_search(services.store, made, services.settings, services.publisher)
    return made


def expect() -> dict[int, float]:
    """Return the trials that are stopped, and at which share, computed without any queue."""
    spec = validate_search(SPEC)
    space, configs, past, stopped = Space(CONFIG, spec), [CONFIG], [Past(0, None, "", "open")], dict[int, float]()
    for number in range(1, 13):
        found = suggest(space, spec, number, past, greater_is_better=True)
        assert found is not None
        values = space.settle(found.labels)
        past.append(Past(number, found.labels, space.identify(values), "open"))
        configs.append(space.apply(values, number))
    for number in range(13):
        seen = [configs[one] for one in range(count_visible(number, 2)) if one not in stopped]
        for share in (0.4, 0.6) if len(seen) >= 6 else ():
            early = [score_on_the_way(one, share) for one in seen]
            there = compare_with_best(early, [score_of(one) for one in seen], score_on_the_way(configs[number], share))
            if there is not None and there.is_behind and there.chance < level_of_one(0.05, 13, 2):
                stopped[number] = share
                break
    return stopped


def standing_of(services: Services, search: Search) -> Standing:
    return load_standing(services.store, search.id, all_runs=True)


def wait_for_end(services: Services, search: Search) -> Standing:
    is_over = SearchStatus.SUCCEEDED
    wait_until(lambda: load_search(services.store, search.id).status is is_over, 180, "the search ends")
    return standing_of(services, search)


def test_decisions_are_the_same_however_often_those_who_decide_and_pause_are_killed(services: Services) -> None:
    search = begin(services)
    for point in POINTS:
        worker = services.start_worker(drill=None, **DRILLED, FT30_FAILPOINT=point)
        assert worker.wait(180) == -9, point
        services.workers.clear()
    services.start_worker("dying", drill=None, **DRILLED, FT30_FAILPOINT="pause.before_row:1")
    wait_until(lambda: any(run.failures for run in standing_of(services, search).runs.values()), 180, "one dies there")
    services.kill_worker("dying")
    services.start_worker("last", drill=None, **DRILLED, FT30_FAILPOINT="pause.after_row:1")
    ended = wait_for_end(services, search)
    stopped = {one.number: one.stopped_at for one in ended.trials if one.state is TrialState.STOPPED}
    assert stopped == expect()
    assert set(stopped.values()) == {0.4, 0.6}
    for one in ended.trials:
        run = ended.runs[one.number]
        assert run.status is (RunStatus.CANCELLED if one.number in stopped else RunStatus.SUCCEEDED)
    promoted = ended.runs[7]
    # One that died where it paused pauses again a step later; what is decided on is the evaluation at the rung.
    assert (promoted.metrics or {})["resumed_from"] in (3, 4), "it went on from its second pause"
    assert (ended.rungs[7, 0].step, ended.rungs[7, 1].step) == (2, 3)
    verified = verify_search(ended)
    assert (verified["differ"], verified["decisions_differ"], verified["decisions"]) == ([], [], len(ended.rungs))


def test_paused_trials_outlive_all_workers_stop_with_the_search_and_cannot_be_tampered_with(services: Services) -> None:
    search = begin(services, trials=8)
    worker = services.start_worker(drill=None, **DRILLED, FT30_FAILPOINT="search.before_decision:15")
    assert worker.wait(180) == -9, "trial 7 has paused"
    services.workers.clear()
    paused = standing_of(services, search).runs[7]
    assert (paused.status, (paused.paused or {})["step"]) == (RunStatus.PAUSED, 2)
    stop_search(services.store, search, now=True)
    assert services.store.get(paused.id).status is RunStatus.CANCELLED
    resume_search(services.store, search)
    services.start_worker(drill=None, **DRILLED)
    ended = wait_for_end(services, search)
    assert (ended.rungs[7, 0].step, verify_search(ended)["decisions_differ"]) == (2, [])
    with services.store.engine.begin() as connection:
        mine = (search_rungs.c.search_id == search.id) & (search_rungs.c.number == 7) & (search_rungs.c.rung == 0)
        connection.execute(update(search_rungs).where(mine).values(value=0.0))
    differ = verify_search(standing_of(services, search))["decisions_differ"]
    assert [(one["number"], one["rung"]) for one in differ] == [(7, 0)]


@pytest.fixture(scope="module")
def lab(fork_server: ForkServer, tiny_model: Any, tmp_path_factory: pytest.TempPathFactory) -> KindsLab:
    return KindsLab.make(fork_server, tmp_path_factory.mktemp("rungs"), tiny_model())


def test_the_winner_and_a_trial_that_paused_and_was_promoted_are_what_train_makes_byte_for_byte(lab: KindsLab) -> None:
    tree: dict[str, Any] = {
        "experiment_name": "rungs",
        "model": {"name": "base", "dropout": 0.1, "num_labels": 3},
        "lora": {"target_modules": "auto", "r": 4, "lora_dropout": 0.1},
        "data": {
            "dataset_name": f"{SINGLE_LABEL.name}-train.csv",
            "eval_file": f"{SINGLE_LABEL.name}-eval.csv",
            "max_length": 24,
            "split_seed": 3,
        },
        "training": {"device": "cpu", "precision": "fp32", "max_steps": 6, "eval_strategy": "steps", "eval_steps": 2},
        "search": {
            **{"seed": 1, "trials": 8, "window": 1, "confirm": {"seeds": 0}, "metric": "eval_loss"},
            "parameters": {"training.learning_rate": {"low": 1e-6, "high": 3e-2, "scale": "log"}},
            "stop": {"kind": "clearly_worse", "at": [0.33]},
        },
    }
    (lab.folder / "rungs.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    said = lab.ft30("search", "start", "rungs.yaml", "--here")
    assert "at 33% of its steps" in said.stderr + said.stdout
    shown = json.loads(lab.ft30("search", "show", "rungs", "--json").stdout)
    assert sum(shown["counts"].values()) == 8
    assert shown["counts"].keys() <= {"DONE", "STOPPED"}
    promoted = next(row for row in reversed(shown["rungs"]) if row["verdict"] == "promoted" and row["number"] >= 6)
    assert (promoted["step"], promoted["total_steps"]) == (2, 6)
    verified = lab.ft30("search", "verify", "rungs").stdout
    assert "8 of 8 decisions made again are the same" in verified
    assert shown["best"]["number"] > 0, "the configuration as it was given is not the best"
    del tree["search"]
    for number in {shown["best"]["number"], promoted["number"]}:
        tree["experiment_name"] = plain = f"plain-{number}"
        tree["training"] |= {"learning_rate": shown["trials"][number]["parameters"]["training.learning_rate"]}
        (lab.folder / "plain.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
        lab.ft30("train", "--config", "plain.yaml")
        trial, own = lab.run_folder(f"rungs-trial{number}"), lab.run_folder(plain)
        digests = [json.loads((one / "manifest.json").read_text(encoding="utf-8"))["digests"] for one in (trial, own)]
        assert digests[0] == digests[1]
        weights = [one / "artifacts" / "final_model" / "adapter_model.safetensors" for one in (trial, own)]
        assert weights[0].read_bytes() == weights[1].read_bytes(), f"trial {number}"
        answers = [pl.read_parquet(one / "predictions.parquet") for one in (trial, own)]
        # The rows of a search are frozen as a version, so they are called by their place in it.
        assert answers[0].drop("row_id").equals(answers[1].drop("row_id")), f"trial {number}"


def test_a_way_that_is_not_evaluated_is_refused_with_what_evaluates_it(lab: KindsLab) -> None:
    tree = {
        "experiment_name": "late",
        "model": {"name": "base", "num_labels": 3},
        "data": {"dataset_name": f"{SINGLE_LABEL.name}-train.csv", "eval_file": f"{SINGLE_LABEL.name}-eval.csv"},
        "training": {"device": "cpu"},
        "search": {"trials": 24, "parameters": {"lora.r": {"values": [2, 4]}}, "stop": {"kind": "clearly_worse"}},
    }
    (lab.folder / "late.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    refused = lab.server.run("search", "start", "late.yaml", "--dry-run", cwd=lab.folder)
    assert (refused.returncode, "evaluated between 33% of its steps and its end" in refused.stderr) == (2, True)
    said = refused.stderr.partition("evaluate on the way")[2]
    flags = [part for key, value in re.findall(r"(training\.\w+) (\w+)", said) for part in (f"--{key}", value)]
    assert len(flags) == 4
    lab.ft30("search", "start", "late.yaml", "--dry-run", *flags)
    both = ("--training.early_stopping_patience", "2", *flags)
    refused = lab.server.run("search", "start", "late.yaml", "--dry-run", *both, cwd=lab.folder)
    assert "both end trainings early" in refused.stderr
