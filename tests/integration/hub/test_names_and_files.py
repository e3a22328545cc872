"""What a name of the hub stands for, which files are fetched for it, and what is found again without the hub."""

from __future__ import annotations

import pytest

from finetune30.hub.names import canonical_id
from support.stand_in_hub import StandInHub

pytestmark = pytest.mark.integration

DISTILBERT = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]


def fetched(hub: StandInHub) -> list[str]:
    """Files whose content was sent."""
    sent = [request for request in hub.requests if request.method == "GET" and request.status == 200]
    return sorted(request.file for request in sent if request.action in ("resolve", "cdn"))


def test_the_default_model_comes_by_its_old_name_and_nothing_beside_it(at_hub, tmp_path):
    hub, user = at_hub
    told = user.fetch_model(tmp_path, "distilbert-base-uncased")
    assert told.value["id"] == "distilbert/distilbert-base-uncased"
    assert told.value["commit"] == hub.sha("models", "distilbert/distilbert-base-uncased")
    assert told.value["files"] == fetched(hub) == DISTILBERT
    assert f"model: distilbert-base-uncased is distilbert/distilbert-base-uncased at {told.value['commit']}" in told.log
    sizes = [len(hub.content("models", told.value["id"], name)) for name in DISTILBERT]
    assert told.transfers[-1] == [sum(sizes), sum(sizes)]


def test_nothing_is_fetched_twice_and_the_cache_serves_without_the_hub(at_hub, tmp_path):
    hub, user = at_hub
    first = user.fetch_model(tmp_path, "distilbert-base-uncased")
    hub.forget_requests()
    assert user.fetch_model(tmp_path, "distilbert-base-uncased").value == first.value
    assert [request.action for request in hub.requests] == ["info", "info"]  # the redirect, and the answer
    hub.forget_requests()
    for name, revision in (
        ("distilbert-base-uncased", None),
        ("distilbert/distilbert-base-uncased", "main"),
        ("distilbert-base-uncased", first.value["commit"]),
    ):
        told = user.fetch_model(tmp_path, name, revision, HF_HUB_OFFLINE="1")
        assert told.value == first.value
    assert hub.requests == []


def test_a_named_commit_that_is_here_is_not_asked_for(at_hub, tmp_path):
    hub, user = at_hub
    first = user.fetch_model(tmp_path, "distilbert-base-uncased")
    hub.forget_requests()
    assert user.fetch_model(tmp_path, "distilbert-base-uncased", first.value["commit"]).value == first.value
    assert hub.requests == []


def test_a_name_that_moved_is_found_again_without_the_hub(at_hub, tmp_path):
    _, user = at_hub
    assert canonical_id("model", "moved-model") is None
    hub = at_hub[0]
    hub.add(_renamed(hub))
    first = user.fetch_model(tmp_path, "moved-model")
    assert first.value["id"] == "stand-in/new-home"
    assert user.fetch_model(tmp_path, "moved-model", HF_HUB_OFFLINE="1").value == first.value


def _renamed(hub: StandInHub):
    from support.stand_in_hub import Repository

    name = "google-bert/bert-base-uncased"
    files = {file: hub.content("models", name, file) for file in ("config.json", "model.safetensors", "vocab.txt")}
    return Repository("models", "stand-in/new-home", files, aliases=("moved-model",))


def test_a_newer_commit_is_taken_when_the_hub_can_be_asked_and_the_old_one_stays(at_hub, tmp_path):
    hub, user = at_hub
    name = "stand-in/nested-folders"
    before = user.fetch_model(tmp_path, name)
    hub.commit("models", name, {"config.json": hub.content("models", name, "config.json") + b"\n"})
    after = user.fetch_model(tmp_path, name)
    assert after.value["commit"] == hub.sha("models", name) != before.value["commit"]
    assert user.fetch_model(tmp_path, name, before.value["commit"], HF_HUB_OFFLINE="1").value == before.value
    assert user.fetch_model(tmp_path, name, HF_HUB_OFFLINE="1").value == after.value


def test_weights_in_parts_come_whole_and_nothing_from_folders(at_hub, tmp_path):
    hub, user = at_hub
    told = user.fetch_model(tmp_path, "stand-in/sharded-weights")
    parts = [name for name in hub.files("models", "stand-in/sharded-weights") if name.endswith(".safetensors")]
    assert len(parts) > 1
    assert {"model.safetensors.index.json", *parts} <= set(told.value["files"])
    nested = user.fetch_model(tmp_path, "stand-in/nested-folders")
    assert nested.value["files"] == sorted(set(nested.value["files"]))
    assert not [request.file for request in hub.requests if "/" in request.file]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stand-in/pickled-weights", "model 'stand-in/pickled-weights' has no safetensors weights; found "),
        ("stand-in/empty-model", "model 'stand-in/empty-model' has no safetensors weights"),
        ("stand-in/remote-code", "model 'stand-in/remote-code' needs code from its repository"),
    ],
)
def test_a_model_that_cannot_be_used_is_said_and_never_stood_in_for(at_hub, tmp_path, name, message):
    told = at_hub[1].fetch_model(tmp_path, name)
    assert told.code == "model_error"
    assert message in told.message
    if "code" not in name:
        assert fetched(at_hub[0]) == []


def test_counting_tokens_fetches_no_weights(at_hub, tmp_path):
    hub, user = at_hub
    told = user.fetch_tokenizer(tmp_path, "distilbert-base-uncased")
    assert told.value == fetched(hub) == [name for name in DISTILBERT if name != "model.safetensors"]
    # What is here is not enough for a training, and is not taken for it.
    assert user.fetch_model(tmp_path, "distilbert-base-uncased", HF_HUB_OFFLINE="1").code == "hub_unavailable"
    assert user.fetch_model(tmp_path, "distilbert-base-uncased").value["files"] == DISTILBERT


def test_the_default_set_comes_by_its_old_name_with_the_files_of_its_configuration(at_hub, tmp_path):
    hub, user = at_hub
    told = user.load_set(tmp_path, "glue", "sst2")
    assert told.value["id"] == "nyu-mll/glue"
    assert told.value["names"] == {"label": ["negative", "positive"]}
    assert {file.partition("/")[0] for file in fetched(hub)} == {"README.md", "sst2"}
    hub.forget_requests()
    offline = user.load_set(tmp_path, "glue", "sst2", HF_HUB_OFFLINE="1")
    assert offline.value == told.value
    assert user.load_set(tmp_path, "nyu-mll/glue", "sst2", told.value["commit"]).value == told.value
    assert hub.requests == []
    other = user.load_set(tmp_path, "glue", "stsb")
    assert "sentence1" in other.value["first"]["train"]


@pytest.mark.parametrize("revision", ["v1", "main"])
def test_a_branch_or_tag_of_a_set_is_found_again_without_the_hub(at_hub, tmp_path, revision):
    hub, user = at_hub
    told = user.load_set(tmp_path, "glue", "sst2", revision)
    assert told.value["commit"] == hub.sha("datasets", "nyu-mll/glue", revision)
    assert user.load_set(tmp_path, "glue", "sst2", revision, HF_HUB_OFFLINE="1").value == told.value


def test_lists_of_classes_come_with_their_names(at_hub, tmp_path):
    told = at_hub[1].load_set(tmp_path, "google-research-datasets/go_emotions", "simplified")
    assert len(told.value["names"]["labels"]) == 28
    assert told.value["first"]["train"]["labels"].startswith('["')


def test_unlabelled_rows_of_a_set_have_no_label(at_hub, tmp_path):
    told = at_hub[1].load_set(tmp_path, "glue", "sst2")
    assert told.value["first"]["test"]["label"] is None
    assert told.value["first"]["train"]["label"] in ("0", "1")


@pytest.mark.parametrize(
    ("name", "config", "splits"),
    [
        ("stand-in/csv-files", None, {"train", "test"}),
        ("stand-in/json-lines", None, {"train", "validation"}),
        ("stand-in/many-parquet-files", None, {"train", "test"}),
        ("stand-in/two-configurations", None, {"train", "test"}),
        ("lansinuote/ChnSentiCorp", None, {"train", "validation", "test"}),
        ("imdb", None, {"train", "test", "unsupervised"}),
    ],
)
def test_every_layout_of_a_set_is_read(at_hub, tmp_path, name, config, splits):
    told = at_hub[1].load_set(tmp_path, name, config)
    assert told.code == "", told.message
    assert min(told.value["rows"].values()) > 0
    again = at_hub[1].load_set(tmp_path, name, config, HF_HUB_OFFLINE="1")
    assert again.value == told.value


@pytest.mark.parametrize(
    ("name", "config", "message", "remedy"),
    [
        ("stand-in/script-only", None, "exists only as code", "stored as Parquet, CSV or JSON"),
        ("stand-in/empty", None, "holds no file that can be read as rows", "stored as Parquet, CSV or JSON"),
        ("glue", "sst3", "sst2", "data.dataset_config"),
        ("text", None, "'text' is neither a file or folder here nor a data set on the hub", "data.dataset_name"),
        ("csv", None, "'csv' is neither", "data.dataset_name"),
    ],
)
def test_a_set_that_cannot_be_used_is_said(at_hub, tmp_path, name, config, message, remedy):
    told = at_hub[1].load_set(tmp_path, name, config)
    assert told.code in ("data_error", "hub_not_found")
    assert message in told.message
    assert remedy in told.remedy
