import copy

import pytest

from finetune30.config import ExperimentConfig
from finetune30.config.loading import flatten_tree, load_config
from finetune30.config.reference import build_json_schema
from finetune30.ui.fields import COMMON, difference, get_value, load_fields, merged, put_value


@pytest.fixture(scope="module")
def fields():
    return load_fields(build_json_schema())


def test_every_leaf_of_the_configuration_is_a_field(fields):
    assert set(fields) == set(flatten_tree(ExperimentConfig().as_tree()))
    assert set(COMMON) <= set(fields)


def test_bounds_choices_and_kinds_come_from_the_schema(fields):
    rate = fields["training.learning_rate"]
    assert 0 < rate.minimum < 1e-6
    assert rate.maximum == 1.0
    assert fields["lora.bias"].choices == ("none", "all", "lora_only")
    assert fields["data.train_samples"].nullable
    assert fields["data.gate.fix_rules"].item_choices == ("html", "control_characters", "mojibake")
    assert fields["lora.target_modules"].kinds == {"array", "string"}


def test_difference_names_only_what_was_changed():
    base = ExperimentConfig().as_tree()
    tree = copy.deepcopy(base)
    put_value(tree, "training.num_train_epochs", 7)
    put_value(tree, "data.train_samples", None)
    assert difference(tree, base) == {"data": {"train_samples": None}, "training": {"num_train_epochs": 7}}
    assert difference(base, base) == {}
    changed = load_config(None, flatten_tree(difference(tree, base))).config
    assert changed.training.num_train_epochs == 7
    assert get_value(tree, "training.nothing.there") is None


def test_merging_a_difference_gives_the_tree_back():
    base = ExperimentConfig().as_tree()
    tree = copy.deepcopy(base)
    put_value(tree, "lora.r", 3)
    put_value(tree, "data.gate.fix_rules", ["html"])
    assert merged(base, difference(tree, base)) == tree
    assert base == ExperimentConfig().as_tree()
    assert merged({"a": {"b": 1}}, {"a": 5}) == {"a": 5}
