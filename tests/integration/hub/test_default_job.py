"""The default job where a network is at hand: `ft30 train` with config/default.yaml, word by word, against the hub."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from support.exactness import fingerprint
from support.fork_server import Ended
from support.stand_in_hub import StandInHub, faults

pytestmark = pytest.mark.integration

Ft30 = Callable[..., Ended]
MODEL, SET = "distilbert/distilbert-base-uncased", "nyu-mll/glue"


def newest(results: Path) -> Path:
    return max((path for path in results.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime_ns)


def sent(hub: StandInHub) -> list[str]:
    """Files whose content was asked for."""
    return sorted(r.file for r in hub.requests if r.method == "GET" and r.action in ("resolve", "cdn"))


def test_the_default_job_online_then_from_the_cache_then_again_by_its_record(ft30, hub, repository, tmp_path):
    default = ("train", "--config", repository / "config" / "default.yaml")
    first = ft30(*default)
    assert first.returncode == 0, first.stderr
    assert "starter" not in first.stderr + first.stdout
    run = newest(tmp_path / "results")
    model, rows = hub.sha("models", MODEL), hub.sha("datasets", SET)
    for line in (f"model: distilbert-base-uncased is {MODEL} at {model}", f"data: glue is {SET} at {rows}"):
        assert line in first.stderr
        assert line in (run / "logs.txt").read_text()
    text = (run / "config.yaml").read_text()
    assert f"model.name: {MODEL} at {model}" in text
    assert f"data.dataset_name: {SET} at {rows}" in text
    config = yaml.safe_load(text)
    assert (config["model"]["name"], config["model"]["revision"]) == ("distilbert-base-uncased", model)
    assert (config["data"]["dataset_name"], config["data"]["revision"]) == ("glue", rows)
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["base"]["id"], manifest["base"]["revision"]) == (MODEL, model)
    assert manifest["data"] == {"name": "glue", "id": SET, "commit": rows}
    card = (run / "artifacts" / "final_model" / "README.md").read_text()
    assert f"`{MODEL}` at `{model}`" in card
    assert f"`{SET}` at `{rows}`" in card

    # The hub moves on: what is repeated or asked stays with what it was.
    hub.commit("models", MODEL, {"config.json": hub.content("models", MODEL, "config.json") + b"\n"})
    hub.commit("datasets", SET, {"sst2/train-00000-of-00001.parquet": None})
    hub.forget_requests()
    replayed = ft30("replay", "latest")
    assert replayed.returncode == 0, replayed.stderr
    assert "identical" in replayed.stdout + replayed.stderr
    answered = ft30("predict", "latest", "the food was great")
    assert answered.returncode == 0, answered.stderr
    assert hub.requests == []

    hub.stop()
    second = ft30(*default)
    assert second.returncode == 0, second.stderr
    assert "starter" not in second.stderr
    assert fingerprint(newest(tmp_path / "results")) == fingerprint(run)


def test_a_killed_run_goes_on_with_the_commits_that_it_began_with(ft30, hub, repository, tmp_path):
    flags = ("--config", repository / "config" / "default.yaml", "--training.save_steps", "50")
    assert ft30("train", *flags).returncode == 0
    whole = newest(tmp_path / "results")
    killed = ft30("train", *flags, FT30_FAILPOINT="result.before_staging:1", FT30_RESULTS_FOLDER="killed")
    assert killed.returncode == -9
    hub.commit("models", MODEL, {"config.json": hub.content("models", MODEL, "config.json") + b"\n"})
    hub.commit("datasets", SET, {"sst2/train-00000-of-00001.parquet": None})
    resumed = ft30("resume", "latest", FT30_RESULTS_FOLDER="killed")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from step" in resumed.stderr
    assert fingerprint(newest(tmp_path / "killed")) == fingerprint(whole)


def test_words_about_the_default_data_ask_the_hub_for_the_data_and_the_tokenizer_only(ft30, hub):
    for words in (("analyze",), ("validate",), ("versions", "create")):
        done = ft30("data", *words)
        assert done.returncode == 0, done.stderr
        assert "starter" not in done.stdout + done.stderr
        assert f"data: glue is {SET} at" in done.stderr
    assert "model.safetensors" not in sent(hub)
    assert len(sent(hub)) == len(set(sent(hub)))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (faults.server_error(500), "the hub answers 500 for model 'distilbert-base-uncased'"),
        (faults.too_many_requests(280), "the hub answers 429: too many requests from here"),
        (faults.CaptivePage(), "is not the hub"),
        (faults.repository_missing(), "'distilbert-base-uncased' is neither a folder here nor a model on the hub"),
        (faults.unauthorized(), "the hub does not accept the token that is set"),
    ],
)
def test_a_hub_that_answers_with_a_fault_never_turns_into_the_starter(ft30, hub, repository, tmp_path, fault, words):
    hub.fail(fault)
    done = ft30("train", "--config", repository / "config" / "default.yaml")
    assert done.returncode == 1
    assert words in done.stderr
    assert "Try: " in done.stderr
    assert "using 'starter'" not in done.stderr
    assert "Traceback" not in done.stderr
    shown = json.loads(ft30("runs", "show", "latest", "--json").stdout)
    assert shown["run"]["status"] == "FAILED"
    analyzed = ft30("data", "analyze")
    assert analyzed.returncode == 1
    assert "instead of 'glue'" not in analyzed.stderr


def test_a_network_that_is_cut_in_the_middle_says_what_to_do_and_goes_on_later(ft30, hub, repository, tmp_path):
    hub.fail(faults.CutBody(after_bytes=0), file="model.safetensors")
    default = ("train", "--config", repository / "config" / "default.yaml")
    done = ft30(*default)
    assert done.returncode == 1
    assert "the download of model 'distilbert-base-uncased' broke off after" in done.stderr
    assert "using 'starter'" not in done.stderr
    hub.mend()
    hub.forget_requests()
    again = ft30("resume", "latest")
    assert again.returncode == 0, again.stderr
    assert "config.json" not in sent(hub)  # it had come before the cut
    assert "model.safetensors" in sent(hub)


def test_where_nobody_answers_and_nothing_is_cached_the_starter_stands_in_as_before(ft30, hub, repository):
    hub.stop()
    done = ft30("train", "--config", repository / "config" / "default.yaml", "--epochs", "1", "--train_samples", "32")
    assert done.returncode == 0, done.stderr
    why = f"WARNING: the hub cannot be reached at {hub.endpoint}"
    assert f"{why} and 'distilbert-base-uncased' is not cached: using 'starter'" in done.stderr


PLAIN_PEFT = """
import sys, json
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoTokenizer
model = AutoPeftModelForSequenceClassification.from_pretrained(sys.argv[1]).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
print(json.dumps(model(**tokenizer(["the food was great"], return_tensors="pt")).logits.tolist()[0]))
"""


def test_the_adapter_loads_by_name_and_commit_with_plain_peft_on_a_machine_without_us(ft30, hub, repository, tmp_path):
    flags = ("--training.precision", "fp32", "--learning_rate", "0.005", "--epochs", "2")
    done = ft30("train", "--config", repository / "config" / "default.yaml", *flags)
    assert done.returncode == 0, done.stderr
    trained_on = hub.sha("models", MODEL)
    other = hub.content("models", "google-bert/bert-base-uncased", "config.json")
    hub.commit("models", MODEL, {"config.json": other})  # the newest commit is another model altogether
    hub.forget_requests()
    model = newest(tmp_path / "results") / "artifacts" / "final_model"
    plain = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PLAIN_PEFT, str(model)],
        env=hub.environment(tmp_path / "another machine"), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert plain.returncode == 0, plain.stderr
    asked = [request for request in hub.requests if request.kind == "models" and request.repo == MODEL]
    assert {request.revision for request in asked if request.action == "resolve"} == {trained_on}
    answer = json.loads(ft30("predict", "latest", "the food was great", "--json").stdout)
    logits = json.loads(plain.stdout)
    assert (logits[1] > logits[0]) == (answer["labels"] == ["positive"])
