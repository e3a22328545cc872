"""model.dropout replaces the base model's own dropout on both training paths."""

import json
import shutil

import pytest
import torch

from finetune30.config import ExperimentConfig, ModelConfig
from finetune30.config.loading import load_config
from finetune30.errors import ConfigError, ModelError
from finetune30.modeling.base import find_base
from finetune30.modeling.classifier import dropouts_to_replace
from support.engines import build_general, build_packed, configure, random_batch

LENGTHS = [9, 8, 7, 6]


def with_dropout(config: ExperimentConfig, dropout: float | None) -> ExperimentConfig:
    tree = config.as_tree()
    tree["model"]["dropout"] = dropout
    return ExperimentConfig.model_validate(tree)


def losses(engine, count=3):
    batch = random_batch(LENGTHS)
    return {float(engine.accumulate(batch, 0.25)) for _ in range(count)}


@pytest.mark.parametrize("family", ["distilbert", "bert", "roberta"])
@pytest.mark.parametrize("build", [build_general, build_packed])
def test_no_dropout_makes_repeated_passes_equal_and_the_models_own_does_not(tiny_model, family, build):
    config = configure(tiny_model(family))
    assert len(losses(build(with_dropout(config, 0.0)))) == 1
    assert len(losses(build(with_dropout(config, None)))) > 1


def test_both_paths_lose_the_same_without_dropout(tiny_model):
    config = with_dropout(configure(tiny_model("bert")), 0.0)
    (general,), (packed,) = losses(build_general(config)), losses(build_packed(config))
    assert packed == pytest.approx(general, rel=1e-5)


def test_every_dropout_of_a_model_gets_the_rate(tiny_model):
    for family in ("distilbert", "bert", "llama"):
        engine = build_general(with_dropout(configure(tiny_model(family)), 0.3))
        config = engine._model.get_base_model().config
        rates = {m.p for n, m in engine._model.named_modules() if isinstance(m, torch.nn.Dropout) and "lora" not in n}
        assert rates <= {0.3}
        assert 0.3 in {getattr(config, key, None) for key in ("attention_dropout", "attention_probs_dropout_prob")}


def test_model_without_any_dropout_says_so(tiny_model, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(tiny_model("llama"), folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    source = find_base(ModelConfig(name=str(folder), dropout=0.1))
    with pytest.raises(ModelError, match=r"model\.dropout: model type 'mamba' has no dropout that could be set"):
        dropouts_to_replace(source)


def test_rate_outside_its_bounds_is_refused():
    with pytest.raises(ConfigError, match=r"model\.dropout: 1\.0 is not allowed, must be a number from 0 below 1"):
        load_config(None, {"model.dropout": 1.0})
