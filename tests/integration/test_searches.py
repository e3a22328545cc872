"""Searches on the real queue and at a terminal: killed anywhere, on any number of workers, the same trials."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune30.config import ExperimentConfig
from finetune30.config.search_loading import validate_search
from finetune30.errors import ConflictError, DataError
from finetune30.jobs.publishing import QueuePublisher
from finetune30.service.runs.open_records import Records
from finetune30.service.searches.advancing import advance
from finetune30.service.searches.changing import begin_search, delete_search, resume_search, stop_search, write_search
from finetune30.service.searches.ending import SUPERSEDED
from finetune30.service.searches.keeper import SearchKeeper
from finetune30.service.searches.plans import SearchPlan
from finetune30.service.searches.repeats import runs_of_end
from finetune30.service.searches.space import Space
from finetune30.service.searches.standing import load_standing
from finetune30.service.searches.suggesting import Past, suggest
from finetune30.service.searches.summary import describe_search
from finetune30.service.searches.verifying import verify_search
from finetune30.settings import load_settings
from finetune30.store import RunStatus, open_store
from finetune30.store.run_sets import list_sets
from finetune30.store.search_ends import SearchEnd, list_ends, list_tests, load_end
from finetune30.store.searches import (
    Search,
    SearchStatus,
    TrialState,
    finish_trial,
    list_searches,
    list_trials,
    load_search,
)
from support.drill import drill_variables, score_of
from support.fork_server import ForkServer
from support.kinds import SINGLE_LABEL, KindsLab
from support.patience import wait_until
from support.services import Services, running_services

pytestmark = pytest.mark.integration

PARAMETERS = {
    "training.learning_rate": {"low": 1e-5, "high": 2e-3, "scale": "log"},
    "lora.r": {"values": [4, 8, 16, 32]},
    "lora.lora_alpha": {"times": "lora.r", "values": [1, 2]},
}
CONFIG = ExperimentConfig.model_validate({"experiment_name": "sought", "training": {"max_steps": 1}})


DRILLED: dict[str, Any] = drill_variables(0.01, scored=True)


def plan(**search: Any) -> SearchPlan:
    spec = validate_search({"seed": 7, "window": 3, "parameters": PARAMETERS, "confirm": {"seeds": 0}, **search})
    return SearchPlan(CONFIG, frozenset(), "0" * 64, spec, "eval_accuracy", greater_is_better=True)


def begin(services: Services, wanted: SearchPlan) -> Search:
    search = write_search(services.store, wanted, kind="queued")
    begin_search(services.store, search, services.settings, services.publisher)
    return search


def expect(wanted: SearchPlan) -> list[tuple[dict[str, Any], str, float | None]]:
    """Return values, state and value of every trial, computed without any queue, one after the other."""
    space, spec = Space(wanted.config, wanted.search), wanted.search
    past: list[Past] = []
    found: list[tuple[dict[str, Any], str, float | None]] = []
    for number in range(spec.trials or 0):
        if number == 0:
            labels, values = space.labels_of_base(), dict[str, Any]()
        else:
            suggested = suggest(space, spec, number, past, greater_is_better=True)
            assert suggested is not None
            labels, values = suggested.labels, space.settle(suggested.labels)
        identity = space.identify(values)
        try:
            value = score_of(space.apply(values, number))
        except DataError:
            past.append(Past(number, labels, identity, "failed"))
            found.append((values, "FAILED", None))
        else:
            past.append(Past(number, labels, identity, "done", value))
            found.append((values, "DONE", value))
    return found


def found_in(services: Services, search: Search) -> list[tuple[dict[str, Any], str, float | None]]:
    return [(one.parameters, str(one.state), one.value) for one in list_trials(services.store, search.id)]


def status_of(services: Services, search: Search) -> SearchStatus:
    return load_standing(services.store, search.id).search.status


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with running_services(tmp_path) as started:
        yield started


def test_trials_are_the_same_however_often_workers_and_reconcilers_are_killed(services: Services) -> None:
    wanted = plan(sampler="tpe", trials=13, limits={"failed_in_a_row": 13})
    search = begin(services, wanted)
    assert [len(list_trials(services.store, search.id)), len(services.store.queue())] == [3, 3], "a window of trials"
    for point in ("search.before_result:2", "search.after_trial:1", "search.after_run:1", "search.before_trial:2"):
        worker = services.start_worker(drill=None, **DRILLED, FT30_FAILPOINT=point)
        assert worker.wait(120) == -9, point
        services.workers.clear()
    for name in ("one", "two"):
        services.start_worker(name, drill=None, **DRILLED)
    wait_until(lambda: len(list_trials(services.store, search.id)) >= 9, 120, "trials go on")
    services.kill_worker("one")  # in the midst of a trial, or between two
    wait_until(lambda: status_of(services, search) is SearchStatus.SUCCEEDED, 120, "the search ends")
    assert found_in(services, search) == expect(wanted)
    standing = load_standing(services.store, search.id, all_runs=True)
    assert len({run.id for run in standing.runs.values()}) == 13
    assert "optuna" in standing.trials[12].versions
    assert verify_search(standing) == {"checked": 13, "differ": [], "not_checked": []}


def test_a_search_is_stopped_resumed_for_more_trials_and_deleted_whole(services: Services) -> None:
    search = begin(services, plan(trials=2))
    stop_search(services.store, search, now=True)
    assert {run.status for run in load_standing(services.store, search.id).runs.values()} == {RunStatus.CANCELLED}
    services.start_worker(drill=None, **DRILLED)
    services.wait_for_worker()
    with pytest.raises(ConflictError, match="is STOPPED, and suggests nothing more"):
        stop_search(services.store, search)
    assert [one.state for one in list_trials(services.store, search.id)] == [TrialState.OPEN] * 2
    resume_search(services.store, search, trials=4)
    wait_until(lambda: status_of(services, search) is SearchStatus.SUCCEEDED, 120, "the search ends")
    assert found_in(services, search) == expect(plan(trials=4, limits={"failed_in_a_row": 9}))
    with pytest.raises(ConflictError, match="has made all its trials"):
        resume_search(services.store, search)
    run = next(iter(load_standing(services.store, search.id, all_runs=True).runs.values()))
    results = services.settings.results_folder
    with pytest.raises(ConflictError, match=r"is a trial of search .* and cannot be deleted alone"):
        services.store.delete(run.id, results)
    assert delete_search(Records(services.store, results), search) == []
    assert (services.store.stats().total, list_searches(services.store)) == (0, [])


def test_three_failures_in_a_row_end_it_and_what_waits_is_not_trained(services: Services) -> None:
    ranks = {"lora.r": {"values": [32]}, "training.learning_rate": PARAMETERS["training.learning_rate"]}
    search = begin(services, plan(trials=20, window=5, parameters=ranks))
    services.start_worker(drill=None, **DRILLED)
    wait_until(lambda: status_of(services, search) is SearchStatus.FAILED, 120, "the search ends")
    standing = load_standing(services.store, search.id, all_runs=True)
    assert standing.search.reason.startswith("trials 1, 2, 3 failed one after the other: drill.csv:1:1: rank 32 fails")
    assert len(standing.trials) <= 9
    wait_until(lambda: not services.store.stats().by_status.get("QUEUED"), 30, "nothing waits")


def end_of(services: Services, search: Search) -> SearchEnd:
    end = load_end(services.store, search.id)
    assert end is not None
    return end


def test_the_best_and_the_default_are_repeated_and_judged_however_often_workers_are_killed(services: Services) -> None:
    rates = {"training.learning_rate": {"values": [3e-4, 1e-4]}}
    wanted = plan(trials=3, sampler="grid", parameters=rates, confirm={"seeds": 2})
    search = begin(services, wanted)
    for point in ("search.after_end:1", "search.before_verdict:1", "search.after_verdict:1"):
        worker = services.start_worker(drill=None, **DRILLED, FT30_FAILPOINT=point)
        assert worker.wait(120) == -9, point
        services.workers.clear()
    services.start_worker(drill=None, **DRILLED)
    wait_until(lambda: end_of(services, search).left_unopened is not None, 120, "it is judged, and has no test rows")
    end = end_of(services, search)
    runs = runs_of_end(services.store, end)
    assert sorted((run.name, run.config["training"]["seed"]) for run in runs) == [
        ("sought-trial0-seed43", 43),
        ("sought-trial0-seed44", 44),
        ("sought-trial1-seed43", 43),
        ("sought-trial1-seed44", 44),
    ]
    assert {run.priority for run in runs} == {-10}
    verdict = end.verdict or {}
    assert (end.tried, end.best, verdict["verdict"], verdict["best"]) == (3, 1, "better", 1)
    assert verdict["message"].startswith("better than the default (trial 1: +")
    assert verdict["near"]["compared"] == 3
    with pytest.raises(ConflictError, match="has made all its trials"):
        resume_search(services.store, search)
    shown = describe_search(services.store, search)["end"]
    assert (shown["runs"], shown["verdict"], shown["tests"]) == ({"SUCCEEDED": 4}, verdict, [])
    results = services.settings.results_folder
    assert delete_search(Records(services.store, results), search) == []
    assert (services.store.stats().total, list_sets(services.store), load_end(services.store, search.id)) == (
        0,
        [],
        None,
    )


def test_an_end_is_stopped_and_goes_on_and_more_trials_come_after_it(services: Services) -> None:
    rates = {"training.learning_rate": {"values": [3e-4, 1e-4, 2e-4]}}
    search = begin(services, plan(trials=2, sampler="grid", parameters=rates, confirm={"seeds": 2}))
    for number, one in enumerate(list_trials(services.store, search.id)):
        finish_trial(services.store, one, TrialState.DONE, number / 2)
    for _ in range(2):  # it is over, then its repeats are handed in
        advance(services.store, search.id, services.settings, services.publisher)
    with pytest.raises(ConflictError, match="cannot be deleted"):
        delete_search(Records(services.store, services.settings.results_folder), search)
    stop_search(services.store, search, now=True)
    assert {run.status for run in runs_of_end(services.store, end_of(services, search))} == {RunStatus.CANCELLED}
    advance(services.store, search.id, services.settings, services.publisher)
    resume_search(services.store, search)
    resume_search(services.store, search, trials=4)
    services.start_worker(drill=None, **DRILLED)
    wait_until(lambda: end_of(services, search).tried == 4, 120, "another end")
    wait_until(lambda: end_of(services, search).judged_at is not None, 120, "it is judged")
    said = [one.verdict or {} for one in list_ends(services.store, search.id)]
    assert (said[0], said[1]["rows"]) == (SUPERSEDED, 80)


@pytest.fixture(scope="module")
def lab(fork_server: ForkServer, tiny_model: Any, tmp_path_factory: pytest.TempPathFactory) -> KindsLab:
    """Rows and a base model, no runs."""
    return KindsLab(fork_server, tmp_path_factory.mktemp("searches"), tiny_model())


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
    store.close()
    before = lab.ft30("search", "show", "end").stdout
    assert "evaluation rows: " in before
    lab.ft30("search", "test", "end", "--once")
    assert lab.ft30("search", "show", "end").stdout == before, "it was opened"
    again = lab.server.run("search", "test", "end", cwd=lab.folder, FT30_FAILPOINT="search.after_test_row:1")
    assert again.returncode == -9
    assert "test rows, look 2: no result" in lab.ft30("search", "show", "end").stdout
    shown = json.loads(lab.ft30("search", "show", "end", "--json").stdout)["end"]
    assert [test["count"] for test in shown["tests"]] == [1, 2]
    found = shown["tests"][0]["result"]
    assert (found["verdict"] in ("better", "not_enough"), found["seeds"], found["best"]) == (True, 2, 1)
    assert 0 < found["rows"] < 30
    run = lab.ft30("test", "end-trial1-seed43", "--show").stdout
    assert "looked at once" in run
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
