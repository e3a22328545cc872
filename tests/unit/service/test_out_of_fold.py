"""Out-of-fold answers: no model is asked about a text that it was trained on, and every row is answered once."""

import numpy as np
import polars as pl
import pytest
import torch

from finetune30.config import ExperimentConfig
from finetune30.data.splitting import assign_folds
from finetune30.data.versions.storage import VersionStore
from finetune30.errors import ConflictError
from support.present import present
from support.tiny_models import build_tiny_model, save_with_head

LABELS = ("bad", "good")


def build_rows(count):
    """Every text stands in two rows."""
    return pl.DataFrame(
        {
            "text": [f"the film was very {'good' if i % 4 < 2 else 'bad'} {i // 2}" for i in range(count)],
            "text_pair": pl.Series([None] * count, dtype=pl.String),
            "label": [LABELS[int(i % 4 < 2)] for i in range(count)],
            "origin": [f"a.csv:{i + 2}" for i in range(count)],
        }
    )


def store_rows(folder, rows):
    manifest, _ = VersionStore(folder).create(
        {"train": rows},
        targets={"label_names": list(LABELS)},
        problem_type="single_label_classification",
        source={"name": "a"},
    )
    return manifest


def build_config(model):
    training: dict[str, object] = {"per_device_train_batch_size": 4, "num_train_epochs": 1, "seed": 5}
    # What would let held-out rows choose the weights; a fold must do without.
    training |= {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "early_stopping_patience": 1,
        "load_best_model_at_end": True,
    }
    tree: dict[str, object] = {"model": {"name": str(model)}, "data": {"max_length": 32}, "training": training}
    tree["lora"] = {"target_modules": "auto"}
    return ExperimentConfig.model_validate(tree)


def test_folds_hold_whole_texts_and_their_share_of_each_label():
    keys = pl.Series([f"text {i // 2}" for i in range(100)])
    strata = pl.Series([i % 4 // 2 for i in range(100)])
    folds = assign_folds(keys, strata, 5, seed=1)
    assert (folds[::2] == folds[1::2]).all()
    counts = [np.bincount(folds[strata.to_numpy() == stratum], minlength=5) for stratum in (0, 1)]
    assert np.array(counts).tolist() == [[10] * 5] * 2
    assert (folds == assign_folds(keys, strata, 5, seed=1)).all()
    assert (folds != assign_folds(keys, strata, 5, seed=2)).any()


def test_every_row_is_answered_once_by_a_model_that_saw_no_row_of_its_text(tmp_path, monkeypatch):
    from finetune30.service.suspects.out_of_fold import train_out_of_fold
    from finetune30.training import loop

    rows = build_rows(24)
    seen = []
    train = loop.train

    def watch(engine, train_split, held_out, config, *rest):
        result = train(engine, train_split, held_out, config, *rest)
        seen.append((train_split.row_ids, held_out.row_ids, result))
        return result

    monkeypatch.setattr(loop, "train", watch)
    config = build_config(build_tiny_model(tmp_path / "model"))
    logits, _ = train_out_of_fold(config, rows, store_rows(tmp_path / "data", rows), 3, lambda line: None, tmp_path)

    assert logits.shape == (24, 2)
    text_of = dict(rows.select("origin", "text").iter_rows())
    for trained, held_out, result in seen:
        assert not {text_of[name] for name in trained} & {text_of[name] for name in held_out}
        assert len(trained) + len(held_out) == rows.height
        assert result.progress.global_step == 4  # to the end: nothing was chosen by the held-out rows
        positions = [rows["origin"].to_list().index(name) for name in held_out]
        assert logits[positions].tobytes() == present(result.evaluation_outputs).tobytes()
    assert sorted(name for _, held_out, _ in seen for name in held_out) == sorted(rows["origin"])


def test_folds_are_dealt_by_the_seed_of_the_rows(tmp_path, monkeypatch):
    from finetune30.service.suspects.out_of_fold import train_out_of_fold
    from finetune30.training import loop

    class FirstFoldError(Exception):
        pass

    def stop(engine, train_split, held_out, *rest):
        raise FirstFoldError(held_out.row_ids)

    monkeypatch.setattr(loop, "train", stop)
    rows, model = build_rows(24), build_tiny_model(tmp_path / "model")
    stored = store_rows(tmp_path / "data", rows)

    def held_out(seed, split_seed):
        tree = build_config(model).as_tree()
        tree["training"]["seed"], tree["data"]["split_seed"] = seed, split_seed
        with pytest.raises(FirstFoldError) as found:
            train_out_of_fold(ExperimentConfig.model_validate(tree), rows, stored, 3, lambda line: None, tmp_path)
        return found.value.args[0]

    assert held_out(1, 5) == held_out(2, 5) == held_out(5, None)
    assert held_out(1, None) != held_out(2, None)


def test_more_folds_than_texts_are_refused(tmp_path):
    from finetune30.service.suspects.out_of_fold import train_out_of_fold

    rows = build_rows(8)
    config = build_config("starter")
    with pytest.raises(ConflictError, match="4 different texts cannot fill 5 folds"):
        train_out_of_fold(config, rows, store_rows(tmp_path, rows), 5, lambda line: None, tmp_path)


def test_columns_are_the_labels_in_the_order_of_a_given_head(tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from finetune30.service.suspects.out_of_fold import train_out_of_fold

    rows = build_rows(16)
    base = save_with_head(build_tiny_model(tmp_path / "base"), tmp_path / "model", LABELS[::-1])
    tree = build_config(base).as_tree()
    tree["training"] |= {"learning_rate": 1e-12, "precision": "fp32"}  # so that the answers are those of the head
    config = ExperimentConfig.model_validate(tree)
    stored = store_rows(tmp_path / "data", rows)
    found, targets = train_out_of_fold(config, rows, stored, 2, lambda line: None, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(base)
    plain = AutoModelForSequenceClassification.from_pretrained(base).eval()
    with torch.inference_mode():
        wanted = plain(**tokenizer(rows["text"].to_list(), padding=True, return_tensors="pt")).logits.numpy()
    assert plain.config.id2label == {0: "good", 1: "bad"}
    assert targets == {"label_names": ["good", "bad"]}
    np.testing.assert_allclose(found, wanted, atol=1e-5)
