"""A text that a model is asked is read as its training read it: cleaned by the same steps, into the same tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from finetune30.config import ExperimentConfig, ModelConfig
from finetune30.data.batching import collate
from finetune30.modeling.base import find_base, load_tokenizer
from finetune30.modeling.devices import choose_placement
from finetune30.modeling.predictor import Predictor
from finetune30.modeling.saved_targets import save_targets
from finetune30.service.execution.experiment import Experiment, build_experiment, load_inputs
from finetune30.service.execution.publication import reading_of

#: Texts as people have them: what they are called, and the text of an evaluation row.
DIRTY = {
    "tags": "the <b>film</b> was <br/>good",
    "entities": "the film &amp; the book was good",
    "nested entities": "the film &amp;lt;b&amp;gt; was good",
    "script": "the film <script>var a = 1;</script> was good",
    "zero width": "the fi\u200blm was go\u200bod",
    "byte order mark": "\ufeffthe film was good",
    "control": "the film\x07 was good\x7f",
    "directions": "the \u202efilm\u202c was good",
    "mojibake": "the film was trÃ¨s good",
    "mojibake of quotes": "the film was â€œgoodâ€\x9d",
    "tags around a control character": "the <b>fi\u200blm</b> was good",
    "outer space": "   the film was good\t",
    "no-break space": "the\u00a0film was good",
    "end of a text": "the film [SEP] was good",
    "gap": "the film was [MASK]",
    "padding": "[PAD] the [CLS] film was good [PAD]",
}


@pytest.fixture
def trained(tiny_model: Callable[..., Path], tmp_path: Path) -> tuple[Experiment, Predictor]:
    """An engine over dirty rows and its saved model; the tokenizer cleans nothing by itself."""
    base = shutil.copytree(tiny_model(), tmp_path / "base")
    described = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    described["normalizer"] = {"type": "Lowercase"}
    (base / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    save_rows(tmp_path / "train.csv", [f"the film was good number {n}" for n in range(40)])
    save_rows(tmp_path / "eval.csv", list(DIRTY.values()))
    tree: dict[str, Any] = {
        "model": {"name": str(base)},
        "lora": {"target_modules": "auto"},
        "data": {
            "dataset_name": str(tmp_path / "train.csv"),
            "eval_file": str(tmp_path / "eval.csv"),
            "max_length": 64,
        },
        "training": {"device": "cpu", "precision": "fp32"},
    }
    tree["data"] |= {"gate": {"mode": "report"}}
    inputs = load_inputs(ExperimentConfig.model_validate(tree), frozenset(), lambda _: None, None)
    experiment = build_experiment(inputs, lambda _: None)
    folder = tmp_path / "model"
    folder.mkdir()
    experiment.engine.save_adapter(folder)
    load_tokenizer(inputs.source).save_pretrained(str(folder))
    save_targets(
        folder, experiment.problem.name, experiment.problem.targets, 64, inputs.data.recipe, reading_of(inputs)
    )
    return experiment, Predictor(folder, choose_placement("cpu", "fp32"), experiment.problem.load_saved)


def save_rows(path: Path, texts: list[str]) -> None:
    labels = [("bad", "good")[number % 2] for number in range(len(texts))]
    pl.DataFrame({"text": texts, "label": labels}).write_csv(path)


def test_raw_texts_become_the_tokens_of_the_evaluation_and_get_its_answers(
    trained: tuple[Experiment, Predictor],
) -> None:
    experiment, predictor = trained
    split = experiment.evaluation_split
    assert len(split) == len(DIRTY)
    read = predictor.encode(list(DIRTY.values())).ids
    for number, name in enumerate(DIRTY):
        known = split.tokens[split.offsets[number] : split.offsets[number + 1]].tolist()
        assert read[number] == known, name
    wanted = experiment.engine.outputs(collate(split, np.arange(len(split)), experiment.engine.pad_token_id))
    np.testing.assert_allclose(predictor.answer_logits(list(DIRTY.values())), wanted, atol=1e-5)


def test_the_steps_of_the_training_are_what_cleans(trained: tuple[Experiment, Predictor]) -> None:
    _, predictor = trained
    clean, raw = "the film was good", "the fi\u200blm was good"
    assert predictor.encode([raw]).ids == predictor.encode([clean]).ids
    predictor.reader._recipe = []
    assert predictor.encode([raw]).ids != predictor.encode([clean]).ids


def test_models_of_before_are_asked_as_they_were(trained: tuple[Experiment, Predictor], tmp_path: Path) -> None:
    experiment, _ = trained
    path = tmp_path / "model" / "labels.json"
    written = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("recipe", "targets", "reading")}
    path.write_text(json.dumps(written))
    earlier = Predictor(tmp_path / "model", choose_placement("cpu", "fp32"), experiment.problem.load_saved)
    assert earlier.encode(["the <b>film</b>"]).ids == earlier.encode(["the film"]).ids
    assert earlier.encode(["the fi\u200blm"]).ids != earlier.encode(["the film"]).ids
    mark = load_tokenizer(find_base(ModelConfig(name=str(tmp_path / "base")))).sep_token_id
    assert earlier.encode(["film [SEP] film"]).ids[0].count(mark) == 2


def test_special_tokens_in_texts_are_letters(trained: tuple[Experiment, Predictor]) -> None:
    _, predictor = trained
    tokenizer = predictor.tokenizer
    marks = {tokenizer.sep_token_id, tokenizer.cls_token_id, tokenizer.pad_token_id}
    for name in ("end of a text", "gap", "padding"):
        (ids,) = predictor.encode([DIRTY[name]]).ids
        assert [token for token in ids[1:-1] if token in marks] == [], name
        assert len(ids) > len(predictor.encode([DIRTY[name].replace("[", "").replace("]", "")]).ids[0]), name
