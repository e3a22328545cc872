"""Before anything is submitted: what would stand in, and what is out of reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune30.config.loading import load_config
from finetune30.config.presets import load_preset, preset_path
from finetune30.errors import ConfigError
from finetune30.service.submitting.forecast import FRESH_SECONDS, Forecast, HubWatch, forecast_run


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))


def forecast(*, hub: bool, **overrides: object) -> Forecast:
    loaded = load_config(preset_path("default"), {key.replace("__", "."): value for key, value in overrides.items()})
    return forecast_run(loaded.config, loaded.explicit, HubWatch(lambda: hub))


def test_nothing_stands_in_where_the_hub_answers() -> None:
    assert forecast(hub=True) == Forecast(load_preset("default").config)


def test_the_default_out_of_reach_would_be_replaced_with_the_settings_that_come_along() -> None:
    seen = forecast(hub=False)
    assert seen.replaced == {"distilbert-base-uncased": "starter", "glue": "starter"}
    tuned = load_preset("starter").config
    assert seen.replaced_settings["training.num_train_epochs"] == tuned.training.num_train_epochs
    assert seen.config.model.name == "starter"
    assert seen.out_of_reach is None


def test_own_data_have_no_model_and_the_starter_is_offered(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("text,label\n")
    seen = forecast(hub=False, data__dataset_name=str(path))
    assert seen.replaced == {}
    assert seen.out_of_reach is not None
    assert "distilbert-base-uncased" in seen.out_of_reach.message
    assert seen.starter_offered
    asked = forecast(hub=False, data__dataset_name=str(path), model__offline_fallback="starter")
    assert asked.replaced == {"distilbert-base-uncased": "starter"}


def test_a_data_set_out_of_reach_is_told_without_an_offer() -> None:
    seen = forecast(hub=False, data__dataset_name="imdb", model__name="starter")
    assert seen.out_of_reach is not None
    assert "imdb" in seen.out_of_reach.message
    assert not seen.starter_offered


@pytest.mark.parametrize("name", ["starter", "starter-chat"])
def test_models_that_come_along_are_in_reach_without_a_hub_and_are_what_was_asked_for(name: str) -> None:
    seen = forecast(hub=False, data__dataset_name="starter", model__name=name)
    assert (seen.out_of_reach, seen.replaced, seen.config.model.name) == (None, {}, name)


def test_the_starter_chat_model_stands_in_for_no_other() -> None:
    with pytest.raises(ConfigError, match=r"model\.offline_fallback"):
        forecast(hub=False, model__offline_fallback="starter-chat")


def test_the_hub_is_asked_again_after_a_while_only() -> None:
    asked: list[float] = []
    clock = [0.0]

    def ask() -> bool:
        asked.append(clock[0])
        return len(asked) > 1

    watch = HubWatch(ask, lambda: clock[0])
    assert [watch.is_there(), watch.is_there()] == [False, False]
    clock[0] = FRESH_SECONDS + 1
    assert watch.is_there()
    assert asked == [0.0, FRESH_SECONDS + 1]
