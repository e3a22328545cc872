"""The section `search:`: what it takes, and every fault of it with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from finetune30.cli.main import app
from finetune30.config.loading import load_config
from finetune30.config.search_loading import load_search, validate_search
from finetune30.errors import ConfigError
from finetune30.ui.messages import translate_message

RATE = {"low": 1e-5, "high": 1e-3, "scale": "log"}


def write(folder: Path, search: Any) -> Path:
    path = folder / "search.yaml"
    tree = {"experiment_name": "found", "training": {"num_train_epochs": 2}, "search": search}
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def assert_said_in_chinese(error: ConfigError) -> None:
    told = [text for fault in error.details["faults"] for text in (fault["problem"], fault["hint"]) if text]
    assert [text for text in told if translate_message("zh", text) is None] == []


def test_a_file_gives_the_configuration_and_the_search_over_it(tmp_path: Path) -> None:
    path = write(tmp_path, {"trials": 5, "parameters": {"training.learning_rate": RATE}})
    found = load_search(path, {"training.max_steps": 3}, trials=7)
    assert (found.loaded.config.experiment_name, found.loaded.config.training.max_steps) == ("found", 3)
    assert (found.search.trials, found.search.window, found.search.sampler) == (7, 8, "random")
    assert validate_search(found.search.as_tree()) == found.search
    with pytest.raises(ConfigError, match=r"search: unknown key; a search is made with: ft30 search start FILE"):
        load_config(path)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"training.learning_rat": RATE}, "unknown key; did you mean training.learning_rate?"),
        ({"training.seed": {"values": [1, 2]}}, "cannot be varied: it is the same for all trials"),
        ({"data.dataset_name": {"values": ["a.csv"]}}, "cannot be varied"),
        ({"training.load_best_model_at_end": {"values": [True]}}, "cannot be varied: it is the same for all trials"),
        ({"training.eval_steps": {"values": [5, 10]}}, "cannot be varied"),
        ({"training.early_stopping_patience": {"values": [1, 2]}}, "cannot be varied"),
        ({"training.threshold_tuning": {"values": [True]}}, "cannot be varied"),
        ({"lora.r": {}}, "needs values, or low and high"),
        ({"lora.r": {"values": [4], "low": 1, "high": 2}}, "has values and a range"),
        ({"lora.r": {"values": [4, 0]}}, "lora.r.values: 0 is not allowed, must be a whole number from 1 up to 1024"),
        ({"lora.r": {"values": [4, 4]}}, "holds a value twice"),
        ({"lora.r": {"low": 1.5, "high": 4}}, "lora.r.low: 1.5 is not allowed"),
        ({"lora.r": {"low": 8, "high": 4}}, "lora.r.low: 8.0 is not below high, 4.0"),
        ({"training.warmup_ratio": {"low": 0, "high": 0.1, "scale": "log"}}, "has no logarithm"),
        ({"training.learning_rate": {"low": 0.1, "high": 2}}, "high: 2.0 is not allowed"),
        ({"lora.bias": {"low": 1, "high": 2}}, "holds no number, and has no range"),
        ({"lora.lora_alpha": {"times": "lora.r"}}, "needs values, its factors"),
        ({"lora.lora_alpha": {"times": "lora.bias", "values": [1]}}, "is no key with a number"),
        ({"lora.lora_alpha": {"times": "lora.r", "values": [-1]}}, "-1 is no factor"),
        ({"lora.r": {"values": [1], "when": {"lora.bias": ["all"]}}}, "no parameter that stands above this one"),
        (
            {"lora.bias": {"values": ["all"]}, "lora.r": {"values": [1], "when": {"lora.bias": ["none"]}}},
            "'none' is none of its values",
        ),
        ({"lora.use_dora": {"values": [7]}}, "lora.use_dora.values"),
        ({"lora.r": {"values": ["4", 8]}}, "lora.r.values: '4' is not allowed"),
        ({"lora.r": {"values": [4, 8], "scale": "log"}}, "has values and a range"),
        ({"lora.lora_alpha": {"times": "lora.r", "values": [1], "points": 3}}, "needs values, its factors"),
        (
            {"lora.lora_alpha": {"times": "lora.r", "values": [1]}, "lora.r": {"values": [4]}},
            "lora.lora_alpha.times: 'lora.r' is varied further down; move it below lora.r",
        ),
        (
            {"lora.rr": {"low": 1, "high": 2}, "lora.r": {"values": [1], "when": {"lora.rr": [1]}}},
            "lora.rr: unknown key; did you mean lora.r?",
        ),
        ({"lora.r": [4, 8]}, "must be a section with keys; for example {values: [4, 8]}"),
        ({"lora.r": {"valeus": [4, 8]}}, "unknown key; did you mean search.parameters.lora.r.values?"),
        ({"lora": {"r": {"values": [4]}}}, "unknown key; write the key with its dots: lora.r: {values: …}"),
        ({"lora.r": {"value": [1]}}, "search.parameters.lora.r.value: unknown key"),
    ],
)
def test_faults_of_parameters_are_named_with_their_line(tmp_path: Path, parameters: dict[str, Any], told: str) -> None:
    path = write(tmp_path, {"trials": 5, "parameters": parameters})
    with pytest.raises(ConfigError) as caught:
        load_search(path)
    assert told in caught.value.message
    assert f"{path}:" in caught.value.message
    (fault, *_) = caught.value.details["faults"]
    assert fault["line"] >= 7, "below search: parameters:"
    assert_said_in_chinese(caught.value)


@pytest.mark.parametrize(
    ("search", "told"),
    [
        (None, "search: is missing; for example search: {trials: 20"),
        (3, "search: must be a section with keys, not 3"),
        ({"trials": 3}, "search.parameters: is missing"),
        ({"trails": 3, "parameters": {"lora.r": {"values": [1]}}}, "unknown key; did you mean search.trials?"),
        ({"trials": 3, "limits": {"money": 3}, "parameters": {}}, "known: hours, disk_gb, failed_in_a_row"),
        ({"trials": 0, "parameters": {"lora.r": {"values": [1]}}}, "search.trials: 0 is not allowed"),
        ({"parameters": {"lora.r": {"values": [1]}}}, "search.trials: is needed with sampler random; or give"),
        ({"sampler": "grid", "parameters": {"lora.r": {"low": 1, "high": 8}}}, "takes values, or points of a range"),
        ({"trials": 3, "window": 0, "parameters": {"lora.r": {"values": [1]}}}, "search.window: 0 is not allowed"),
        ({"trials": 3, "limits": {"hours": -1}, "parameters": {"lora.r": {"values": [1]}}}, "search.limits.hours"),
    ],
)
def test_faults_of_the_section(tmp_path: Path, search: Any, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_search(write(tmp_path, search))
    assert told in caught.value.message
    assert_said_in_chinese(caught.value)


def test_keys_that_cannot_be_read_hide_no_fault_of_the_others(tmp_path: Path) -> None:
    varied = {
        "lora.bias": {"valeus": ["all"]},
        "lora.r": {"values": [0], "when": {"lora.bias": ["all"]}},
        "training.seed": {"values": [1, 2]},
    }
    with pytest.raises(ConfigError) as caught:
        load_search(write(tmp_path, {"trials": 0, "parameters": varied}))
    assert [fault["key"].removeprefix("search.") for fault in caught.value.details["faults"]] == [
        "trials",
        "parameters.lora.bias.valeus",
        "parameters.lora.r.values",
        "parameters.training.seed",
    ]


def test_the_table_of_a_search_shows_the_bounds_of_the_key_at_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_search(write(tmp_path, {"trials": 0, "parameters": {"lora.r": {"values": [1]}}}))
    command = caught.value.remedy.partition(": ft30 ")[2].split()
    shown = CliRunner().invoke(app, command)
    assert "| `search.trials` | `null` | a whole number from 1 up to 1000, or null |" in shown.output


def test_a_grid_beyond_reason_is_refused(tmp_path: Path) -> None:
    parameters = {key: {"values": list(range(1, 500))} for key in ("lora.r", "training.num_train_epochs")}
    with pytest.raises(ConfigError, match="make a grid of 249,001 combinations") as caught:
        load_search(write(tmp_path, {"sampler": "grid", "parameters": parameters}))
    assert_said_in_chinese(caught.value)


def test_faults_of_both_halves_come_together(tmp_path: Path) -> None:
    path = write(tmp_path, {"trials": 5, "parameters": {"lora.r": {"values": [0]}}})
    with pytest.raises(ConfigError, match="2 faults"):
        load_search(path, {"training.learning_rate": 7})


def test_one_seed_is_no_repeat_and_an_unknown_key_of_the_end_is_named() -> None:
    given = {"trials": 3, "parameters": {"training.learning_rate": RATE}}
    assert validate_search({**given, "confirm": {"seeds": 0}}).confirm.least_gain == 0.01
    with pytest.raises(ConfigError, match=r"search.confirm.seeds: 1 tells nothing of seeds; give 2 or more, or 0"):
        validate_search({**given, "confirm": {"seeds": 1}})
    with pytest.raises(ConfigError, match=r"search.confirm.seed: unknown key; did you mean search.confirm.seeds\?"):
        validate_search({**given, "confirm": {"seed": 3}})


@pytest.mark.parametrize(
    ("stop", "rest", "said"),
    [
        ({"kind": "halving"}, {}, "'halving' is not allowed, must be one of none, clearly_worse"),
        ({"kind": "clearly_worse"}, {"trials": 13}, "13 leaves nothing to stop"),
        ({"kind": "clearly_worse"}, {"parameters": {"training.max_steps": {"values": [1, 2]}}}, "shares of one length"),
        ({"at": [0.6, 0.3]}, {}, "is no rising list"),
        ({"at": [1.0]}, {}, "is not allowed"),
        ({"share": [0.5]}, {}, "known: kind, at, risk"),
    ],
)
def test_faults_of_stop_are_named(stop: dict[str, Any], rest: dict[str, Any], said: str) -> None:
    tree = {"trials": 24, "parameters": {"lora.r": {"values": [4, 8]}}, **rest, "stop": stop}
    with pytest.raises(ConfigError, match=re.escape(said)):
        validate_search(tree)


def test_a_search_that_stops_nothing_is_recorded_as_releases_before_know_it() -> None:
    plain = {"trials": 24, "parameters": {"lora.r": {"values": [4, 8]}}}
    assert "stop" not in validate_search({**plain, "stop": {"kind": "none", "at": [0.5]}}).as_tree()
    stopping = validate_search({**plain, "stop": {"kind": "clearly_worse"}})
    assert validate_search(stopping.as_tree()) == stopping
