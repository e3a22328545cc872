"""Which base models on this machine read a text: tokenizers of letters, of bytes and of another script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from finetune30.modeling import readers
from finetune30.modeling.readers import find_readers

ENGLISH = ["the film was good and i loved it", "the plot was bad"]
CHINESE = ["這部電影很好看", "劇情太差了"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache of this test, without the starter."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(readers, "starter_folder", _no_starter)
    return tmp_path / "hub"


def _no_starter() -> Path:
    from finetune30.errors import ModelError

    raise ModelError("the starter model is not installed")


def save_model(cache: Path, repository: str, tokenizer: Tokenizer) -> None:
    folder = cache / f"models--{repository.replace('/', '--')}" / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / "model.safetensors").write_bytes(b"")
    tokenizer.save(str(folder / "tokenizer.json"))


def of_characters(texts: list[str]) -> Tokenizer:
    """A tokenizer that knows just the characters of some texts, each a token."""
    characters = ["[UNK]", *sorted({character for text in texts for character in text if character != " "})]
    known = {character: number for number, character in enumerate(characters)}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", behavior="isolated")]
    )
    return tokenizer


def of_bytes() -> Tokenizer:
    """A tokenizer that has a token for every byte and none for anything longer."""
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def test_a_model_fits_whose_tokenizer_has_tokens_for_the_text(cache: Path) -> None:
    save_model(cache, "google-bert/bert-base-chinese", of_characters(CHINESE))
    save_model(cache, "someone/english", of_characters(ENGLISH))
    save_model(cache, "someone/bytes", of_bytes())
    found = {reader.name: reader for reader in find_readers(CHINESE)}
    assert [name for name, reader in found.items() if reader.fits] == ["bert-base-chinese"]  # by its well-known name
    assert next(iter(found)) == "bert-base-chinese"
    assert found["someone/english"].unknown_share == 1.0
    assert found["someone/bytes"].unknown_share == 0.0
    assert found["someone/bytes"].tokens_per_character == pytest.approx(3.0)  # three bytes a character in UTF-8
    assert {reader.name for reader in find_readers(ENGLISH) if reader.fits} == {"someone/english", "someone/bytes"}


def test_what_is_no_model_is_left_out_and_what_cannot_be_tried_does_not_fit(cache: Path) -> None:
    save_model(cache, "someone/adapter", of_characters(ENGLISH))
    folder = next((cache / "models--someone--adapter" / "snapshots").iterdir())
    (folder / "tokenizer.json").write_text("{}")
    (reader,) = find_readers(ENGLISH)
    assert (reader.fits, reader.unknown_share) == (False, None)
    (folder / "config.json").write_text("[]")
    assert find_readers(ENGLISH) == []
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").unlink()
    assert find_readers(ENGLISH) == []
