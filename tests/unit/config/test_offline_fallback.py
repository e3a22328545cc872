"""The starter takes the default's place, and only the default's."""

import pytest

from finetune30.config import ExperimentConfig
from finetune30.config.offline_fallback import resolve_fallbacks, tuned_settings
from finetune30.config.presets import load_preset
from finetune30.errors import HubUnavailableError

TUNED = load_preset("starter").config


def out_of_reach(config):
    raise HubUnavailableError("out of reach")


def within_reach(config):
    """Everything can be had."""


@pytest.fixture
def default():
    return load_preset("default").config


def changed(config, **sections):
    tree = config.as_tree()
    for section, values in sections.items():
        tree[section] |= values
    return ExperimentConfig.model_validate(tree)


def test_everything_within_reach_stays_as_it_is(default):
    assert resolve_fallbacks(default, frozenset(), within_reach, within_reach) == (default, {})


def test_default_out_of_reach_becomes_the_starter_with_its_tuned_values(default):
    resolved, replaced = resolve_fallbacks(default, frozenset(), out_of_reach, out_of_reach)
    assert replaced == {"distilbert-base-uncased": "starter", "glue": "starter"}
    assert resolved.model.name == resolved.data.dataset_name == "starter"
    assert resolved.lora.target_modules == TUNED.lora.target_modules
    assert resolved.training.learning_rate == TUNED.training.learning_rate
    assert resolved.training.num_train_epochs == TUNED.training.num_train_epochs
    assert resolved.model.offline_fallback is None


def test_what_the_user_changed_is_kept(default):
    config = changed(default, training={"learning_rate": 1e-4, "num_train_epochs": 7})
    resolved, _ = resolve_fallbacks(config, frozenset(), out_of_reach, out_of_reach)
    assert resolved.training.learning_rate == 1e-4
    assert resolved.training.num_train_epochs == 7
    assert resolved.training.per_device_train_batch_size == TUNED.training.per_device_train_batch_size


def test_a_flag_with_the_default_value_is_a_choice(default):
    resolved, _ = resolve_fallbacks(default, frozenset({"training.learning_rate"}), out_of_reach, out_of_reach)
    assert resolved.training.learning_rate == default.training.learning_rate


@pytest.mark.parametrize(
    "sections",
    [{"model": {"name": "bert-base-uncased"}}, {"model": {"revision": "main"}}, {"model": {"offline_fallback": None}}],
)
def test_a_chosen_model_never_falls_back(default, sections):
    with pytest.raises(HubUnavailableError):
        resolve_fallbacks(changed(default, **sections), frozenset(), out_of_reach, within_reach)


@pytest.mark.parametrize("values", [{"dataset_name": "imdb"}, {"dataset_config": "cola"}, {"offline_fallback": None}])
def test_chosen_data_never_falls_back(default, values):
    with pytest.raises(HubUnavailableError):
        resolve_fallbacks(changed(default, data=values), frozenset(), within_reach, out_of_reach)


def test_naming_the_default_by_flag_is_a_choice_too(default):
    with pytest.raises(HubUnavailableError):
        resolve_fallbacks(default, frozenset({"model.name"}), out_of_reach, within_reach)


def test_only_the_data_out_of_reach_keeps_the_model_and_its_values(default):
    resolved, replaced = resolve_fallbacks(default, frozenset(), within_reach, out_of_reach)
    assert replaced == {"glue": "starter"}
    assert resolved.model.name == default.model.name
    assert resolved.lora == default.lora
    assert resolved.training == default.training


def test_settings_that_came_along_are_told(default):
    resolved, _ = resolve_fallbacks(default, frozenset({"training.num_train_epochs"}), out_of_reach, out_of_reach)
    told = tuned_settings(default, resolved)
    assert (told["lora.target_modules"], told["data.train_samples"]) == ("all-linear", None)
    assert not any("num_train_epochs" in key or "dataset_config" in key for key in told)
    assert tuned_settings(default, default) == {}


@pytest.mark.parametrize(
    ("values", "explicit"),
    [
        ({"dataset_name": "my.csv"}, frozenset()),
        ({"dataset_name": "starter-zh"}, frozenset()),
        ({"dataset_config": "cola"}, frozenset()),
        ({}, frozenset({"data.dataset_name"})),
    ],
)
def test_own_data_are_not_trained_on_the_starter_unasked(default, values, explicit):
    config = changed(default, data=values)
    with pytest.raises(HubUnavailableError) as refused:
        resolve_fallbacks(config, explicit, out_of_reach, within_reach)
    assert "made for English" in refused.value.remedy
    asked = explicit | {"model.offline_fallback"}
    resolved, replaced = resolve_fallbacks(config, asked, out_of_reach, within_reach)
    assert replaced == {"distilbert-base-uncased": "starter"}
    assert resolved.lora.target_modules == TUNED.lora.target_modules
    assert resolved.data.dataset_name == config.data.dataset_name


def test_the_starter_stands_in_beside_its_own_data_though_they_were_named(default):
    config = changed(default, data={"dataset_name": "starter", "dataset_config": None})
    _, replaced = resolve_fallbacks(config, frozenset({"data.dataset_name"}), out_of_reach, within_reach)
    assert replaced == {"distilbert-base-uncased": "starter"}
