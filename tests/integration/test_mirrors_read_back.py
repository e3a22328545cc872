"""What TensorBoard and MLflow themselves find of runs that were carried to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support import mlflow_peer, tensorboard_peer
from support.exactness import Lab
from support.fork_server import Ended, ForkServer
from support.patience import wait_until
from support.services import free_port

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finetune30" / "peers"
TENSORBOARD = _CACHE / "tensorboard/bin/python"
MLFLOW = _CACHE / "mlflow/bin/python"
_SERVER = "import sys; from mlflow.cli import cli; sys.argv[0] = 'mlflow'; cli()"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.peers,
    pytest.mark.skipif(not TENSORBOARD.is_file(), reason="TensorBoard is not installed (make install-peers)"),
    pytest.mark.skipif(not MLFLOW.is_file(), reason="MLflow is not installed (make install-peers)"),
]


class MLflowServer:
    """A real server on a database of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        store = f"sqlite:///{self._folder}/mlflow.db"
        options = ["--host", "127.0.0.1", "--port", str(self._port), "--backend-store-uri", store, "--workers", "1"]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [MLFLOW, "-c", _SERVER, "server", *options],
                cwd=self._folder,
                env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, 30, "an answer of MLflow's server")

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def read(self, experiment: str) -> list[dict[str, Any]]:
        """Return the runs of an experiment, as MLflow's own client reads them."""
        return _read_by(MLFLOW, mlflow_peer.__file__, self.address, experiment)

    def _answers(self) -> bool:
        try:
            return httpx2.get(f"{self.address}/health", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MLflowServer]:
    server = MLflowServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _read_by(python: Path, script: str, *arguments: str) -> Any:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ended = subprocess.run(
        [python, script, *arguments], capture_output=True, text=True, timeout=600, check=False, env=environment
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def lab(fork_server: ForkServer, tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A finished run."""
    lab = Lab(fork_server, tmp_path_factory.mktemp("mirrors") / "lab", tiny_model())
    assert lab.train("results").returncode == 0
    return lab


def run_of(lab: Lab) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what `ft30 runs show` tells of the run, and its steps and evaluations."""
    run = json.loads(lab.ft30("runs", "show", "latest", "--json").stdout)
    history = json.loads(lab.ft30("runs", "history", "latest", "--json").stdout)
    return run, [record for record in history if record["type"] in ("train", "eval")]


def series(history: list[dict[str, Any]], kind: str, name: str) -> list[tuple[int, float]]:
    return [(record["step"], record[name]) for record in history if record["type"] == kind]


def test_tensorboard_reads_every_point_once_also_after_a_kill(lab: Lab) -> None:
    killed = lab.ft30("mirror", "latest", "--to", "tensorboard", FT30_FAILPOINT="mirror.after_send:1")
    assert killed.returncode == -signal.SIGKILL
    assert lab.ft30("mirror", "latest", "--to", "tensorboard").returncode == 0
    run, history = run_of(lab)
    found = _read_by(TENSORBOARD, tensorboard_peer.__file__, str(lab.folder / "results" / "tensorboard"))
    read = found[run["run"]["folder"]]
    for tag, kind, name in (("train/loss", "train", "loss"), ("eval/loss", "eval", "eval_loss")):
        points = [(step, value) for step, _, value in read["scalars"][tag]]
        assert points == [(step, pytest.approx(value, rel=1e-6)) for step, value in series(history, kind, name)]
    ((_, _, accuracy),) = read["scalars"]["final/eval_accuracy"]
    assert accuracy == pytest.approx(run["run"]["metrics"]["eval_accuracy"], rel=1e-6)
    assert read["plugins"] == {"parameters": "text", "run": "text"}
    assert "| training.learning_rate | 0.01 |" in read["texts"]["parameters"][0]
    assert f"| manifest_sha256 | {run['run']['manifest_sha256']} |" in read["texts"]["run"][-1]


def test_a_real_mlflow_has_every_run_and_point_once_whatever_was_killed(lab: Lab, tmp_path: Path) -> None:
    run, history = run_of(lab)
    with mlflow_server(tmp_path) as server:

        def mirror(*arguments: str, **environment: str) -> Ended:
            given = {"FT30_MLFLOW_URL": server.address, "FT30_MIRROR_TIMEOUT_SECONDS": "120", **environment}
            return lab.ft30("mirror", "latest", "--to", "mlflow", *arguments, **given)

        for point in ("mirror.after_open:1", "mirror.after_send:1", "mirror.after_tell:1"):
            assert mirror(FT30_FAILPOINT=point).returncode == -signal.SIGKILL, point
        server.kill()
        away = mirror()
        assert away.returncode == 1
        assert "start it there, or set FT30_MLFLOW_URL to its address; what it missed is caught up" in away.stderr
        server.start()
        assert mirror().returncode == 0
        (found,) = server.read("finetune30")
        assert (found["name"], found["status"]) == (run["run"]["name"], "FINISHED")
        for kind, name in (("train", "loss"), ("eval", "eval_loss"), ("train", "learning_rate")):
            assert [(step, value) for step, _, value in found["metrics"][name]] == series(history, kind, name)
        assert found["params"]["training.learning_rate"] == "0.01"
        tags = found["tags"]
        assert tags["finetune30.run_id"] == run["run"]["id"]
        assert tags["finetune30.dataset_digest"] == run["run"]["dataset_digest"]
        assert "finetune30.environment.versions.torch" in tags
        assert Path(tags["finetune30.folder"]).name == run["run"]["folder"]

        lab.ft30("runs", "edit", "latest", "--note", "the good one", "--tag", "baseline")
        assert mirror().returncode == 0
        (edited,) = server.read("finetune30")
        assert edited["metrics"] == found["metrics"]
        assert (edited["tags"]["mlflow.note.content"], edited["tags"]["finetune30.tags"]) == (
            "the good one",
            "baseline",
        )

        assert mirror("--again").returncode == 0
        (anew,) = server.read("finetune30")
        assert anew["id"] != found["id"], "the one of before is among the deleted ones"
        assert anew["metrics"] == found["metrics"]
        delete = f"from mlflow.tracking import MlflowClient as C; C('{server.address}').delete_run('{anew['id']}')"
        subprocess.run([MLFLOW, "-c", delete], check=True, timeout=600, capture_output=True, cwd=tmp_path)
        lab.ft30("runs", "edit", "latest", "--note", "another word")
        gone = mirror()
        assert gone.returncode == 1
        assert "Try: carry the run anew: ft30 mirror RUN --to mlflow --again" in gone.stderr
        assert mirror("--again").returncode == 0
        assert len(server.read("finetune30")) == 1


def test_runs_of_a_set_are_nested_in_mlflow(lab: Lab, tmp_path: Path) -> None:
    made = lab.ft30("seeds", "config.yaml", "--seeds", "2", "--here", results="seeds")
    assert made.returncode == 0, made.stderr
    with mlflow_server(tmp_path) as server:
        given = {"FT30_MLFLOW_URL": server.address, "FT30_MIRROR_TIMEOUT_SECONDS": "120"}
        assert lab.ft30("mirror", "--all", "--to", "mlflow", results="seeds", **given).returncode == 0
        runs = server.read("finetune30")
    (parent,) = (run for run in runs if "finetune30.group_id" in run["tags"])
    assert parent["tags"]["finetune30.group_kind"] == "set"
    children = [run for run in runs if run is not parent]
    assert [child["tags"]["mlflow.parentRunId"] for child in children] == [parent["id"]] * 2
    assert len({child["params"]["training.seed"] for child in children}) == 2
