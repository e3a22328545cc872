"""What is said about names of the hub is done to the letter, against the stand-in hub, and is right."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from finetune30.store import RunStatus
from support.fork_server import Ended
from support.hub_user import HubUser
from support.services import Services
from support.stand_in_hub import StandInHub

pytestmark = pytest.mark.integration

Ft30 = Callable[..., Ended]
MODEL = "distilbert-base-uncased"


def test_a_configuration_of_a_set_is_one_of_those_that_the_message_lists(at_hub: Any, tmp_path: Path) -> None:
    _, user = at_hub
    for asked in ("sst3", None):
        refused = user.load_set(tmp_path, "glue", asked)
        assert refused.remedy == "set data.dataset_config to one of the names above"
        assert "'sst2'" in refused.message
        told = user.load_set(tmp_path, "glue", "sst2")
        assert told.value["names"] == {"label": ["negative", "positive"]}


@pytest.fixture
def here(hub: StandInHub, tmp_path: Path) -> Iterator[HubUser]:
    """Somebody who stands in tmp_path."""
    user = HubUser(hub.environment(tmp_path / "home"))
    yield user
    user.close()


def test_a_folder_that_has_the_name_of_a_model_is_renamed_or_meant(
    hub: StandInHub, here: HubUser, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_model("bert"), tmp_path / MODEL)
    refused = here.fetch_model(tmp_path, MODEL, "main")
    assert refused.remedy == "leave model.revision out, or rename the folder to mean the hub's model"
    assert here.fetch_model(tmp_path, MODEL).value["id"] == str(folder)
    folder.rename(tmp_path / "mine")
    assert here.fetch_model(tmp_path, MODEL, "main").value["commit"] == hub.sha("models", f"distilbert/{MODEL}")


def test_a_model_out_of_reach_is_fetched_once_is_a_folder_or_the_starter(
    hub: StandInHub, ft30: Ft30, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "".join(f"the film was good {n},{n % 2}\n" for n in range(40)))
    job = ("train", "--dataset", rows, "--training.max_steps", "1", "--data.max_length", "64")
    offline = {"HF_HUB_OFFLINE": "1"}
    refused = ft30(*job, "--model", MODEL, **offline)
    assert refused.stderr.rstrip().endswith(
        "Try: go online once, name a local folder, or use the starter: --preset starter"
    )
    local = ("--model", tiny_model("distilbert"))
    assert ft30(*job, *local, **offline).returncode == 0
    assert ft30(*job, "--preset", "starter", **offline).returncode == 0
    assert ft30(*job, "--model", MODEL).returncode == 0  # online, once
    hub.forget_requests()
    again = ft30(*job, "--model", MODEL, **offline)
    assert (again.returncode, hub.requests) == (0, []), again.stderr
    config = yaml.safe_load((newest(tmp_path) / "config.yaml").read_text())
    assert (config["model"]["name"], config["model"]["revision"]) == (MODEL, hub.sha("models", f"distilbert/{MODEL}"))


def newest(folder: Path) -> Path:
    runs = [path for path in (folder / "results").iterdir() if path.is_dir()]
    return max(runs, key=lambda path: path.stat().st_mtime_ns)


def test_chinese_is_trained_on_with_the_base_that_is_proposed(ft30: Ft30, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    opening = ("今天的天气很好看", "那本小人不好看", "我天天去那个地方", "他的人不太好")
    rows.write_text("text,label\n" + "".join(f"{opening[n % 4]}{n},{n % 2}\n" for n in range(60)), encoding="utf-8")
    job = ("train", "--dataset", rows, "--training.max_steps", "1", "--training.device", "cpu")
    refused = ft30(*job, "--preset", "starter")
    assert refused.returncode == 1
    proposed = re.search(r"set model\.name to a base that reads Han text, for example ([\w/-]+)", refused.stderr)
    assert proposed is not None, refused.stderr
    done = ft30(*job, "--set", f"model.name={proposed[1]}")
    assert done.returncode == 0, done.stderr
    assert f"for example {proposed[1]}" not in done.stderr
    assert yaml.safe_load((newest(tmp_path) / "config.yaml").read_text())["model"]["name"] == proposed[1]


@pytest.mark.parametrize("way", ["train", "raise"])
def test_a_set_that_is_too_large_for_a_look_is_trained_on_or_the_limit_is_raised(
    hub: StandInHub, tmp_path: Path, way: str
) -> None:
    small = {"data": {"max_length": 32}, "training": {"max_steps": 1}}
    body = {"dataset": "imdb", "model": MODEL, "config": small}
    variables: dict[str, Any] = dict(hub.variables(tmp_path / "home"))
    services = Services(tmp_path, max_fetch_bytes=5_000)

    def post(path: str, asked: dict[str, Any]) -> httpx.Response:
        return httpx.post(f"{services.api_address}{path}", json=asked, timeout=600)

    try:
        services.start_redis()
        services.start_api(**variables)
        services.wait_for_api()
        refused = post("/datasets/preview", {"dataset": "imdb"})
        assert refused.json()["remedy"] == (
            "train on it without a look before (its worker fetches it), or raise FT30_MAX_FETCH_BYTES"
        )
        if way == "train":
            task = post("/train", body).json()["task_id"]
            services.start_worker(drill=None, **variables)
            run = services.wait_for(task, RunStatus.SUCCEEDED, RunStatus.FAILED, seconds=120)
            assert (run.status, run.dataset_name) == (RunStatus.SUCCEEDED, "imdb"), run.error
            return
        services.kill_api()
        services.start_api(**{**variables, "FT30_MAX_FETCH_BYTES": "50000000"})
        services.wait_for_api()
        assert post("/datasets/preview", {"dataset": "imdb"}).json()["label_names"] == ["neg", "pos"]
    finally:
        services.close()
