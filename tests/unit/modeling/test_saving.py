"""A saved model: plain PEFT loads it, and a wrong one is found out."""

import json

import numpy as np
import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from finetune30.config import LoraConfig, ModelConfig, TrainingConfig
from finetune30.errors import ModelError, OutOfMemoryError, SelfTestError
from finetune30.modeling.adapters import build_adapter
from finetune30.modeling.base import find_base, load_tokenizer
from finetune30.modeling.devices import choose_placement
from finetune30.modeling.predictor import Predictor
from finetune30.modeling.saved_targets import Reading, save_targets
from finetune30.modeling.saving import validate_saved_outputs, validate_saved_tensors
from finetune30.problems.trainables import load_trainable
from finetune30.training.general import GeneralEngine
from support.engines import build_general, configure, random_batch

PROBLEM = load_trainable("single_label_classification", {"label_names": ["bad", "good", "mixed"]})
TEXTS = ["the film was good", "it was bad and so on and so on again", "nice"]


@pytest.fixture(params=["distilbert", "roberta"])
def saved(request, tiny_model, tmp_path):
    """An engine with a moved adapter and head, and its saved folder."""
    source = find_base(ModelConfig(name=str(tiny_model(request.param))))
    tokenizer = load_tokenizer(source)
    model, new = PROBLEM.load_model(source, pad_token_id=0)
    adapter = build_adapter(model, LoraConfig(target_modules="auto"), source, new, 1)
    engine = GeneralEngine(
        adapter,
        TrainingConfig(),
        choose_placement("cpu", "fp32"),
        outputs=PROBLEM.outputs,
        loss=PROBLEM.loss,
        pad_token_id=0,
    )
    engine.load_adapter_state({k: v + 0.05 for k, v in engine.adapter_state().items()})
    engine.save_adapter(tmp_path)
    tokenizer.save_pretrained(str(tmp_path))
    save_targets(tmp_path, PROBLEM.name, PROBLEM.targets, 32, [{"step": "remove_html"}], Reading(marks_are_text=True))
    return engine, tmp_path


def test_plain_peft_loads_the_head_that_was_trained(saved):
    engine, folder = saved
    model = AutoPeftModelForSequenceClassification.from_pretrained(str(folder), num_labels=3)
    state = engine.adapter_state()
    head = next(name for name in state if name.endswith(("classifier.weight", "out_proj.weight")))
    loaded = dict(model.named_parameters())
    found = next(p for n, p in loaded.items() if "modules_to_save.default" in n and p.shape == state[head].shape)
    np.testing.assert_array_equal(found.detach().numpy(), state[head].numpy())


@pytest.mark.parametrize(
    ("family", "lora"),
    [
        ("roberta", {"init_lora_weights": "pissa", "use_rslora": True}),
        ("gpt2", {"init_lora_weights": "pissa_niter_4", "target_modules": "all-linear", "loraplus_lr_ratio": 4.0}),
        ("llama", {"init_lora_weights": "olora", "bias": "all"}),
        ("bert", {"trainable_token_indices": [7, 9]}),
    ],
)
def test_variants_are_published_for_the_plain_base(tiny_model, tmp_path, family, lora):
    config = configure(tiny_model(family), lora={"r": 4, **lora}, neftune_noise_alpha=5.0)
    engine = build_general(config)
    batch = random_batch([9, 4, 12])
    before = engine.outputs(batch)
    for _ in range(3):
        engine.accumulate(batch, 1 / 3)
        engine.step(0.02)
    expected = engine.outputs(batch)
    assert np.abs(expected - before).max() > 0.01
    engine.save_adapter(tmp_path)
    validate_saved_tensors(tmp_path, engine.published_state())
    load_tokenizer(find_base(config.model)).save_pretrained(str(tmp_path))
    model = AutoPeftModelForSequenceClassification.from_pretrained(str(tmp_path), num_labels=2).eval()
    model.config.pad_token_id = engine.pad_token_id
    inputs = {
        name: torch.from_numpy(array)
        for name, array in (
            ("input_ids", batch.input_ids),
            ("attention_mask", batch.attention_mask),
            ("token_type_ids", batch.token_type_ids),
        )
    }
    with torch.inference_mode():
        found = model(**inputs).logits.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_predictor_answers_in_order_and_does_not_depend_on_the_batch(saved):
    _, folder = saved
    predictor = Predictor(folder, choose_placement("cpu", "fp32"), PROBLEM.load_saved)
    together = predictor.answer_logits(TEXTS, batch_size=2)
    alone = np.concatenate([predictor.answer_logits([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_batch_that_memory_does_not_suffice_for_is_halved_until_one_text_is_too_much(saved, monkeypatch):
    _, folder = saved
    predictor = Predictor(folder, choose_placement("cpu", "fp32"), PROBLEM.load_saved)
    expected, sizes = predictor.answer_logits(TEXTS), []
    model, most = predictor.model, 1

    def scarce(**tensors):
        sizes.append(len(tensors["input_ids"]))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return model(**tensors)

    monkeypatch.setattr(predictor, "model", scarce)
    np.testing.assert_allclose(predictor.answer_logits(TEXTS), expected, atol=1e-6)
    assert sizes == [3, 2, 1, 1, 1]
    most = 0
    with pytest.raises(OutOfMemoryError, match="out of memory on cpu for one text"):
        predictor.answer_logits(TEXTS)


def test_text_is_cleaned_as_in_training(saved):
    _, folder = saved
    predictor = Predictor(folder, choose_placement("cpu", "fp32"), PROBLEM.load_saved)
    np.testing.assert_allclose(
        predictor.answer_logits(["<b>the film</b> was good"]), predictor.answer_logits([TEXTS[0]]), atol=1e-6
    )


def test_self_test_passes_for_the_saved_model_and_fails_for_a_random_head(saved):
    engine, folder = saved
    trained = Predictor(folder, choose_placement("cpu", "fp32"), PROBLEM.load_saved).answer_logits(TEXTS)
    state = load_file(folder / "adapter_model.safetensors")
    validate_saved_tensors(folder, engine.adapter_state())
    head = next(name for name in state if name.endswith(("classifier.weight", "out_proj.weight")))
    state[head] = state[head].flip(0) * 30
    save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SelfTestError, match=r"1 saved weights differ"):
        validate_saved_tensors(folder, engine.adapter_state())
    wrong = Predictor(folder, choose_placement("cpu", "fp32"), PROBLEM.load_saved)
    with pytest.raises(SelfTestError, match="outputs differ by"):
        validate_saved_outputs(lambda: wrong.answer_logits(TEXTS), trained, "fp32")


def test_missing_head_in_the_file_is_found_out(saved):
    engine, folder = saved
    state = load_file(folder / "adapter_model.safetensors")
    dropped = {name: value for name, value in state.items() if "lora" in name}
    save_file(dropped, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SelfTestError, match="saved or trained, but not both"):
        validate_saved_tensors(folder, engine.adapter_state())


def test_labels_file_keeps_any_script(saved):
    _, folder = saved
    save_targets(folder, "single_label_classification", {"label_names": ["負面", "正面"]}, 8, [], Reading())
    assert json.loads((folder / "labels.json").read_text(encoding="utf-8"))["label_names"] == ["負面", "正面"]


def test_word_that_only_the_tokenizer_knows_is_refused(saved):
    _, folder = saved
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    tokenizer.add_tokens(["newword"])
    tokenizer.save_pretrained(str(folder))
    predictor = Predictor(folder, choose_placement("cpu", "fp32"), PROBLEM.load_saved)
    predictor.answer_logits(TEXTS)
    with pytest.raises(ModelError, match="of 'newword', but the model has embeddings for"):
        predictor.answer_logits(["a newword"])
