"""How far the best of a search may lead trial 0 by luck, and when its trials will have ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from finetune30.service.runs.open_records import Records
from finetune30.service.searches.luck import describe_luck
from finetune30.service.searches.pace import expect_end
from finetune30.service.searches.standing import Standing, load_standing
from finetune30.service.statistics.luck import expected_maximum, reach_of_best
from finetune30.store import RunStatus
from finetune30.store.search_ends import load_end, record_end, write_verdict
from finetune30.store.searches import Search, SearchStatus
from finetune30.ui.messages import translate_message
from support.run_store_lab import Lab
from support.searched import make_search, try_trials


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(f"sqlite:///{tmp_path / 'experiments.db'}", tmp_path / "results")
    yield made
    made.store.close()


def standing_of(lab: Lab, search: Search) -> Standing:
    return load_standing(lab.store, search.id, all_runs=True)


def test_the_band_starts_at_trial_0_and_reaches_as_far_as_luck_does(lab: Lab) -> None:
    search = make_search(lab.store)
    try_trials(lab.store, lab.results, search, [300, 304, None, 296])
    records = Records(lab.store, lab.results)
    luck = describe_luck(records, standing_of(lab, search))
    assert (luck["default"], luck["with_seeds"], luck["reason"]) == (0.75, False, "")
    assert 0 < luck["noise"] < 0.0217, "rows that all answered move less than the share of one run alone"
    counts = [1, 2, 3, 4]
    wanted = [0.75 + luck["noise"] * reach for reach in reach_of_best(counts)]
    assert [point["tried"] for point in luck["band"]] == counts
    assert [point["reach"] for point in luck["band"]] == pytest.approx(wanted)
    record_end(lab.store, search.id, 4, 1, None, None)
    end = load_end(lab.store, search.id)
    assert end is not None
    expected = {"size": 0.04, "tried": 3, "as_points": True}
    write_verdict(lab.store, end, {"verdict": "not_enough", "message": "", "expected_luck": expected})
    luck = describe_luck(records, standing_of(lab, search))
    assert luck["with_seeds"], "once the end was judged, what seeds move is in it"
    assert luck["noise"] == pytest.approx(0.04 / expected_maximum(3))


def test_many_trials_have_a_band_of_few_points_that_ends_at_the_last(lab: Lab) -> None:
    search = make_search(lab.store, trials=60)
    try_trials(lab.store, lab.results, search, [300, 310, *[None] * 58])
    band = describe_luck(Records(lab.store, lab.results), standing_of(lab, search))["band"]
    assert [point["tried"] for point in band] == [*range(1, 41), 44, 49, 54, 60]


@pytest.mark.parametrize(
    ("right", "off", "reason"),
    [
        ([None, 300], 0.0, "trial 0 has no value yet"),
        ([300], 0.0, "fewer than two trials were judged on the same rows"),
        ([300, 310], 0.01, "eval_accuracy is not the mean of what is known of each row"),
    ],
)
def test_without_a_band_the_reason_is_said(lab: Lab, right: list[int | None], off: float, reason: str) -> None:
    search = make_search(lab.store)
    try_trials(lab.store, lab.results, search, right, metric_off=off)
    luck = describe_luck(Records(lab.store, lab.results), standing_of(lab, search))
    assert (luck["band"], luck["reason"]) == ([], reason)
    assert translate_message("zh", reason) is not None


def test_the_end_is_expected_at_the_pace_of_the_trials_that_ended_last(lab: Lab) -> None:
    search = make_search(lab.store, trials=6)
    try_trials(lab.store, lab.results, search, [300, None, None])
    now = lab.clock.moment
    assert expect_end(standing_of(lab, search), now) is None, "one trial has no pace"
    standing = standing_of(lab, search)
    ended = {
        number: replace(run, finished_at=now + timedelta(minutes=10 * number)) for number, run in standing.runs.items()
    }
    found = expect_end(replace(standing, runs=ended), now + timedelta(minutes=20))
    assert found == now + timedelta(minutes=20) + 5 * timedelta(minutes=10), "5 of 6 trials are left"
    paused = replace(ended[2], status=RunStatus.PAUSED)
    assert expect_end(replace(standing, runs=ended | {2: paused}), now + timedelta(minutes=20)) == now + timedelta(
        minutes=20
    ) + 5 * timedelta(minutes=20), "a trial that has paused has not ended"
    stopped = replace(standing, runs=ended, search=replace(search, status=SearchStatus.STOPPED))
    assert expect_end(stopped, now) is None
    endless = replace(standing, runs=ended, spec=standing.spec.model_copy(update={"trials": None}))
    assert expect_end(endless, now) is None, "only its limits end it"
