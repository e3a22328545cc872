"""What went wrong once: caches of other programs, parts of downloads, several users at a time, odd repositories."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from support.hub_user import HubUser
from support.stand_in_hub import Repository, StandInHub

pytestmark = pytest.mark.integration

MODEL, SET = "distilbert/distilbert-base-uncased", "nyu-mll/glue"


@pytest.fixture
def user(hub: StandInHub, tmp_path: Path):
    asking = HubUser(hub.environment(tmp_path / "unused"))
    yield asking
    asking.close()


def other_program(hub: StandInHub, home: Path, code: str) -> None:
    """Let another program fill the cache."""
    subprocess.run(
        [sys.executable, "-c", code], env=hub.environment(home), check=True, timeout=200, capture_output=True
    )


@pytest.mark.parametrize("noted", [True, False])
def test_files_that_were_not_compared_or_changed_since_are_compared_before_they_are_used(hub, user, tmp_path, noted):
    assert user.fetch_tokenizer(tmp_path, "distilbert-base-uncased").code == ""
    (cached,) = (tmp_path / "hub").glob("models--distilbert*/snapshots/*/vocab.txt")
    before = cached.stat()
    cached.resolve().write_bytes(bytes(before.st_size))
    if not noted:  # a download that was cut before it could compare, or another program's
        os.utime(cached.resolve(), ns=(before.st_atime_ns, before.st_mtime_ns))
        shutil.rmtree(tmp_path / "assets" / "finetune30" / "checked")
    told = user.fetch_model(tmp_path, "distilbert-base-uncased")
    assert told.code == ""
    assert "model: vocab.txt in the cache is not what the hub lists: removed" in told.log
    (cached,) = (tmp_path / "hub").glob("models--distilbert*/snapshots/*/vocab.txt")
    assert cached.read_bytes() == hub.content("models", MODEL, "vocab.txt")
    hub.forget_requests()
    assert user.fetch_model(tmp_path, "distilbert-base-uncased").value == told.value
    assert {request.action for request in hub.requests} == {"info"}  # compared once


def test_a_part_of_a_newer_commit_does_not_hide_the_older_whole_one(hub, user, tmp_path):
    model = user.fetch_model(tmp_path, "distilbert-base-uncased")
    rows = user.load_set(tmp_path, "glue", "sst2")
    hub.commit("models", MODEL, {"config.json": hub.content("models", MODEL, "config.json") + b"\n"})
    hub.commit("datasets", SET, {"notes.txt": b"new"})
    assert user.fetch_tokenizer(tmp_path, "distilbert-base-uncased").code == ""
    assert user.load_set(tmp_path, "glue", "stsb").value["commit"] != rows.value["commit"]
    assert user.fetch_model(tmp_path, "distilbert-base-uncased", HF_HUB_OFFLINE="1").value == model.value
    assert user.load_set(tmp_path, "glue", "sst2", HF_HUB_OFFLINE="1").value == rows.value


@pytest.mark.parametrize("name", ["stand-in/no-tokenizer"])
def test_a_model_without_a_tokenizer_is_refused_before_anything_is_fetched(hub, user, tmp_path, name):
    told = user.fetch_model(tmp_path, name)
    assert (told.code, told.message) == ("model_error", f"model '{name}' has no tokenizer")
    assert not [request for request in hub.requests if request.action == "cdn"]


def test_weights_that_do_not_fit_their_configuration_are_refused(hub, ft30):
    config = json.loads(hub.content("models", MODEL, "config.json"))
    for name, changed in (("wider", {"vocab_size": config["vocab_size"] + 7}), ("deeper", {"n_layers": 5})):
        files = {
            file: hub.content("models", MODEL, file) for file in ("model.safetensors", "tokenizer.json", "vocab.txt")
        }
        hub.add(
            Repository("models", f"odd/{name}", {**files, "config.json": json.dumps({**config, **changed}).encode()})
        )
        few = ("--dataset", "starter", "--epochs", "1", "--train_samples", "16", "--data.eval_samples", "8")
        done = ft30("train", "--model", f"odd/{name}", *few)
        assert done.returncode == 1, done.stderr
        assert f"the weights of model 'odd/{name}' do not fit its config.json" in done.stderr


def test_a_tokenizer_of_another_program_counts_only_when_it_is_whole(hub, user, tmp_path):
    fetch = "from huggingface_hub import hf_hub_download as get\nfor f in {files!r}: get({name!r}, f)"
    partial = ("config.json", "model.safetensors", "vocab.txt")
    other_program(hub, tmp_path, fetch.format(files=partial, name=MODEL))
    assert user.fetch_model(tmp_path, MODEL, HF_HUB_OFFLINE="1").code == "hub_unavailable"
    by_name = f"import transformers as t; [a.from_pretrained({MODEL!r}) for a in (t.AutoTokenizer, t.AutoModel)]"
    other_program(hub, tmp_path / "whole", by_name)
    assert user.fetch_model(tmp_path / "whole", MODEL, HF_HUB_OFFLINE="1").code == ""


def test_what_the_library_prepared_serves_offline_only_for_the_same_configuration(hub, user, tmp_path):
    other_program(hub, tmp_path, "import datasets; datasets.load_dataset('stand-in/two-configurations', 'tabs')")
    alone = {"HF_HUB_OFFLINE": "1"}
    assert user.load_set(tmp_path, "stand-in/two-configurations", **alone).code == "hub_unavailable"
    assert user.load_set(tmp_path, "stand-in/two-configurations", "tabs", **alone).code == ""


def test_a_pinned_revision_of_the_default_set_never_falls_back_and_a_resumed_run_stays_as_it_was(
    ft30, tmp_path, repository
):
    default = ("train", "--config", repository / "config" / "default.yaml", "--train_samples", "32")
    pinned = ft30(*default, "--data.revision", "a" * 40, HF_HUB_OFFLINE="1")
    assert pinned.returncode == 1
    assert "'glue' is not cached" not in pinned.stderr or "using 'starter' instead" not in pinned.stderr
    killed = ft30(*default, "--training.save_steps", "4", FT30_FAILPOINT="result.before_staging:1")
    assert killed.returncode == -9
    cache = tmp_path / "home" / "hub"
    kept = cache.rename(tmp_path / "kept")
    refused = ft30("resume", "latest", HF_HUB_OFFLINE="1")
    assert refused.returncode == 1
    assert "is not cached on this machine" in refused.stderr
    run = json.loads(ft30("runs", "show", "latest", "--json").stdout)["run"]
    assert (run["model_name"], run["dataset_name"]) == ("distilbert-base-uncased", "glue")
    kept.rename(cache)
    assert ft30("resume", "latest", HF_HUB_OFFLINE="1").returncode == 0


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"HF_ENDPOINT": "hf-mirror.example"}, "HF_ENDPOINT is 'hf-mirror.example', which is no address of a hub"),
        ({"HF_ENDPOINT": ""}, "HF_ENDPOINT is '', which is no address of a hub"),
        ({"HF_ENDPOINT": "https"}, "is not the hub: it does not speak https"),
    ],
)
def test_a_mistake_in_a_setting_is_no_hub_out_of_reach(hub, ft30, repository, variables, words):
    if variables["HF_ENDPOINT"] == "https":
        variables = {"HF_ENDPOINT": hub.endpoint.replace("http:", "https:")}
    done = ft30("train", "--config", repository / "config" / "default.yaml", **variables)
    assert done.returncode == 1
    assert words in done.stderr
    assert "using 'starter'" not in done.stderr


def test_a_proxy_or_mirror_that_does_not_answer_is_named(ft30):
    for variables, words in (
        ({"HTTP_PROXY": "http://127.0.0.1:9"}, "through the proxy in HTTP_PROXY"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "the hub cannot be reached at http://127.0.0.1:9"),
    ):
        done = ft30("data", "analyze", "glue", "--dataset_config", "sst2", **variables)
        assert done.returncode == 1
        assert words in done.stderr


def test_an_explicit_configuration_called_like_the_default_one_is_loaded(hub, user, tmp_path):
    files = {f"{name}/train.csv": f"text,label\n{name} text,0\nother {name},1\n".encode() for name in ("sst2", "more")}
    card = {
        "configs": [
            {"config_name": name, "data_files": f"{name}/train.csv", **({"default": True} if name == "more" else {})}
            for name in ("sst2", "more")
        ]
    }
    import yaml

    hub.add(Repository("datasets", "own/copy", {**files, "README.md": f"---\n{yaml.safe_dump(card)}---\n".encode()}))
    assert user.load_set(tmp_path, "own/copy", "sst2").value["first"]["train"]["text"] == "sst2 text"
    assert user.load_set(tmp_path, "own/copy").value["first"]["train"]["text"] == "more text"


def test_archives_and_stale_cards_are_read_as_the_library_reads_them(hub, user, tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("rows.csv", "text,label\na,0\nb,1\n")
    hub.add(Repository("datasets", "odd/zip", {"train.zip": packed.getvalue()}))
    assert user.load_set(tmp_path, "odd/zip").value["rows"] == {"train": 2}
    card = "---\ndataset_info:\n  splits:\n  - name: train\n    num_examples: 99\n    num_bytes: 5\n---\n"
    hub.add(Repository("datasets", "odd/stale", {"README.md": card.encode(), "train.csv": b"text,label\na,0\nb,1\n"}))
    told = user.load_set(tmp_path, "odd/stale")
    assert told.value["rows"] == {"train": 2}
    assert told.value["notes"]["train"] == [
        "the card says 99 rows for train, the files hold 2",
        "lines of train.csv: 3; of them rows: 2, blank: 0, headers and lines inside of quoted cells: 1",
    ]
    told = user.load_set(tmp_path, "glue")
    assert "sst2" in told.message  # the names to choose from
    assert told.remedy == "set data.dataset_config to one of the names above"


def test_several_threads_and_processes_may_want_the_same_things_at_once(hub, tmp_path):
    code = """
import sys, threading
from pathlib import Path
from finetune30.data.sources.hub import load_hub
from finetune30.hub.reach import hub_reachable
names = ["imdb", "stand-in/csv-files", "stand-in/json-lines", "stand-in/many-parquet-files"]
failures = []
def load(name):
    try:
        assert sum(t.frame.height for t in load_hub(name, None, None, lambda _: None).tables.values()) > 0
    except BaseException as error:
        failures.append(f"{name}: {error!r}")
threads = [threading.Thread(target=load, args=(name,)) for name in 2 * names]
[t.start() for t in threads]; [t.join() for t in threads]
from huggingface_hub import constants
assert not constants.HF_HUB_OFFLINE
print(*failures, sep="\\n", file=sys.stderr)
sys.exit(bool(failures))
"""
    children = [
        subprocess.Popen([sys.executable, "-c", code], env=hub.environment(tmp_path / "home"), stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    told = [child.communicate(timeout=200)[1].decode() for child in children]
    assert [child.returncode for child in children] == [0, 0], told


def test_a_cache_in_which_nothing_of_ours_can_be_written_serves_all_the_same(hub, user, tmp_path):
    first = user.load_set(tmp_path, "glue", "sst2")
    shutil.rmtree(tmp_path / "assets")
    (tmp_path / "assets").write_text("a file in the place of the folder: nothing can be written there")
    told = user.load_set(tmp_path, "glue", "sst2", first.value["commit"])
    assert told.value == first.value
    assert user.fetch_model(tmp_path, "distilbert-base-uncased").code == ""


def test_leaving_the_hub_alone_in_threads_ends_with_the_last_of_them():
    from huggingface_hub import constants

    from finetune30.hub.reach import hub_left_alone

    before, inside, leave = constants.HF_HUB_OFFLINE, threading.Barrier(3), [threading.Event(), threading.Event()]

    def stay(number):
        with hub_left_alone():
            inside.wait()
            leave[number].wait()

    threads = [threading.Thread(target=stay, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    inside.wait()
    for number, thread in enumerate(threads):
        assert constants.HF_HUB_OFFLINE is True
        leave[number].set()
        thread.join()
    assert constants.HF_HUB_OFFLINE is before


def test_counting_tokens_keeps_to_the_revision_of_the_configuration(hub, ft30, tmp_path, repository):
    first = hub.sha("models", MODEL)
    hub.commit("models", MODEL, {"config.json": hub.content("models", MODEL, "config.json") + b"\n"})
    config = ("--config", repository / "config" / "default.yaml")
    assert ft30("data", "analyze", *config).returncode == 0
    hub.forget_requests()
    (tmp_path / "pinned.yaml").write_text(
        (repository / "config" / "default.yaml").read_text().replace("revision: null ", f"revision: {first} ")
    )
    assert ft30("data", "analyze", "--config", "pinned.yaml").returncode == 0
    asked = {request.revision for request in hub.requests if request.kind == "models" and request.action == "resolve"}
    assert asked == {first}


def test_a_folder_that_is_named_like_a_model_of_the_hub_is_said_and_has_no_revision(ft30, tiny_model):
    done = ft30("train", "--model", tiny_model("distilbert"), "--model.revision", "main", "--dataset", "starter")
    assert done.returncode == 1
    assert "is a folder here, and model.revision belongs to the hub" in done.stderr
