"""Families know the modules of transformers' classifiers: every linear layer, every weight, in its place and shape."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from finetune30.training.packed.families import FAMILIES, MODEL_TYPES, find_family
from support.decoders import KINDS, build_tiny_decoder
from support.present import present
from support.tiny_models import build_tiny_model


@pytest.mark.parametrize("name", ["distilbert", "bert", "roberta"])
def test_linear_layers_and_weights_are_those_of_the_classifier(tmp_path: Path, name: str) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(build_tiny_model(tmp_path / "base", name), num_labels=3)
    classifier = AutoModelForSequenceClassification.from_config(config)
    family = present(find_family(config.to_dict()))
    shape = family.shape(config.to_dict(), outputs=3)
    linears = family.linears(shape)
    expected = {path: module for path, module in classifier.named_modules() if isinstance(module, torch.nn.Linear)}
    assert [linear.path for linear in linears] == list(expected)
    for linear in linears:
        module = expected[linear.path]
        assert linear.shape == tuple(module.weight.shape)
        assert module.bias is not None
        assert f".{linear.layer}." in linear.path or linear.layer is None
    weights = family.other_weights(shape)
    for linear in linears:
        weights |= linear.weights()
    assert weights == {path: tuple(weight.shape) for path, weight in classifier.named_parameters()}


@pytest.mark.parametrize("name", ["distilbert", "bert", "roberta"])
def test_layers_that_share_an_input_are_told(tmp_path: Path, name: str) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(build_tiny_model(tmp_path / "base", name))
    classifier = AutoModelForSequenceClassification.from_config(config).eval()
    inputs: dict[int, list[str]] = {}
    for path, module in classifier.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(
                lambda _, given, path=path: inputs.setdefault(given[0].data_ptr(), []).append(path)
            )
    kept = classifier(input_ids=torch.tensor([[5, 6, 7]]), output_hidden_states=True)  # kept: no address is used twice
    family = present(find_family(config.to_dict()))
    groups: dict[str, list[str]] = {}
    for linear in family.linears(family.shape(config.to_dict(), outputs=2)):
        groups.setdefault(linear.shares_input_with or linear.path, []).append(linear.path)
    shared = [group for group in groups.values() if len(group) > 1]
    assert len(shared) == kept.hidden_states[1:].__len__()
    for group in shared:
        assert any(set(group) <= set(found) for found in inputs.values())


def test_no_model_type_belongs_to_two_families() -> None:
    assert len(set(MODEL_TYPES)) == len(MODEL_TYPES)
    for family in FAMILIES:
        for model_type in family.model_types:
            assert find_family({"model_type": model_type}) is family
    assert find_family({"model_type": "gpt2"}) is None
    assert find_family({}) is None


@pytest.mark.parametrize("kind", KINDS)
def test_linear_layers_and_weights_are_those_of_the_language_model(tmp_path: Path, kind: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(build_tiny_decoder(tmp_path / "base", kind))
    model = AutoModelForCausalLM.from_config(config)
    family = present(find_family(config.to_dict()))
    shape = family.shape(config.to_dict())
    linears = family.linears(shape)
    expected = {path: module for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    del expected["lm_head"]
    assert [linear.path for linear in linears] == list(expected)
    weights = family.other_weights(shape)
    for linear in linears:
        assert linear.has_bias == (expected[linear.path].bias is not None)
        weights |= linear.weights()
    assert weights == {path: tuple(weight.shape) for path, weight in model.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_rotary_frequencies_are_those_of_transformers(tmp_path: Path, kind: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(build_tiny_decoder(tmp_path / "base", kind))
    expected = AutoModelForCausalLM.from_config(config).model.rotary_emb.inv_freq
    shape = present(find_family(config.to_dict())).shape(config.to_dict())
    torch.testing.assert_close(torch.tensor(shape.frequencies), expected, rtol=0, atol=0)
