"""What a model says about itself agrees with what transformers' own model does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from finetune30.config import ModelConfig
from finetune30.errors import ModelError
from finetune30.modeling.base import find_base, load_tokenizer
from finetune30.modeling.model_facts import (
    count_positions,
    count_tokens_known,
    load_config,
    outline_classifier,
    parameters_kept_whole,
)
from support.tiny_models import FAMILIES, POSITIONS, add_padding_token

#: Relative positions only, so that nothing ends.
WITHOUT_LIMIT = {"deberta-v2", "t5", "xlnet"}
ROTARY = {"llama", "modernbert", "qwen3"}


def outline(folder: Path) -> Any:
    return outline_classifier(load_config(folder, "test"))


def reads(folder: Path, tokens: int) -> bool:
    """Tell whether transformers' own classifier can read so many tokens."""
    model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(folder)).eval()
    model.config.pad_token_id = 0
    ids = torch.full((1, tokens), 7)
    ids[:, -1] = 3  # the end token, which BART and T5 look for
    try:
        with torch.inference_mode():
            model(input_ids=ids)
    except (IndexError, RuntimeError) as error:
        if "out of range" not in str(error) and "out of bounds" not in str(error) and "must match" not in str(error):
            raise
        return False
    return True


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_are_as_many_as_the_model_can_read(tiny_model: Callable[..., Path], family: str) -> None:
    folder = tiny_model(family)
    found = count_positions(outline(folder))
    if family in WITHOUT_LIMIT:
        assert found is None
        assert reads(folder, 3 * POSITIONS)
    elif family in ROTARY:
        assert found == POSITIONS  # trained up to there; computing goes on
    else:
        assert found is not None
        assert reads(folder, found)
        assert not reads(folder, found + 1)


def test_learnt_positions_of_deberta_end_with_their_table(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    described = json.loads((tiny_model("deberta-v2") / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(described | {"position_biased_input": True}))
    assert count_positions(outline(tmp_path)) == POSITIONS
    assert reads(tmp_path, POSITIONS)
    assert not reads(tmp_path, POSITIONS + 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_known_tokens_are_the_rows_of_the_embeddings(tiny_model: Callable[..., Path], family: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(family))  # made with as many words as the model
    assert count_tokens_known(outline(tiny_model(family))) == len(tokenizer)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_that_loading_keeps_in_float32_are_foretold(tiny_model: Callable[..., Path], family: str) -> None:
    loaded = AutoModelForSequenceClassification.from_pretrained(tiny_model(family), dtype=torch.bfloat16)
    whole = {name for name, weight in loaded.named_parameters() if weight.dtype == torch.float32}
    assert parameters_kept_whole(loaded, torch.bfloat16) == whole
    assert parameters_kept_whole(loaded, torch.float32) == set()


def test_model_without_a_classifier_is_refused(tmp_path: Path) -> None:
    config = AutoConfig.for_model("vit", hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    with pytest.raises(ModelError, match="model type 'vit' has no classifier that could be built"):
        outline_classifier(config)
    (tmp_path / "config.json").write_text('{"model_type": "unheard_of"}')
    with pytest.raises(ModelError, match="the configuration of model 'mine' cannot be read"):
        load_config(tmp_path, "mine")


def test_padding_is_a_token_that_the_model_has(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny_model("gpt2"), folder)
    add_padding_token(folder)
    rows = count_tokens_known(outline(folder))
    tokenizer = load_tokenizer(find_base(ModelConfig(name=str(folder))))
    assert tokenizer.convert_tokens_to_ids("<added>") == rows
    assert tokenizer.pad_token == "[SEP]"
    assert tokenizer.pad_token_id < rows
