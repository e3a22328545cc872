"""What a model can read decides how texts are encoded: its positions, its token types."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

from finetune30.config import ModelConfig
from finetune30.errors import DataError, ModelError
from finetune30.modeling.base import find_base
from finetune30.training.paths import build_encoder
from support.tiny_models import build_tiny_model

#: What `support.tiny_models` gives every family.
POSITIONS = 80


@pytest.fixture
def roberta(tmp_path: Path) -> Path:
    """A RoBERTa whose padding token is 1, as in all that are published."""
    folder = build_tiny_model(tmp_path / "roberta", "roberta")
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**described, "pad_token_id": 1}))
    return folder


def reads(folder: Path, tokens: int) -> bool:
    """Tell whether transformers' own model can read so many tokens."""
    model = AutoModel.from_pretrained(str(folder)).eval()
    try:
        with torch.inference_mode():
            model(input_ids=torch.full((1, tokens), 7))
    except (IndexError, RuntimeError) as error:
        if "out of range" not in str(error) and "out of bounds" not in str(error):
            raise
        return False
    return True


@pytest.mark.parametrize("path", ["general", "packed"])
def test_roberta_is_refused_texts_beyond_the_positions_that_it_can_use(roberta: Path, path: str) -> None:
    longest = POSITIONS - 2
    assert reads(roberta, longest)
    assert not reads(roberta, longest + 1)
    source = find_base(ModelConfig(name=str(roberta)))
    assert build_encoder(path, source, longest).encode(["good " * 100], None, longest).full_lengths == [102]
    with pytest.raises(DataError, match=r"data\.max_length 79 is above the 78 positions") as refused:
        build_encoder(path, source, longest + 1)
    assert "at most 78" in refused.value.remedy


@pytest.mark.parametrize("path", ["general", "packed"])
@pytest.mark.parametrize("family", ["distilbert", "bert"])
def test_other_models_are_asked_for_all_their_positions(
    tiny_model: Callable[..., Path], family: str, path: str
) -> None:
    source = find_base(ModelConfig(name=str(tiny_model(family))))
    assert reads(tiny_model(family), POSITIONS)
    build_encoder(path, source, POSITIONS)
    with pytest.raises(DataError, match=r"data\.max_length 81 is above the 80 positions"):
        build_encoder(path, source, POSITIONS + 1)


@pytest.mark.parametrize("path", ["general", "packed"])
@pytest.mark.parametrize(("family", "types"), [("distilbert", None), ("bert", [0, 1])])
def test_token_types_are_those_of_the_loaded_model_also_where_its_file_leaves_them_out(
    tmp_path: Path, family: str, types: list[int] | None, path: str
) -> None:
    folder = build_tiny_model(tmp_path / "base", family)
    described = json.loads((folder / "config.json").read_text())
    described.pop("type_vocab_size", None)
    (folder / "config.json").write_text(json.dumps(described))
    loaded = AutoModel.from_pretrained(str(folder))
    assert getattr(loaded.config, "type_vocab_size", None) == (None if types is None else len(types))
    encoder = build_encoder(path, find_base(ModelConfig(name=str(folder))), POSITIONS)
    found = encoder.encode(["good"], ["bad"], POSITIONS).type_ids
    assert (None if found is None else sorted(set(found[0]))) == types


@pytest.mark.parametrize("path", ["general", "packed"])
def test_word_added_to_the_tokenizer_only_is_refused_by_name(
    tiny_model: Callable[..., Path], tmp_path: Path, path: str
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny_model("bert"), folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = tokenizer.get_vocab_size()
    tokenizer.add_tokens(["newword"])
    tokenizer.save(str(folder / "tokenizer.json"))
    encoder = build_encoder(path, find_base(ModelConfig(name=str(folder))), POSITIONS)
    assert encoder.encode(["the film"], None, POSITIONS).full_lengths == [4]
    with pytest.raises(ModelError, match=rf"token {rows} of 'newword'.* embeddings for {rows} tokens") as refused:
        encoder.encode(["the film", "a newword"], None, POSITIONS)
    assert "resize_token_embeddings" in refused.value.remedy
    # The remedy, followed to the letter: both ways.
    model, tokens = AutoModel.from_pretrained(str(folder)), AutoTokenizer.from_pretrained(str(folder))
    model.resize_token_embeddings(len(tokens))
    for part in (model, tokens):
        part.save_pretrained(tmp_path / "resized")
    resized = build_encoder(path, find_base(ModelConfig(name=str(tmp_path / "resized"))), POSITIONS)
    assert rows in resized.encode(["a newword"], None, POSITIONS).ids[0]
    shutil.copy(tiny_model("bert") / "tokenizer.json", folder)
    original = build_encoder(path, find_base(ModelConfig(name=str(folder))), POSITIONS)
    assert max(original.encode(["a newword"], None, POSITIONS).ids[0]) < rows
