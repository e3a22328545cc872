"""Searches at a terminal (`--here`): gone on with after a kill, their ends, their limits, what is said of them."""

from __future__ import annotations

import json
import math
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from finetune30.api.application import build_app
from finetune30.jobs.publishing import QueuePublisher
from finetune30.service.searches.keeper import SearchKeeper
from finetune30.settings import load_settings
from finetune30.store import open_store
from finetune30.store.search_ends import hold_test, list_tests, load_end
from finetune30.store.searches import (
    load_search,
)
from support.fork_server import ForkServer
from support.kinds import SINGLE_LABEL, KindsLab
from support.patience import wait_until

pytestmark = pytest.mark.integration

HERE = ("127.0.0.1", 5000)


@pytest.fixture(scope="module")
def lab(fork_server: ForkServer, tiny_model: Any, tmp_path_factory: pytest.TempPathFactory) -> KindsLab:
    """Rows and a base model, no runs."""
    return KindsLab.make(fork_server, tmp_path_factory.mktemp("searches"), tiny_model())


def write_search_file(lab: KindsLab, name: str, **search: Any) -> str:
    tree = {
        "experiment_name": name,
        "model": {"name": "base", "dropout": 0.0, "num_labels": 3},
        "lora": {"target_modules": "auto", "r": 4, "lora_dropout": 0.0},
        "data": {
            "dataset_name": f"{SINGLE_LABEL.name}-train.csv",
            "eval_file": f"{SINGLE_LABEL.name}-eval.csv",
            "max_length": 24,
            "split_seed": 3,
        },
        "training": {"device": "cpu", "precision": "fp32", "max_steps": 4, "save_steps": 1, "learning_rate": 0.01},
        "search": {
            **{"seed": 1, "trials": 3, "window": 2, "parameters": {"lora.r": {"values": [2, 4, 8]}}},
            **{"confirm": {"seeds": 0}, **search},
        },
    }
    (lab.folder / f"{name}.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return f"{name}.yaml"


def test_a_search_at_a_terminal_goes_on_after_a_kill_and_trains_what_train_would(lab: KindsLab) -> None:
    command = ("search", "start", write_search_file(lab, "here"), "--here")
    ended = lab.server.run(*command, cwd=lab.folder, FT30_FAILPOINT="training.after_step:6")
    assert ended.returncode == -9, "in the second trial"
    again = lab.ft30("search", "resume", "here", "--here")
    assert "resuming from step" in again.stderr + again.stdout
    lab.ft30(*command)  # nothing is left to do
    shown = json.loads(lab.ft30("search", "show", "here", "--json").stdout)
    assert (shown["status"], shown["counts"]) == ("SUCCEEDED", {"DONE": 3})
    assert sorted(trial["parameters"].get("lora.r", 4) for trial in shown["trials"]) == [2, 4, 8]
    assert math.isfinite(shown["best"]["value"])
    assert "3 of 3 suggestions made again are the same" in lab.ft30("search", "verify", "here").stdout
    tree = yaml.safe_load((lab.folder / "here.yaml").read_text(encoding="utf-8"))
    del tree["search"]
    tree |= {"experiment_name": "plain", "lora": tree["lora"] | {"r": shown["trials"][1]["parameters"]["lora.r"]}}
    (lab.folder / "plain.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    lab.ft30("train", "--config", "plain.yaml")
    digests = [
        json.loads((lab.run_folder(name) / "manifest.json").read_text(encoding="utf-8"))["digests"]
        for name in ("here-trial1", "plain")
    ]
    assert digests[0] == digests[1]


def test_the_end_of_a_search_is_judged_on_the_rows_and_once_on_test_rows(
    lab: KindsLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_search_file(lab, "end", trials=2, sampler="grid", confirm={"seeds": 2})
    tree = yaml.safe_load((lab.folder / file).read_text(encoding="utf-8"))
    tree["data"] |= {"test_fraction": 0.3}
    tree["training"] |= {"max_steps": 40, "save_steps": 40, "learning_rate": 1e-5}  # trial 0 learns nothing
    tree["search"]["parameters"] = {"training.learning_rate": {"values": [0.02]}}
    (lab.folder / file).write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    ended = lab.server.run("search", "start", file, "--here", cwd=lab.folder, FT30_FAILPOINT="search.before_verdict:1")
    assert ended.returncode == -9
    ended = lab.server.run("search", "start", file, "--here", cwd=lab.folder, FT30_FAILPOINT="search.after_verdict:1")
    assert ended.returncode == -9
    assert "test rows: not opened yet" in lab.ft30("search", "show", "end").stdout
    monkeypatch.chdir(lab.folder)  # where a worker stands
    settings = load_settings()
    store = open_store(settings.resolved_database_url)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("update searches set kind = 'queued' where name = 'end'")
    search, keeper = load_search(store, "end"), SearchKeeper(store, settings)
    with QueuePublisher(settings) as publisher:  # nothing is left to hand in
        keeper.look(publisher)
    end = load_end(store, search.id)
    assert end is not None
    assert end.judged_at is not None
    wait_until(lambda: any(test.ended_at for test in list_tests(store, search.id)), 120, "it has looked")
    keeper.close()
    before = lab.ft30("search", "show", "end").stdout
    assert "evaluation rows: " in before
    lab.ft30("search", "test", "end", "--once")
    assert lab.ft30("search", "show", "end").stdout == before, "it was opened"
    again = lab.server.run("search", "test", "end", cwd=lab.folder, FT30_FAILPOINT="search.after_test_row:1")
    assert again.returncode == -9
    dead = list_tests(store, search.id)[1]
    hold_test(store, dead, 3600)  # as if it went on
    refused = lab.server.run("search", "test", "end", cwd=lab.folder)
    assert (refused.returncode, "somebody looks at the test rows of search" in refused.stderr) == (1, True)
    (command,) = re.findall(r"see it with: ft30 (search show \w+)", refused.stderr)
    assert "test rows, look 2: goes on" in lab.ft30(*command.split()).stdout
    hold_test(store, dead, 0)
    store.close()
    assert "test rows, look 2: no result" in lab.ft30("search", "show", "end").stdout
    shown = json.loads(lab.ft30("search", "show", "end", "--json").stdout)["end"]
    assert [test["count"] for test in shown["tests"]] == [1, 2]
    found = shown["tests"][0]["result"]
    assert (found["verdict"] in ("better", "not_enough"), found["seeds"], found["best"]) == (True, 2, 1)
    assert 0 < found["rows"] < 30
    run = lab.ft30("test", "end-trial1-seed43", "--show").stdout
    assert "looked at once" in run
    with ExitStack() as opened:
        apps = [build_app(settings, publisher=QueuePublisher(settings)) for _ in range(2)]
        apis = [opened.enter_context(TestClient(app, base_url="http://localhost:8000", client=HERE)) for app in apps]
        assert [api.post(f"/searches/{search.id}/test").status_code for api in apis] == [202, 202]
        is_idle = [app.state.search_looks.is_idle for app in apps]
        wait_until(lambda: all(idle() for idle in is_idle), 120, "both have looked, or found that it is done")
        last = apis[0].get(f"/searches/{search.id}").json()["end"]["tests"][-1]
    assert (last["count"], last["result"]["look"], last["error"]) == (3, 3, None)
    assert shown["verdict"]["luck"]["metric"] == "eval_accuracy"


def test_where_the_default_is_best_it_is_kept_without_repeats(lab: KindsLab) -> None:
    file = write_search_file(lab, "kept", trials=1, confirm={"seeds": 2})
    told = lab.ft30("search", "start", file, "--here").stdout
    assert "no trial is better than trial 0: keep the default" in told
    refused = lab.server.run("search", "test", "kept", cwd=lab.folder)
    assert (refused.returncode, "has no repeats to test" in refused.stderr) == (1, True)


def test_a_trial_that_another_process_has_is_left_to_it(lab: KindsLab) -> None:
    command = ("search", "start", write_search_file(lab, "two terminals", trials=1), "--here")
    assert lab.server.run(*command, cwd=lab.folder, FT30_FAILPOINT="search.after_run:1").returncode == -9
    store = open_store(f"sqlite:///{lab.folder / 'results' / 'experiments.db'}")
    store.reconcile()
    claim = store.claim(store.retry(store.get("two terminals-trial0").id, kind="local").id, lease_seconds=60)
    assert claim is not None
    refused = lab.server.run(*command, cwd=lab.folder)
    assert (refused.returncode, "trial 0 is carried out elsewhere" in refused.stderr) == (1, True)
    store.cancelled(claim)
    store.close()
    (resume,) = re.findall(r"go on with: ft30 (.*)", lab.ft30("search", "stop", "two terminals").stdout)
    assert "1 of 1 trials" in lab.ft30(*resume.split()).stdout


def test_only_the_best_model_is_kept_and_what_the_disk_may_take_ends_it(lab: KindsLab) -> None:
    file = write_search_file(lab, "best", keep="best", limits={"disk_gb": 1e-6})
    assert "of 1e-06 GB were taken after 2 trials" in lab.ft30("search", "start", file, "--here").stdout
    lab.ft30("search", "resume", "best", "--disk-gb", "10", "--here")
    shown = json.loads(lab.ft30("search", "show", "best", "--json").stdout)
    assert (shown["status"], shown["reason"]) == ("SUCCEEDED", "")
    removed = [trial for trial in shown["trials"] if trial["model_removed"]]
    assert [trial["number"] for trial in removed] == [n for n in range(3) if n != shown["best"]["number"]]
    lab.ft30("predict", shown["best"]["run_id"], "the film was great great slow")
    gone = removed[-1]["run_id"]
    assert "files" in lab.ft30("runs", "verify", gone).stdout
    assert "final_model" not in lab.ft30("runs", "show", gone).stdout
    for command in (("predict", gone, "it is the room"), ("models", "register", gone, "none"), ("export", gone)):
        refused = lab.server.run(*command, cwd=lab.folder)
        assert (refused.returncode, "its model was removed, since trial" in refused.stderr) == (1, True)
    (told,) = re.findall(r"make it again with: ft30 (replay \w+)", refused.stderr)
    assert "identical (weights, optimizer" in lab.ft30(*told.split()).stdout
    name = f"best-trial{removed[-1]['number']}"
    published = [
        json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
        for folder in sorted((lab.folder / "results").glob(f"{name}*"))
    ]
    adapter = "artifacts/final_model/adapter_model.safetensors"
    assert [files[adapter] for files in published] == [published[0][adapter]] * 2


def test_hours_end_it_and_more_hours_go_on(lab: KindsLab) -> None:
    file = write_search_file(lab, "hours", trials=None, limits={"hours": 1e-9})
    assert "of 1e-09 hours were used after" in lab.ft30("search", "start", file, "--here").stdout
    ended = lab.ft30("search", "resume", "hours", "--hours", "1", "--here").stdout
    assert "no configuration was found that has not been tried" in ended
    assert json.loads(lab.ft30("search", "show", "hours", "--json").stdout)["counts"] == {"DONE": 3}


def test_configurations_that_come_again_share_a_run(lab: KindsLab) -> None:
    file = write_search_file(lab, "small", trials=4, parameters={"lora.r": {"values": [4]}})
    command = ("search", "start", file, "--training.max_steps", "1")
    lab.ft30(*command, "--here")
    refused = lab.server.run(*command, cwd=lab.folder)
    assert (refused.returncode, "add --here" in refused.stderr) == (1, True)
    lab.ft30(*command, "--here")
    trials = json.loads(lab.ft30("search", "show", "small", "--json").stdout)["trials"]
    assert [trial["reused_from"] for trial in trials] == [None, 0, 0, 0]
    assert len({(trial["run_id"], trial["value"]) for trial in trials}) == 1


def test_a_tampered_record_does_not_verify(lab: KindsLab) -> None:
    file = write_search_file(lab, "tampered", trials=2)
    home = {"FT30_RESULTS_FOLDER": str(lab.folder / "tampered"), "FT30_REDIS_URL": "redis://127.0.0.1:1/0"}
    assert lab.server.run("search", "start", file, cwd=lab.folder, **home).returncode == 0
    store = open_store(f"sqlite:///{lab.folder / 'tampered' / 'experiments.db'}")
    with store.engine.begin() as connection:
        connection.exec_driver_sql("update search_trials set parameters = '{\"lora.r\": 3}' where number = 1")
    store.close()
    ended = lab.server.run("search", "verify", "tampered", cwd=lab.folder, **home)
    assert (ended.returncode, "trial 1 differs" in ended.stdout) == (1, True)


def test_what_is_said_about_searches_is_done_to_the_letter(lab: KindsLab, tmp_path: Path) -> None:
    home = {"FT30_RESULTS_FOLDER": str(tmp_path / "results"), "FT30_REDIS_URL": "redis://127.0.0.1:1/0"}

    def ft30(*arguments: str, code: int = 0) -> str:
        ended = lab.server.run(*arguments, cwd=lab.folder, **home)
        assert ended.returncode == code, ended.stderr
        return ended.stderr + ended.stdout

    file = write_search_file(lab, "letter")
    assert "a search is made with: ft30 search start FILE" in ft30("train", "--config", file, code=2)
    dry = ft30("search", "start", file, "--dry-run")
    assert "3 trials by random, 2 open at a time at most" in dry
    assert "the configuration as it is" in dry
    assert "No searches yet. Make one with: ft30 search start FILE" in ft30("search", "list")
    assert "list them with: ft30 search list" in ft30("search", "show", "nowhere", code=1)
    (search_id,) = re.findall(r"follow it: ft30 search show (\w+)", ft30("search", "start", file))
    assert "QUEUED" in ft30("search", "show", search_id)
    assert search_id in ft30("search", "list")
    assert "leave --here out" in ft30("search", "start", file, "--here", code=1)
    assert "leave --config and --preset out" in ft30("search", "start", file, "--preset", "starter", code=2)
    assert not re.findall(r"--(?:config|preset)\b", ft30("search", "start", "--help"))
    going = ft30("search", "resume", search_id, code=1)
    assert f"see it with: ft30 search show {search_id}" in going
    run_id = json.loads(ft30("search", "show", search_id, "--json"))["trials"][0]["run_id"]
    alone = ft30("runs", "delete", run_id, "--yes", code=1)
    assert f"delete the whole search: ft30 search delete {search_id}" in alone
    refused = ft30("search", "delete", search_id, "--yes", code=1)
    (told,) = re.findall(r"stop it first: ft30 (search stop \w+ --now)", refused)
    (resume,) = re.findall(r"go on with: ft30 (search resume \w+)$", ft30(*told.split()).strip())
    assert "RUNNING" in ft30(*resume.split())
    ft30(*told.split())
    assert "add --yes" in ft30("search", "delete", search_id, code=2)
    assert f"deleted search {search_id}" in ft30("search", "delete", search_id, "--yes")
    assert "No searches yet" in ft30("search", "list")
    none = write_search_file(lab, "none", parameters={"lora.rr": {"values": [1]}})
    assert "did you mean lora.r" in ft30("search", "start", none, code=2)
