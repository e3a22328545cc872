"""What config.json and names tell of a model, without torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from finetune30.modeling.families import (
    describe_quantization,
    head_labels,
    left_out_labels,
    order_by_head,
    query_and_value,
)

NLI = {"0": "contradiction", "1": "neutral", "2": "entailment"}


@pytest.mark.parametrize(
    ("names", "head", "order"),
    [
        (("a", "b", "c"), ("c", "a", "b"), ("c", "a", "b")),
        (("entailment", "neutral"), ("NEUTRAL", "Entailment"), ("neutral", "entailment")),
        (("a", "b"), ("a", "c"), None),
        (("a", "b"), ("a", "b", "c"), None),
        (("a", "A"), ("A", "a"), ("A", "a")),
        (("a", "A"), ("a", "b"), None),
        (("a", "b"), (), None),
    ],
)
def test_labels_stand_in_the_order_of_a_head_that_has_the_same(
    names: tuple[str, ...], head: tuple[str, ...], order: tuple[str, ...] | None
) -> None:
    assert order_by_head(names, head) == order


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({"architectures": ["BartForSequenceClassification"], "id2label": NLI}, tuple(NLI.values())),
        ({"architectures": ["BertForSequenceClassification"]}, ("LABEL_0", "LABEL_1")),
        (
            {
                "architectures": ["BertForSequenceClassification"],
                "id2label": {str(i): f"label {i}" for i in (10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)},
            },
            tuple(f"label {i}" for i in range(11)),
        ),
        ({"architectures": ["BertForSequenceClassification"], "num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"architectures": ["BertForSequenceClassification"], "id2label": {"a": "b"}}, ()),
        ({"architectures": ["BertModel"], "id2label": NLI}, ()),
        ({}, ()),
    ],
)
def test_head_labels_are_those_of_a_checkpoint_with_a_head(config: dict[str, Any], labels: tuple[str, ...]) -> None:
    assert head_labels(config) == labels


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [(2, ("LABEL_0", "LABEL_1", "LABEL_2")), (1, ("LABEL_0", "LABEL_1", "LABEL_2")), (3, ()), (None, ())],
)
def test_a_head_is_left_out_where_another_size_is_asked_for(outputs: int | None, labels: tuple[str, ...]) -> None:
    config = {"architectures": ["BertForSequenceClassification"], "num_labels": 3}
    assert left_out_labels(config, outputs) == labels
    assert left_out_labels({"architectures": ["BertModel"], "num_labels": 3}, outputs) == ()


@pytest.mark.parametrize(
    ("config", "method"),
    [
        ({}, None),
        ({"quantization_config": None}, None),
        ({"quantization_config": {"quant_method": "gptq"}}, "gptq"),
        ({"compression_config": {"format": "int-quantized"}}, "an unnamed method"),
    ],
)
def test_quantised_weights_are_told_by_the_configuration(config: dict[str, Any], method: str | None) -> None:
    assert describe_quantization(config) == method


def test_query_and_value_are_found_among_other_names() -> None:
    assert query_and_value(["out_lin", "v_lin", "q_lin"]) == ("q_lin", "v_lin")
    assert query_and_value(["Wqkv", "Wo"]) is None


def test_families_need_no_torch() -> None:
    code = (
        "import sys, finetune30.modeling.families, finetune30.modeling.model_facts, finetune30.training.paths; "
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.split() == ["False", "False"]
