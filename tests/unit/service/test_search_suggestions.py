"""Suggestions: a function of seed, number and what may be seen; whoever carries trials out, in whatever order."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune30.config import ExperimentConfig
from finetune30.config.search import SearchConfig
from finetune30.config.search_loading import validate_search
from finetune30.errors import ConfigError, UsageError
from finetune30.service.searches.space import Space
from finetune30.service.searches.suggesting import Past, count_visible, suggest

PARAMETERS = {
    "training.learning_rate": {"low": 1e-5, "high": 2e-3, "scale": "log"},
    "lora.r": {"values": [4, 8, 16, 32]},
    "lora.lora_alpha": {"times": "lora.r", "values": [1, 2]},
    "training.gradient_accumulation_steps": {"low": 1, "high": 16, "scale": "log"},
    "training.lr_scheduler_type": {"values": ["linear", "constant"]},
    "training.warmup_ratio": {"low": 0.0, "high": 0.2, "when": {"training.lr_scheduler_type": ["linear"]}},
}


def make(sampler: str = "tpe", trials: int | None = 40, **more: Any) -> tuple[Space, SearchConfig]:
    search = validate_search({"seed": 7, "sampler": sampler, "trials": trials, "parameters": PARAMETERS, **more})
    return Space(ExperimentConfig(), search), search


def score(values: dict[str, Any]) -> float:
    """A smooth hill: the best rate is 3e-4."""
    return -abs(math.log(values.get("training.learning_rate", 5e-4) / 3e-4)) + 0.01 * values.get("lora.r", 8)


def carry_out(space: Space, search: SearchConfig, *, workers: int, schedule: int, trials: int) -> list[str]:
    """Simulate workers who finish in a random order, and fail now and then by the number of the trial."""
    chance = random.Random(schedule)
    values: list[dict[str, Any]] = [{}]
    past = [Past(0, space.labels_of_base(), space.identify({}), "open")]
    working: list[int] = []
    while any(one.state == "open" for one in past) or len(past) < trials:
        while len(past) < trials and all(
            one.state != "open" for one in past[: count_visible(len(past), search.window)]
        ):
            found = suggest(space, search, len(past), past, greater_is_better=True)
            assert found is not None
            labels = json.loads(json.dumps(found.labels))  # as it comes back from the row
            values.append(space.settle(labels))
            past.append(Past(len(past), labels, space.identify(values[-1]), "open"))
        working += [one.number for one in past if one.state == "open" and one.number not in working][
            : workers - len(working)
        ]
        done = working.pop(chance.randrange(len(working)))
        failed = done % 9 == 5
        before = past[done]
        past[done] = Past(
            done,
            before.labels,
            before.identity,
            "failed" if failed else "done",
            None if failed else score(values[done]),
        )
    return [json.dumps(value, sort_keys=True) for value in values]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_same_seed_gives_the_same_40_trials_on_any_workers_in_any_order(sampler: str) -> None:
    space, search = make(sampler)
    alone = carry_out(space, search, workers=1, schedule=0, trials=40)
    for workers, schedule in ((2, 1), (8, 2)):
        assert carry_out(space, search, workers=workers, schedule=schedule, trials=40) == alone
    assert len(set(alone)) == 40, "no configuration twice"
    other = search.model_copy(update={"seed": 8})
    assert carry_out(space, other, workers=1, schedule=0, trials=3)[1:] != alone[1:3]
    longer = carry_out(space, search.model_copy(update={"trials": 41}), workers=3, schedule=4, trials=41)
    assert longer[:40] == alone, "a longer search begins with the shorter one"


def test_only_what_optuna_suggests_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    space, search = make("tpe")
    with pytest.raises(UsageError, match="sampler tpe needs Optuna") as caught:
        carry_out(space, search, workers=1, schedule=0, trials=40)
    assert "pip install 'finetune30[search]', or choose sampler: random" in caught.value.remedy
    assert len(carry_out(space, search, workers=1, schedule=0, trials=10)) == 10


def test_tpe_learns_and_random_does_not() -> None:
    later: dict[str, float] = {}
    for sampler in ("random", "tpe"):
        space, search = make(sampler)
        scores = [score(json.loads(value)) for value in carry_out(space, search, workers=1, schedule=0, trials=40)]
        later[sampler] = sum(scores[20:]) / 20
    assert later["tpe"] > later["random"]


def test_another_process_suggests_the_same() -> None:
    """Hashing of texts differs from process to process; nothing may hang on it."""
    code = (
        "import json; from test_search_suggestions import *; space, search = make(trials=14);"
        "print(json.dumps(carry_out(space, search, workers=2, schedule=5, trials=14)))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parent,
        ).stdout
        for seed in ("1", "2")
    }
    space, search = make(trials=14)
    assert [json.loads(one) for one in told] == [carry_out(space, search, workers=1, schedule=0, trials=14)]


def test_values_stay_within_their_ranges_and_conditions_and_ties_hold() -> None:
    space, search = make("random", trials=300)
    found = [json.loads(value) for value in carry_out(space, search, workers=1, schedule=0, trials=300)][1:]
    for values in found:
        assert 1e-5 <= values["training.learning_rate"] <= 2e-3
        assert values["lora.lora_alpha"] in (values["lora.r"], 2 * values["lora.r"])
        assert ("training.warmup_ratio" in values) == (values["training.lr_scheduler_type"] == "linear")
    steps = [values["training.gradient_accumulation_steps"] for values in found]
    assert (min(steps), max(steps)) == (1, 16)
    assert all(type(step) is int for step in steps)
    assert sum(step <= 4 for step in steps) > sum(step > 4 for step in steps), "even on a logarithmic scale"
    below = sum(values["training.learning_rate"] < math.sqrt(1e-5 * 2e-3) for values in found)
    assert 110 < below < 190


def test_a_grid_has_every_combination_once_in_the_order_of_the_file_without_trial_0() -> None:
    parameters = {
        "lora.r": {"values": [8, 16]},
        "training.learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log", "points": 3},
        "training.warmup_ratio": {"values": [0.0, 0.1], "when": {"lora.r": [16]}},
    }
    config = ExperimentConfig.model_validate({"training": {"learning_rate": 1e-4}})
    search = validate_search({"sampler": "grid", "parameters": parameters})
    space = Space(config, search)
    values: list[dict[str, Any]] = []
    while found := suggest(space, search, len(values) + 1, [], greater_is_better=True):
        values.append(space.settle(found.labels))
    # r 8: three rates, whatever the warm-up would be, and the first is trial 0; r 16: three rates, two warm-ups
    assert [(one["lora.r"], one.get("training.warmup_ratio")) for one in values] == [
        *[(8, None)] * 2,
        *[(16, 0.0), (16, 0.1)] * 3,
    ]
    assert [one["training.learning_rate"] for one in values[:2]] == pytest.approx([1e-3, 1e-2])


def test_a_small_space_is_tried_whole_before_anything_comes_again() -> None:
    search = validate_search({"trials": 9, "parameters": {"lora.r": {"values": [4, 8, 16]}}})
    space = Space(ExperimentConfig(), search)
    past = [Past(0, space.labels_of_base(), space.identify({}), "open")]
    new = []
    while len(past) < 9:
        found = suggest(space, search, len(past), past, greater_is_better=True)
        assert found is not None
        new.append(found.is_new)
        past.append(Past(len(past), found.labels, space.identify(space.settle(found.labels)), "done", 1.0))
    assert new == [True, True, *[False] * 6]


def test_a_configuration_that_the_space_does_not_hold_is_trial_0_all_the_same() -> None:
    config = ExperimentConfig.model_validate({"training": {"learning_rate": 0.5}})
    search = validate_search({"trials": 12, "sampler": "tpe", "parameters": PARAMETERS})
    space = Space(config, search)
    assert space.labels_of_base() is None
    assert len(carry_out(space, search, workers=1, schedule=0, trials=12)) == 12
    assert Space(ExperimentConfig(), search).labels_of_base() == {
        "training.learning_rate": 5e-4,
        "lora.r": 1,
        "lora.lora_alpha": 1,
        "training.gradient_accumulation_steps": 1,
        "training.lr_scheduler_type": 0,
        "training.warmup_ratio": 0.0,
    }


def test_a_trial_is_the_configuration_with_its_values_and_a_name_of_its_own() -> None:
    space, _ = make()
    own = space.apply({"lora.r": 16, "lora.lora_alpha": 32}, 3)
    assert (own.lora.r, own.lora.lora_alpha, own.experiment_name) == (16, 32, "default_experiment-trial3")


def test_what_is_tied_to_a_key_without_a_value_is_refused_with_its_trial() -> None:
    tied = {"training.warmup_steps": {"times": "training.max_steps", "values": [2]}}
    space, _ = make("random", parameters=tied)  # by epochs: training.max_steps is null
    with pytest.raises(ConfigError, match=r"trial 1: training\.warmup_steps: null is not allowed"):
        space.apply(space.settle({"training.warmup_steps": 0}), 1)
    assert space.labels_of_base() is None
