"""Rows that turn out to be conversations bring the defaults of language models along."""

from __future__ import annotations

from typing import Any

import pytest

from finetune30.config import ExperimentConfig
from finetune30.config.conversations import follow_conversations
from finetune30.config.loading import validate_tree

OTHER_MODEL = {"model": {"name": "some/model"}}


def test_what_is_told_by_the_rows_is_as_if_it_were_named() -> None:
    found, changed = follow_conversations(validate_tree(OTHER_MODEL), "causal_lm", frozenset())
    assert changed == {"lora.target_modules": "all-linear", "data.max_length": 1024}
    assert found == validate_tree({"model": {"name": "some/model", "problem_type": "causal_lm"}})


@pytest.mark.parametrize(
    ("tree", "problem_type"),
    [
        (OTHER_MODEL, "single_label_classification"),
        ({"model": {"problem_type": "causal_lm"}, "lora": {"target_modules": "auto"}}, "causal_lm"),
    ],
)
def test_nothing_changes_for_other_problems_and_where_the_problem_was_named(
    tree: dict[str, Any], problem_type: str
) -> None:
    config = validate_tree(tree)
    assert follow_conversations(config, problem_type, frozenset()) == (config, {})


def test_what_was_chosen_stays() -> None:
    tree = {**OTHER_MODEL, "lora": {"target_modules": ["q_proj"]}, "data": {"max_length": 64}}
    found, changed = follow_conversations(validate_tree(tree), "causal_lm", frozenset())
    assert changed == {}
    assert (found.lora.target_modules, found.data.max_length) == (["q_proj"], 64)
    given = frozenset({"lora.target_modules", "data.max_length"})
    found, changed = follow_conversations(validate_tree(OTHER_MODEL), "causal_lm", given)
    assert changed == {}
    assert (found.lora.target_modules, found.data.max_length) == ("auto", ExperimentConfig().data.max_length)
