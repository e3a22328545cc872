"""Every family is trained, saved whole, and loaded by plain PEFT with the answers that it was trained to give."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import AutoPeftModelForSequenceClassification
from safetensors.torch import load_file
from transformers import AutoTokenizer

from finetune30.data.batching import collate
from finetune30.data.encoding import EncodedSplit
from finetune30.errors import ModelError
from finetune30.modeling.base import find_base, load_tokenizer
from finetune30.modeling.devices import Placement
from finetune30.modeling.predictor import Predictor
from finetune30.modeling.saved_targets import Reading, save_targets
from finetune30.problems import load_problem
from finetune30.problems.trainables import load_trainable
from finetune30.training.paths import build_encoder, build_engine
from support.engines import configure
from support.tiny_models import FAMILIES, add_padding_token, halve

SINGLE = "single_label_classification"
NAMES = ("bad", "good", "mixed")
PROBLEM = load_trainable(SINGLE, {"label_names": list(NAMES)})
TEXTS = ["the film was good", "it was bad and so on and so on again", "nice", "we loved the room but hated the plot"]
#: The modules that transformers builds around each backbone, by its own sources.
HEADS = {
    "albert": {"classifier"},
    "bart": {"classification_head"},
    "bert": {"classifier"},
    "convbert": {"classifier"},
    "deberta-v2": {"pooler", "classifier"},
    "distilbert": {"pre_classifier", "classifier"},
    "electra": {"classifier"},
    "gpt2": {"score"},
    "llama": {"score"},
    "modernbert": {"head", "classifier"},
    "mpnet": {"classifier"},
    "qwen3": {"score"},
    "roberta": {"classifier"},
    "t5": {"classification_head"},
    "xlm-roberta": {"classifier"},
    "xlnet": {"sequence_summary", "logits_proj"},
}
PACKED = ("bert", "distilbert", "roberta", "xlm-roberta")
#: What people do to a base model before they bring it here.
CHANGES: dict[str, Callable[[Path], None]] = {"padding added": add_padding_token, "in float16": halve}
CASES = [
    *((family, "general", None) for family in FAMILIES),
    *((family, "packed", None) for family in PACKED),
    ("gpt2", "general", "padding added"),
    ("bert", "general", "padding added"),
    ("bert", "packed", "padding added"),
    ("bert", "general", "in float16"),
    ("bert", "packed", "in float16"),
]


def test_no_family_is_left_out() -> None:
    assert set(FAMILIES) == HEADS.keys()


def encode(path: str, folder: Path) -> EncodedSplit:
    import polars as pl

    frame = pl.DataFrame(
        {
            "row_id": [str(i) for i in range(len(TEXTS))],
            "text": TEXTS,
            "text_pair": pl.Series([None] * len(TEXTS), dtype=pl.String),
            "label_text": [NAMES[label] for label in (1, 0, 1, 2)],
        }
    )
    source = find_base(configure(folder).model)
    return load_problem(SINGLE).encode(frame, build_encoder(path, source, 32), PROBLEM.targets, 32)


def build(path: str, folder: Path, precision: str = "fp32", asked: str = "auto") -> Any:
    """Build an engine in a precision that is the machine's choice, or was asked for."""
    config = configure(folder, precision=asked)
    placement = Placement("cpu", precision, "test")
    return build_engine(path, config, find_base(config.model), PROBLEM, placement)


def train_and_save(path: str, base: Path, folder: Path, precision: str = "fp32") -> tuple[Any, NDArray[np.float32]]:
    """Train a few steps and save; return the first state of the adapter and the logits of TEXTS."""
    engine, split = build(path, base, precision), encode(path, base)
    batch = collate(split, np.arange(len(TEXTS)), engine.pad_token_id)
    first = engine.adapter_state()
    torch.manual_seed(1)
    for _ in range(3):
        engine.accumulate(batch, 1 / len(TEXTS))
        engine.step(0.05)
    engine.save_adapter(folder)
    load_tokenizer(find_base(configure(base).model)).save_pretrained(str(folder))
    save_targets(folder, SINGLE, PROBLEM.targets, 32, [], Reading(marks_are_text=True))
    return first, engine.outputs(batch)


@pytest.mark.parametrize(("family", "path", "change"), CASES)
def test_trained_model_answers_the_same_when_plain_peft_loads_it(
    tiny_model: Callable[..., Path], tmp_path: Path, family: str, path: str, change: str | None
) -> None:
    base = tiny_model(family)
    if change is not None:
        base = shutil.copytree(base, tmp_path / "base")
        CHANGES[change](base)
    _, trained = train_and_save(path, base, tmp_path)
    loaded: Any = AutoPeftModelForSequenceClassification.from_pretrained(
        str(tmp_path), num_labels=len(NAMES), dtype="float32"
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path))
    loaded.config.pad_token_id = tokenizer.pad_token_id
    # One by one, so without padding: what a text is answered must not depend on the texts beside it.
    with torch.inference_mode():
        found = [loaded(**tokenizer(text, return_tensors="pt")).logits.numpy() for text in TEXTS]
    assert float(np.abs(trained - trained[0]).max()) > 1e-3  # it tells texts apart
    np.testing.assert_allclose(np.concatenate(found), trained, atol=1e-5)


@pytest.mark.parametrize("family", ["convbert", "bert"])
def test_answers_do_not_depend_on_the_texts_beside_it(
    tiny_model: Callable[..., Path], tmp_path: Path, family: str
) -> None:
    # ConvBERT's convolutions look at what stands behind a text, and no mask keeps them from it.
    train_and_save("general", tiny_model(family), tmp_path)
    predictor = Predictor(tmp_path, Placement("cpu", "fp32", "test"), PROBLEM.load_saved)
    together = predictor.answer_logits([*TEXTS, TEXTS[0]], batch_size=2)
    alone = [predictor.answer_logits([text])[0] for text in [*TEXTS, TEXTS[0]]]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-6)


@pytest.mark.parametrize(("family", "path"), [(family, path) for family, path, change in CASES if change is None])
def test_the_whole_head_is_trained_and_saved(
    tiny_model: Callable[..., Path], tmp_path: Path, family: str, path: str
) -> None:
    first, _ = train_and_save(path, tiny_model(family), tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    heads = {name: tensor for name, tensor in saved.items() if ".lora_" not in name and ".pooler." not in name}
    heads |= {name: tensor for name, tensor in saved.items() if name.startswith("base_model.model.pooler.")}
    assert {name.removeprefix("base_model.model.").split(".")[0] for name in heads} == HEADS[family]
    assert any(".lora_B" in name and tensor.any() for name, tensor in saved.items())
    assert all(not torch.equal(tensor, first[name]) for name, tensor in heads.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_as_trained_in_the_precision_that_it_can_compute_in(
    tiny_model: Callable[..., Path], tmp_path: Path, family: str
) -> None:
    engine = build("general", tiny_model(family), "bf16")
    # XLNet keeps some weights in float32 whatever it is loaded in, and cannot multiply them with the others.
    assert engine.precision == ("fp32" if family == "xlnet" else "bf16")
    _, trained = train_and_save("general", tiny_model(family), tmp_path, "bf16")
    found = Predictor(tmp_path, Placement("cpu", "bf16", "test"), PROBLEM.load_saved).answer_logits(TEXTS)
    np.testing.assert_allclose(found, trained, atol=0.05)


def test_a_precision_asked_for_that_the_family_cannot_compute_in_is_refused(tiny_model: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match=r"cannot be computed in bf16: expected scalar type") as refused:
        build("general", tiny_model("xlnet"), "bf16", asked="bf16")
    assert refused.value.remedy == "set training.precision to fp32 or auto"
    assert build("general", tiny_model("xlnet"), "fp32", asked="fp32").precision == "fp32"
