"""Stopping trials that are clearly worse: what it risks, in simulated searches, and what it takes to judge."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.search_stops import WORLDS, simulate

from finetune30.config import ExperimentConfig
from finetune30.service.searches.advancing import settle_trials
from finetune30.service.searches.judging import _count_tried
from finetune30.service.searches.rungs import level_of_one
from finetune30.service.searches.standing import load_standing
from finetune30.service.statistics.prediction import compare_with_best, fit_line
from finetune30.store import RunStatus
from finetune30.store.search_members import key_of_trial
from finetune30.store.search_rungs import load_rungs
from finetune30.store.searches import TrialState, finish_trial, list_trials, record_trial
from support.run_store_lab import Lab
from support.searched import make_search, try_trials

EARLY = [0.50, 0.52, 0.55, 0.57, 0.60, 0.62]
FINAL = [0.61, 0.62, 0.66, 0.67, 0.71, 0.72]


@pytest.mark.parametrize("world", ["one in five starts slowly", "the rung says something (0.7)"])
def test_the_best_trial_is_rarely_stopped_and_steps_are_saved(world: str) -> None:
    lost, cost = simulate(WORLDS[world], 60, 8, 100)
    assert lost <= 0.075
    assert cost < 0.95


def test_nothing_is_stopped_by_a_rung_that_says_nothing_or_the_contrary() -> None:
    assert compare_with_best([0.5] * 6, FINAL, 0.1) is None
    assert compare_with_best(EARLY, FINAL[::-1], 0.1) is None
    assert fit_line(EARLY[:2], FINAL[:2]) is None
    _, cost = simulate(WORLDS["curves cross"], 24, 8, 50)
    assert cost > 0.99


def test_the_chance_is_that_of_the_prediction_which_widens_away_from_what_was_seen() -> None:
    line = fit_line(EARLY, FINAL)
    assert line is not None
    assert line.chance_above(0.55, line.predict(0.55)) == pytest.approx(0.5)
    near, far = (line.chance_above(value, line.predict(value) + 0.01) for value in (0.56, 0.30))
    assert near < far < 0.5
    worse, equal = (compare_with_best(EARLY, FINAL, value) for value in (0.45, 0.62))
    assert worse is not None
    assert equal is not None
    assert (worse.best, worse.is_behind, equal.is_behind) == (5, True, False)
    assert worse.chance < level_of_one(0.05, 24, 1) < equal.chance
    exact = fit_line([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert exact is not None
    assert exact.noise == pytest.approx(0.0, abs=1e-12)


def test_a_search_shares_its_risk_out_over_trials_and_rungs() -> None:
    assert level_of_one(0.05, 4, 1) == 0.05
    assert level_of_one(0.05, 40, 2) == pytest.approx(0.005)


def test_a_trial_that_was_stopped_counts_among_those_that_the_rows_have_chosen_from(tmp_path: Path) -> None:
    lab = Lab(f"sqlite:///{tmp_path / 'experiments.db'}", tmp_path / "results")
    search = make_search(lab.store)
    try_trials(lab.store, lab.results, search, [300, None, None])
    stopped = list_trials(lab.store, search.id)[1]
    assert finish_trial(lab.store, stopped, TrialState.STOPPED, reason="clearly worse", stopped_at=0.33)
    assert _count_tried(load_standing(lab.store, search.id)) == 2, "trial 2 has not ended"
    lab.store.close()


def test_rungs_at_one_evaluation_are_decided_at_one_pause(tmp_path: Path) -> None:
    lab = Lab(f"sqlite:///{tmp_path / 'experiments.db'}", tmp_path / "results")
    search = make_search(lab.store, stop={"kind": "clearly_worse", "at": [0.3, 0.4, 0.8]})
    record_trial(lab.store, search.id, 0, labels=None, parameters={}, versions={})
    config = ExperimentConfig.model_validate(search.config)
    key = key_of_trial(search.id, 0)
    run = lab.store.create(config, kind="queued", results_root=lab.results, idempotency_key=key, pause_at=0.3)
    claim = lab.store.claim(run.id, lease_seconds=60)
    assert claim is not None
    lab.store.pause(claim, {"step": 20, "total_steps": 50, "metrics": {"eval_accuracy": 0.7}})
    lab.clock.advance(7)
    settle_trials(lab.store, load_standing(lab.store, search.id), lab.results)
    rows = load_rungs(lab.store, search.id).values()
    told = [(row.rung, row.step, row.value, row.verdict) for row in rows]
    assert told == [(0, 20, 0.7, "promoted"), (1, 20, 0.7, "promoted")]
    assert [row.seconds for row in rows][1] == 0.0, "the time until the pause counts once"
    going = lab.store.get(run.id)
    assert (going.status, going.pause_at) == (RunStatus.QUEUED, 0.8)
    lab.store.close()
