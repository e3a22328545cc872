"""Adapters: what is trained, what is saved, how it starts, what is refused."""

import pytest
import torch

from finetune30.config import LoraConfig, ModelConfig
from finetune30.errors import ModelError
from finetune30.modeling.adapters import build_adapter
from finetune30.modeling.base import find_base
from finetune30.modeling.classifier import load_classifier


@pytest.fixture
def build(tiny_model):
    def build_on(family, seed=3, num_labels=2, **lora):
        source = find_base(ModelConfig(name=str(tiny_model(family))))
        model, new = load_classifier(
            source, label_names=(), num_labels=num_labels, problem_type="single_label_classification", pad_token_id=0
        )
        return build_adapter(model, LoraConfig(**{"target_modules": "auto", **lora}), source, new, seed)

    return build_on


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("distilbert", {"q_lin", "v_lin"}),
        ("bert", {"query", "value"}),
        ("roberta", {"query", "value"}),
        ("llama", {"q_proj", "v_proj"}),
    ],
)
def test_auto_targets_query_and_value(build, family, names):
    assert build(family).peft_config["default"].target_modules == names


@pytest.mark.parametrize("family", ["distilbert", "bert", "roberta", "llama"])
def test_all_linear_reaches_every_layer_of_the_backbone_and_never_the_head(build, family):
    model = build(family, target_modules="all-linear")
    with_lora = {n.split(".lora_A")[0] for n in trained(model) if ".lora_A." in n}
    linear = {
        n
        for n, m in model.named_modules()
        if type(m).__module__.startswith("peft.tuners.lora") and type(m).__name__ == "Linear"
    }
    assert with_lora == linear
    assert len(with_lora) >= 8
    assert not any("classifier" in n or "score" in n for n in with_lora)


@pytest.mark.parametrize(
    ("family", "heads"),
    [("distilbert", {"pre_classifier", "classifier"}), ("bert", {"classifier"}), ("llama", {"score"})],
)
def test_every_new_head_weight_is_trained(build, family, heads):
    names = trained(build(family))
    assert {h for h in heads if any(f".{h}.modules_to_save" in n for n in names)} == heads


def test_head_that_the_checkpoint_lacks_inside_the_backbone_is_trained_too(build):
    names = trained(build("roberta"))
    assert any("classifier.modules_to_save.default.dense" in n for n in names)


@pytest.mark.parametrize("family", ["distilbert", "roberta"])
def test_initial_values_depend_on_the_seed_only(build, family):
    torch.manual_seed(1)
    first = {n: p.clone() for n, p in build(family).named_parameters() if p.requires_grad}
    torch.manual_seed(2)
    torch.rand(100)
    again = dict(build(family).named_parameters())
    other = dict(build(family, seed=4).named_parameters())
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    changed = [n for n, v in first.items() if not torch.equal(v, other[n])]
    assert any("lora_A" in n for n in changed)
    assert any("classifier" in n and n.endswith("weight") for n in changed)


def test_lora_starts_as_no_change(build):
    model = build("bert")
    assert all(not p.any() for n, p in model.named_parameters() if "lora_B" in n)


def test_unknown_target_module_lists_the_candidates(build):
    with pytest.raises(ModelError, match=r"'q_lin'.*model type 'bert'; candidates: query, key, value, dense"):
        build("bert", target_modules=["q_lin", "value"])


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        (
            {"target_modules": ["query", "LayerNorm"]},
            r"'bert.embeddings.LayerNorm' is a LayerNorm; .*candidates: query",
        ),
        ({"target_modules": ["attention"]}, r"'bert.encoder.layer.0.attention' is a BertAttention; "),
        ({"target_modules": ["classifier"]}, r"all of classifier are trained whole \(classifier\); candidates: query"),
        ({"modules_to_save": ["layer"]}, r"'bert.encoder.layer' is a list of 2 modules, not one"),
        ({"modules_to_save": ["embeddings", "dropout"]}, r"'dropout' has no weights that could be trained"),
        ({"modules_to_save": ["bert"]}, r"PEFT cannot build this adapter: No modules were targeted"),
    ],
)
def test_modules_that_lora_cannot_adapt_or_save_are_refused(build, lora, said):
    with pytest.raises(ModelError, match=said):
        build("bert", **lora)


def test_unknown_module_to_save_and_layer_are_refused(build):
    with pytest.raises(ModelError, match=r"modules_to_save: 'nonsense' not in the model"):
        build("bert", modules_to_save=["nonsense"])
    with pytest.raises(ModelError, match=r"layers \[7\] do not exist; the model has layers 0 to 1"):
        build("bert", layers_to_transform=[0, 7])


@pytest.mark.parametrize(
    ("family", "wanted", "saved"),
    [
        ("distilbert", "embeddings", {"distilbert.embeddings"}),
        ("llama", "norm", {"model.norm"}),
        ("bert", "layer.1", {"bert.encoder.layer.1"}),
    ],
)
def test_modules_to_save_are_those_named_whole_and_can_be_loaded_again(build, tmp_path, family, wanted, saved):
    from peft import PeftModel

    model = build(family, modules_to_save=[wanted])
    whole = {n.split(".modules_to_save.")[0] for n in trained(model) if ".modules_to_save." in n}
    heads = {"classifier", "pre_classifier", "score", "bert.pooler"}
    assert {name.removeprefix("base_model.model.") for name in whole} - heads == saved
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1)
    model.save_pretrained(str(tmp_path), save_embedding_layers=False)
    again = PeftModel.from_pretrained(build(family).unload(), str(tmp_path))
    loaded = dict(again.named_parameters())
    assert all(torch.equal(p, loaded[n]) for n, p in model.named_parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "option",
    [{"use_dora": True}, {"use_rslora": True}, {"init_lora_weights": "pissa"}, {"bias": "lora_only"},
     {"layers_to_transform": [1]}, {"modules_to_save": ["embeddings"]}],
    ids=lambda option: next(iter(option)),
)  # fmt: skip
def test_peft_options_reach_the_model(build, option):
    model = build("bert", **option)
    names = trained(model)
    config = model.peft_config["default"]
    key, value = next(iter(option.items()))
    if key == "modules_to_save":
        assert any("embeddings.modules_to_save" in n for n in names)
    elif key == "layers_to_transform":
        assert all("layer.1." in n for n in names if "lora" in n)
    elif key == "bias":
        assert any(n.endswith("query.base_layer.bias") for n in names)
    else:
        assert getattr(config, key) == value
