"""A merged model as ONNX gives the logits of the model; pairs are told apart, batch and length are free."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from finetune30.modeling.exporting.merging import save_settings
from finetune30.modeling.exporting.onnx_files import write_onnx
from finetune30.modeling.saved_targets import Reading, save_targets
from finetune30.modeling.saving import LOGIT_TOLERANCE
from finetune30.service.exports.readers import onnx_reader

TEXTS = ["the film was good", "it was bad and so on", "nice", "the room is fast and clean"]
PAIRS = ["so the food broke", "very nice", "i hated the plot again", "slow"]


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_pairs_and_decoders_give_the_models_own_logits_at_any_length(tiny_model, tmp_path, family):
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model(family), num_labels=3).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(family))
    model.config.pad_token_id = tokenizer.pad_token_id
    adapter, folder = tmp_path / "adapter", tmp_path / "onnx"
    adapter.mkdir()
    folder.mkdir()
    save_targets(adapter, "single_label_classification", {"label_names": ["a", "b", "c"]}, 24, [], Reading())
    save_settings(model, tokenizer, adapter, folder)
    write_onnx(model, tokenizer, adapter, folder)
    request = {"texts": TEXTS, "pairs": PAIRS, "max_length": 24, "batch_size": 3, "alone": 2}
    answer, arrays = onnx_reader.read_texts(str(folder), request)
    saved = AutoTokenizer.from_pretrained(folder)
    encoded = saved(TEXTS, PAIRS, truncation=True, max_length=24, padding=True, return_tensors="pt")
    assert ("token_type_ids" in encoded) == (family == "bert")  # as the model reads them
    with torch.no_grad():
        wanted = model(**encoded).logits.numpy()
    assert np.abs(arrays["logits"] - wanted).max() < LOGIT_TOLERANCE["fp32"]
    assert np.abs(arrays["alone"] - wanted[:2]).max() < LOGIT_TOLERANCE["fp32"]
    if family == "bert":
        with torch.no_grad():
            untold = model(**{**encoded, "token_type_ids": torch.zeros_like(encoded["token_type_ids"])}).logits.numpy()
        assert np.abs(untold - wanted).max() > 10 * np.abs(arrays["logits"] - wanted).max()
    assert answer["labels"] == ["a", "b", "c"]
    assert answer["misfits"] == {}
