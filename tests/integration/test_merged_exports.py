"""`ft30 export --as merged`: measured by plain transformers against the adapter; what is another model is refused."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from finetune30.errors import SelfTestError
from finetune30.files import sha256_of
from finetune30.service.exports.forms import MERGED
from finetune30.service.exports.judging import Bound
from support.exports import judge_merged, mutate, refer_to_run
from support.kinds import KindsLab
from support.quantized import needs_bitsandbytes
from support.talk_lab import TalkLab

pytestmark = pytest.mark.integration
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def talk(fork_server, tmp_path_factory: pytest.TempPathFactory) -> TalkLab:
    lab = TalkLab(fork_server, tmp_path_factory.mktemp("talk-exports"))
    done(lab.train("results", {"training.num_train_epochs": 1}))
    done(lab.ft30("export", "talk", "--as", "merged", "--output", "merged"))
    return lab


@pytest.fixture(scope="module")
def of_talk(talk: TalkLab) -> Any:
    return refer_to_run(talk.folder, "talk")


@pytest.fixture(scope="module")
def classifier(kinds_lab: KindsLab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merged") / "classifier"
    kinds_lab.ft30("export", "single-label", "--as", "merged", "--output", str(folder))
    return folder


@pytest.fixture(scope="module")
def of_classifier(kinds_lab: KindsLab) -> Any:
    return refer_to_run(kinds_lab.folder, "single-label")


def done(ended: Any) -> Any:
    assert ended.returncode == 0, ended.stderr
    return ended


def change_json(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tree = json.loads((folder / name).read_text(encoding="utf-8"))
        change(tree)
        (folder / name).write_text(json.dumps(tree), encoding="utf-8")

    return apply


def change_weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        state = load_file(folder / WEIGHTS)
        change(state)
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / WEIGHTS, {"format": "pt"})

    return apply


def rename_first(part: str) -> Callable[[Path], None]:
    def rename(state: dict[str, torch.Tensor]) -> None:
        name = next(name for name in state if part in name)
        state[name.replace(part, f"{part}_renamed")] = state.pop(name)

    return change_weights(rename)


def permute_first(part: str) -> Callable[[Path], None]:
    """Put the rows of a weight into another order, as the halves and pairs of rotary positions are mixed up."""

    def permute(state: dict[str, torch.Tensor]) -> None:
        name = next(name for name in state if part in name and state[name].dim() == 2)
        state[name] = torch.cat([state[name][::2], state[name][1::2]])

    return change_weights(permute)


OF_LANGUAGE_MODELS = {
    "permutation": (permute_first("k_proj"), "logits differ"),
    "renamed tensor": (rename_first("up_proj"), "do not fit"),
    "altered template": (
        lambda folder: (folder / "chat_template.jinja").write_text(
            (folder / "chat_template.jinja").read_text().replace("<|im_start|>", "<|im_start|> ", 1)
        ),
        "template is another one",
    ),
    "missing end token": (
        change_json("generation_config.json", lambda tree: tree.pop("eos_token_id")),
        "does not end at token 2",
    ),
    "other tokens": (
        change_json("tokenizer.json", lambda tree: tree["model"]["merges"].clear()),
        "as other tokens",
    ),
}
OF_CLASSIFIERS = {
    "permutation": (permute_first("q_lin"), "logits differ"),
    "renamed tensor": (rename_first("classifier"), "do not fit"),
    "lost label": (
        change_json("config.json", lambda tree: tree.pop("id2label")),
        "its labels are",
    ),
    "labels in another order": (
        change_json("config.json", lambda tree: tree["id2label"].update({"0": "zest", "2": "anger"})),
        "its labels are zest",
    ),
    "other tokens": (
        change_json("tokenizer.json", lambda tree: tree["model"]["vocab"].pop("great")),
        "texts otherwise",
    ),
}


@pytest.mark.parametrize("name", OF_LANGUAGE_MODELS)
def test_a_language_model_that_is_another_one_is_refused(talk, of_talk, tmp_path, name):
    change, told = OF_LANGUAGE_MODELS[name]
    with pytest.raises(SelfTestError, match=told):
        judge_merged(of_talk, mutate(talk.folder / "merged", tmp_path / "mutant", change), MERGED.bound)


@pytest.mark.parametrize("name", OF_CLASSIFIERS)
def test_a_classifier_that_is_another_one_is_refused(classifier, of_classifier, tmp_path, name):
    change, told = OF_CLASSIFIERS[name]
    with pytest.raises(SelfTestError, match=told):
        judge_merged(of_classifier, mutate(classifier, tmp_path / "mutant", change), MERGED.bound)


def test_the_receipt_says_how_far_the_merged_model_is_from_the_adapter(kinds_lab, classifier, of_classifier):
    receipt = json.loads((classifier / "receipt.json").read_text(encoding="utf-8"))
    measured = receipt["measured"]
    manifest = json.loads((kinds_lab.run_folder("single-label") / "manifest.json").read_text(encoding="utf-8"))
    assert receipt["adapter_sha256"] == manifest["files"]["artifacts/final_model/adapter_model.safetensors"]["sha256"]
    assert receipt["reader"]["name"] == "transformers"
    assert measured["rows"] == measured["ids"]["equal"] == 12
    assert 0 < measured["logits"]["largest"] < 1e-5 < measured["allowed_gap"]
    assert measured["logits"]["mean"] <= measured["logits"]["largest"]
    assert measured["flips"] == 0
    adapter, export = measured["score"]["adapter"], measured["score"]["export"]
    assert adapter == export
    assert adapter["interval"]["low"] < adapter["value"] <= adapter["interval"]["high"]
    assert measured["alone_against_batch"]["export"]["largest"] < 1e-5
    told = judge_merged(of_classifier, classifier, MERGED.bound)
    assert told["logits"] == measured["logits"]  # the process of its own found what is found here
    for line in (classifier / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert sha256_of(classifier / name) == digest
    assert "receipt.json" in (classifier / "README.md").read_text(encoding="utf-8")


def test_a_gap_that_somebody_accepts_is_on_the_receipt_with_the_name(talk, of_talk, tmp_path):
    mutant = mutate(talk.folder / "merged", tmp_path / "mutant", permute_first("k_proj"))
    told = judge_merged(of_talk, mutant, Bound(1e-3, accepted=100.0, by="local:ann"))
    assert told["accepted"] == {"gap": 100.0, "by": "local:ann"}
    assert told["logits"]["largest"] > 1e-3
    mutant = mutate(talk.folder / "merged", tmp_path / "other", OF_LANGUAGE_MODELS["missing end token"][0])
    with pytest.raises(SelfTestError, match="does not end"):
        judge_merged(of_talk, mutant, Bound(1e-3, accepted=100.0, by="local:ann"))


def test_greedy_answers_are_the_adapters(talk):
    greedy = json.loads((talk.folder / "merged" / "receipt.json").read_text())["measured"]["greedy"]
    assert greedy["equal_tokens"] == [32] * 5


def test_an_export_that_is_killed_leaves_nothing_that_counts(talk):
    for point in ("after_model", "after_receipt"):
        ended = talk.ft30("export", "talk", "--as", "merged", FT30_FAILPOINT=f"export.{point}:1")
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert list((talk.folder / "results" / "exports").glob("[!.]*")) == []
    ended = done(talk.ft30("export", "talk", "--as", "merged"))
    (folder,) = (talk.folder / "results" / "exports").iterdir()
    assert ended.stdout.splitlines()[0] == f"results/exports/{folder.name}"
    (run,) = (talk.folder / "results").glob("talk_2*")
    assert folder.name == f"{run.name}-merged"
    refused = talk.ft30("export", "talk", "--as", "merged")
    assert refused.returncode == 2
    assert "add --overwrite" in refused.stderr


@needs_bitsandbytes
def test_an_adapter_of_a_quantised_base_is_measured_merged_into_both(talk):
    done(
        talk.train("four", {"model.quantization": "nf4", "training.engine": "general", "training.num_train_epochs": 1})
    )
    elsewhere = talk.ft30("export", "talk", "--as", "gguf", "--output", "four-gguf", results="four")
    assert (elsewhere.returncode, "--as zip, or --as merged" in elsewhere.stderr) == (2, True)
    refused = talk.ft30("export", "talk", "--as", "merged", "--output", "four-merged", results="four")
    assert refused.returncode == 1
    assert "whole: logits differ by up to" in refused.stderr
    assert "dequantised: logits differ by up to" in refused.stderr
    assert not (talk.folder / "four-merged").exists()
    done(talk.ft30("export", "talk", "--as", "zip", "--output", "four.zip", results="four"))
    into = ("--as", "merged", "--output", "four-merged", "--into")
    far = talk.ft30("export", "talk", *into, "whole", results="four")
    assert far.returncode == 1
    assert "the export is not the trained model" in far.stderr
    done(talk.ft30("export", "talk", *into, "dequantised", results="four"))
    assert json.loads((talk.folder / "four-merged" / "receipt.json").read_text())["measured"]["flips"] == 0


def test_without_the_evaluation_rows_only_the_adapter_is_given_out(talk):
    versions = talk.folder / "data_store" / "versions"
    aside = versions.rename(talk.folder / "aside")
    try:
        refused = talk.ft30("export", "talk", "--as", "merged", "--output", "unmeasured")
        assert (refused.returncode, "nothing can be measured without them" in refused.stderr) == (1, True)
        assert not (talk.folder / "unmeasured").exists()
        done(talk.ft30("export", "talk", "--as", "zip", "--output", "adapter.zip"))
    finally:
        aside.rename(versions)


def test_what_belongs_to_another_form_is_refused(talk):
    zipped = talk.ft30("export", "talk", "--accept-gap", "1")
    assert (zipped.returncode, "leave them out" in zipped.stderr) == (2, True)
    done(talk.ft30("export", "talk", "--output", "plain.zip"))
    whole = talk.ft30("export", "talk", "--as", "merged", "--output", "other", "--into", "whole")
    assert (whole.returncode, "this one's base is whole" in whole.stderr) == (2, True)
    for gap in ("inf", "nan"):  # no receipt could hold them
        endless = talk.ft30("export", "talk", "--as", "merged", "--output", "other", "--accept-gap", gap)
        assert (endless.returncode, f"{gap} is no number above 0" in endless.stderr) == (2, True)
