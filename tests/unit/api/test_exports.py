"""Exports over HTTP: what is refused, how one is followed to its end, what is taken away.

The process that makes one is a script; a real one makes them in `tests/integration/test_exports_over_http.py`.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import finetune30
from finetune30.modeling.exporting import needs
from finetune30.store.access import Role, create_key
from support.patience import wait_until

#: Called like the interpreter: `-m finetune30 answer RUN`. Makes what is asked for once no file "hold" is there.
MAKER = """#!{python}
import json, os, pathlib, sys, time
from finetune30.errors import SelfTestError
from finetune30.service.exports.asked import tell_now
from finetune30.service.exports.staging import staged
for line in sys.stdin:
    asked = json.loads(line)["export"]
    record = pathlib.Path(asked["record"])
    with staged(record.parents[1] / record.stem, overwrite=asked["overwrite"]) as folder:
        while pathlib.Path("hold").exists():
            time.sleep(0.05)
        if pathlib.Path("die").exists():
            os._exit(9)
        measured = {{"logits": {{"largest": 2.0, "mean": float("nan")}}, "flips": 3, "allowed_gap": 0.001}}
        (folder / "deeper").mkdir()
        (folder / "deeper" / "weights.txt").write_text(pathlib.Path("weights").read_text())
        receipt = {{"run_id": sys.argv[4], "made_at": tell_now(), "measured": measured}}
        (folder / "receipt.json").write_text(json.dumps(receipt))
        shape = SelfTestError("it is another", "", details={{"measured": measured}}).as_dict()
        if pathlib.Path("refuse").exists():
            print(json.dumps(shape), flush=True)
            time.sleep(600)
    print("{{}}", flush=True)
"""
LABELS = {
    "problem_type": "single_label_classification",
    "label_names": ["bad", "good"],
    "targets": {"label_names": ["bad", "good"]},
    "max_length": 24,
}
ADAPTER = {"base_model_name_or_path": "some/base", "revision": "c" * 40}


@pytest.fixture
def run_id(submit: Callable[..., str], finish: Callable[..., None], tmp_path: Path, monkeypatch: Any) -> str:
    """The id of a run with a classifier; what makes its exports is the script, as long as nothing says otherwise."""
    script = tmp_path / "maker"
    script.write_text(MAKER.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setenv("PYTHONPATH", str(Path(finetune30.__file__).parents[1]))
    Path("weights").write_text("first")
    model = "artifacts/final_model"
    files = {f"{model}/labels.json": json.dumps(LABELS), f"{model}/adapter_config.json": json.dumps(ADAPTER)}
    run_id = submit()
    finish(run_id, {name: text.encode() for name, text in files.items()})
    return run_id


def ask(api: TestClient, run_id: str, form: str = "merged", **options: Any) -> Any:
    return api.post(f"/experiments/{run_id}/exports", json={"as": form, **options})


def state_of(api: TestClient, run_id: str, name: str = "merged") -> Any:
    return api.get(f"/experiments/{run_id}/exports/{name}").json()["state"]


def wait_for(api: TestClient, run_id: str, state: str, name: str = "merged") -> Any:
    wait_until(lambda: state_of(api, run_id, name) == state, 60, f"{name} is {state}")
    return api.get(f"/experiments/{run_id}/exports/{name}").json()


def test_an_export_is_followed_to_its_receipt_and_taken_away(api: TestClient, run_id: str) -> None:
    accepted = ask(api, run_id)
    assert (accepted.status_code, accepted.json()["state"] in ("waiting", "making")) == (202, True)
    assert accepted.headers["Location"] == f"/experiments/{run_id}/exports/merged"
    assert "files" not in accepted.json()["links"]
    made = wait_for(api, run_id, "ready")
    assert (made["asked_by"], made["error"], made["receipt"]["measured"]["flips"]) == ("local", None, 3)
    assert made["receipt"]["measured"]["logits"]["mean"] is None, "JSON has no NaN"
    files = {file["name"]: file for file in made["files"]}
    assert set(files) == {"deeper/weights.txt", "receipt.json", "SHA256SUMS"}
    assert files["deeper/weights.txt"]["sha256"] == hashlib.sha256(b"first").hexdigest()
    package = api.get(made["links"]["files"])
    with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
        folders = {name.partition("/")[0] for name in archive.namelist()}
        contents = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert [f"{folder}.zip" in package.headers["Content-Disposition"] for folder in folders] == [True]
    assert contents["deeper/weights.txt"] == b"first"
    for name, file in files.items():
        assert api.get(file["link"]).content == contents[name]
    for other in ("../../experiments.db", "%2e%2e/.asked", "maker", "deeper"):
        assert api.get(f"/experiments/{run_id}/exports/merged/files/{other}").status_code == 404
    assert [one["name"] for one in api.get(f"/experiments/{run_id}/exports").json()["exports"]] == ["zip", "merged"]


def test_one_that_is_there_is_made_anew_only_when_that_is_said(api: TestClient, run_id: str) -> None:
    ask(api, run_id)
    wait_for(api, run_id, "ready")
    Path("weights").write_text("second")
    again = ask(api, run_id)
    assert (again.status_code, again.json()["remedy"]) == (
        409,
        'take it, or send "overwrite": true to make it anew',
    )
    link = f"/experiments/{run_id}/exports/merged/files/deeper/weights.txt"
    assert api.get(link).text == "first"
    assert ask(api, run_id, overwrite=True, precision="f32").status_code == 202, "f32 is the precision of merged"
    wait_until(lambda: api.get(link).text == "second", 60, "it is made anew")


def test_one_is_removed_and_can_be_made_again(api: TestClient, run_id: str) -> None:
    place = f"/experiments/{run_id}/exports/merged"
    assert api.delete(place).status_code == 404
    ask(api, run_id)
    folder = Path(wait_for(api, run_id, "ready") and next(Path("results/exports").glob("*-merged")))
    (folder / "note.txt").write_text("mine")
    foreign = api.delete(place)
    assert (foreign.status_code, "no export wrote 'note.txt'" in foreign.json()["message"]) == (409, True)
    assert (folder / "receipt.json").exists()
    (folder / "note.txt").unlink()
    assert api.delete(place).status_code == 204
    assert api.get(place).status_code == 404
    assert not [path for path in Path("results/exports").rglob("*") if path.suffix != ".lock" and path.is_file()]
    assert api.delete(f"/experiments/{run_id}/exports/zip").status_code == 409
    assert api.get(f"/experiments/{run_id}/model.zip").status_code == 200
    ask(api, run_id)
    wait_for(api, run_id, "ready")


def test_one_that_is_being_made_is_not_removed(api: TestClient, run_id: str) -> None:
    Path("hold").touch()
    ask(api, run_id)
    wait_for(api, run_id, "making")
    assert api.delete(f"/experiments/{run_id}/exports/merged").status_code == 409
    Path("hold").unlink()
    wait_for(api, run_id, "ready")


def test_one_is_made_at_a_time_and_asked_for_once(api: TestClient, run_id: str) -> None:
    Path("hold").touch()
    ask(api, run_id)
    wait_for(api, run_id, "making")
    assert api.get(f"/experiments/{run_id}/exports/merged").json()["stage"] == "loading the model"
    assert ask(api, run_id, "onnx").json()["state"] == "waiting"
    for form in ("merged", "onnx"):
        twice = ask(api, run_id, form, overwrite=True)
        assert (twice.status_code, "is being made" in twice.json()["message"]) == (409, True)
    Path("hold").unlink()
    for name in ("merged", "onnx"):
        wait_for(api, run_id, "ready", name)


def test_one_that_is_refused_tells_its_figures_and_nothing_is_there(api: TestClient, run_id: str) -> None:
    Path("refuse").touch()
    ask(api, run_id, accept_gap=0.5)
    refused = wait_for(api, run_id, "refused")
    assert refused["error"]["error"] == "self_test_failed"
    assert refused["error"]["details"]["measured"]["logits"] == {"largest": 2.0, "mean": None}
    assert (refused["receipt"], refused["files"], refused["ended_at"] is not None) == (None, [], True)
    assert api.get(f"/experiments/{run_id}/exports/merged/files.zip").status_code == 404
    assert [path.name for path in Path("results/exports").iterdir()] == [".asked"]
    Path("refuse").unlink()
    assert ask(api, run_id).status_code == 202
    assert wait_for(api, run_id, "ready")["error"] is None


def test_a_process_that_dies_is_told_and_leaves_nothing(api: TestClient, run_id: str) -> None:
    Path("die").touch()
    ask(api, run_id)
    failed = wait_for(api, run_id, "failed")
    assert failed["error"]["error"] == "service_unavailable"
    command = f"ft30 export {run_id[:8]} --as merged"
    assert failed["error"]["remedy"] == f"ask for it again; if it stays so: {command} shows why"
    assert [path.name for path in Path("results/exports").iterdir()] == [".asked"]


def test_an_api_that_ends_interrupts_its_exports_which_can_be_asked_for_again(
    start: Callable[..., TestClient], api: TestClient, run_id: str
) -> None:
    Path("hold").touch()
    ask(api, run_id)
    wait_for(api, run_id, "making")
    ask(api, run_id, "onnx")
    made: Any = api.app
    made.state.exports.close()
    refused = ask(api, run_id, "onnx", precision="int8")
    assert (refused.status_code, refused.json()["remedy"]) == (503, "ask again when it is back")
    wait_until(lambda: state_of(api, run_id) == "interrupted", 60, "its process is gone")
    following = start()
    assert not list(Path("results/exports").glob(".*.unfinished"))
    for name in ("merged", "onnx"):
        told = api.get(f"/experiments/{run_id}/exports/{name}").json()
        assert (told["state"], told["error"]["remedy"]) == ("interrupted", "ask for it again")
    Path("hold").unlink()
    assert ask(following, run_id).status_code == 202
    wait_for(following, run_id, "ready")


@pytest.mark.parametrize(
    ("form", "options", "told"),
    [
        ("gguf", {}, "--as gguf is for language models"),
        ("merged", {"precision": "q8_0"}, "--as merged has no precision q8_0; it has f32"),
        ("merged", {"into": "whole"}, "--into is for adapters of a quantised base"),
        ("zip", {"precision": "f32"}, "are for forms that are measured"),
        ("merged", {"accept_gap": 0}, "accept_gap"),
        ("merged", {"accept_gap": "nan"}, "accept_gap"),
        ("merged", {"output": "elsewhere"}, "output"),
        ("pickle", {}, "as"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is(
    api: TestClient, run_id: str, form: str, options: dict[str, Any], told: str
) -> None:
    refused = ask(api, run_id, form, **options)
    assert (refused.status_code, told in refused.json()["message"]) == (422, True), refused.text
    assert not Path("results/exports").exists()


def test_what_is_not_installed_is_said_beside_the_form_and_to_who_asks(
    api: TestClient, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "_ONNX", ("no_such_package",))
    refused = ask(api, run_id, "onnx")
    assert (refused.status_code, refused.json()["remedy"]) == (503, "install it with: pip install 'finetune30[onnx]'")
    forms = {form["name"]: form for form in api.get(f"/experiments/{run_id}/exports").json()["forms"]}
    assert [name for name, form in forms.items() if form["possible"]] == ["zip", "merged"]
    assert forms["onnx-int8"]["error"] == refused.json()
    assert "is for language models" in forms["gguf"]["error"]["message"]


def test_only_finished_runs_have_exports(api: TestClient, submit: Callable[..., str]) -> None:
    waiting = submit()
    assert ask(api, waiting).status_code == 409
    assert api.get(f"/experiments/{waiting}/exports").status_code == 409
    assert ask(api, "0" * 32).status_code == 404
    assert api.get(f"/experiments/{waiting}/exports/merged").status_code == 404
    assert api.get(f"/experiments/{waiting}/exports/pickle/files.zip").status_code == 404


def test_the_adapter_itself_is_there_without_being_made(api: TestClient, run_id: str) -> None:
    told = ask(api, run_id, "zip")
    assert (told.status_code, told.json()["state"], told.json()["error"]) == (202, "ready", None)
    package = api.get(told.json()["links"]["files"]).content
    assert package == api.get(f"/experiments/{run_id}/model.zip").content
    assert zipfile.ZipFile(io.BytesIO(package)).testzip() is None


def test_who_may_only_read_has_nothing_made(start: Callable[..., TestClient], run_id: str) -> None:
    api = start(api_keys="a-key-of-the-environment")
    app: Any = api.app
    viewer = {"X-API-Key": create_key(app.state.services.store, "eve", Role.VIEWER)[1]}
    app.state.keys._loaded_at = -1e9
    refused = api.post(f"/experiments/{run_id}/exports", json={"as": "merged"}, headers=viewer)
    assert refused.status_code == 403
    assert api.get(f"/experiments/{run_id}/exports", headers=viewer).status_code == 200
