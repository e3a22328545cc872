"""Exports through a real API and its page: the command's own files, measured, refused, killed and asked for again."""

from __future__ import annotations

import contextlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from finetune30.ui.translations import translate
from support.kinds import SINGLE_LABEL, KindsLab
from support.patience import wait_until
from support.services import Services

pytestmark = pytest.mark.integration

#: What an export says of itself, by the moment and the hand that made it.
OF_ITS_MAKING = {"receipt.json", "SHA256SUMS"}


@pytest.fixture(scope="module")
def services(kinds_lab: KindsLab) -> Iterator[Services]:
    with contextlib.closing(Services(kinds_lab.folder)) as started:
        started.start_api()
        started.wait_for_api()
        yield started


@pytest.fixture(scope="module")
def run_id(services: Services) -> str:
    return services.store.get(SINGLE_LABEL.name).id


def get(services: Services, path: str) -> httpx.Response:
    answer = httpx.get(f"{services.api_address}{path}", timeout=600)
    assert answer.status_code == 200, answer.text
    return answer


def ask(services: Services, run: str, form: str, **options: Any) -> None:
    body = {"as": form, **options}
    answer = httpx.post(f"{services.api_address}/experiments/{run}/exports", json=body, timeout=600)
    assert answer.status_code == 202, answer.text


def wait_for_end(services: Services, run: str, name: str) -> Any:
    path = f"/experiments/{run}/exports/{name}"
    wait_until(lambda: get(services, path).json()["state"] not in ("waiting", "making"), 200, f"{name} has ended")
    return get(services, path).json()


def unpack(package: bytes) -> dict[str, bytes]:
    """Return the files of a .zip by their names below its one folder."""
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE  # in a container nobody may take note of its end
    except psutil.NoSuchProcess:
        return True


def test_what_is_taken_away_are_the_files_of_the_command(
    services: Services, kinds_lab: KindsLab, run_id: str, tmp_path: Path
) -> None:
    kinds_lab.ft30("export", run_id, "--as", "merged", "--output", str(tmp_path / "merged"))
    kinds_lab.ft30("export", run_id, "--output", str(tmp_path / "model.zip"))
    ask(services, run_id, "merged")
    made = wait_for_end(services, run_id, "merged")
    assert (made["state"], made["error"]) == ("ready", None)
    taken, wanted = unpack(get(services, made["links"]["files"]).content), read_all(tmp_path / "merged")
    assert taken.keys() == wanted.keys()
    assert [name for name, content in wanted.items() if name not in OF_ITS_MAKING and taken[name] != content] == []
    receipts = [json.loads(files["receipt.json"]) for files in (taken, wanted)]
    assert receipts[0]["measured"] == receipts[1]["measured"] == made["receipt"]["measured"]
    assert receipts[0]["measured"]["flips"] == 0
    (folder,) = (kinds_lab.folder / "results" / "exports").glob(f"{SINGLE_LABEL.name}_*-merged")
    assert taken == read_all(folder)
    package = get(services, f"/experiments/{run_id}/exports/zip/files.zip").content
    assert package == (tmp_path / "model.zip").read_bytes()


def test_one_beyond_its_bound_tells_its_figures_and_is_made_for_who_accepts_them(
    services: Services, run_id: str
) -> None:
    ask(services, run_id, "onnx", precision="int8")
    refused = wait_for_end(services, run_id, "onnx-int8")
    assert refused["state"] == "refused"
    measured = refused["error"]["details"]["measured"]
    assert measured["logits"]["largest"] > measured["allowed_gap"] > 0
    assert f"differ by up to {measured['logits']['largest']:.4g}" in refused["error"]["message"]
    assert refused["files"] == []
    ask(services, run_id, "onnx", precision="int8", accept_gap=measured["logits"]["largest"] * 2)
    made = wait_for_end(services, run_id, "onnx-int8")
    accepted = made["receipt"]["measured"]["accepted"]
    assert accepted == {"gap": measured["logits"]["largest"] * 2, "by": "local"}
    assert "model.onnx" in unpack(get(services, made["links"]["files"]).content)


def test_an_api_that_is_killed_takes_its_export_with_it_which_can_be_asked_for_again(
    services: Services, kinds_lab: KindsLab
) -> None:
    run = services.store.get("multi-label")
    services.kill_api()
    services.start_api(FT30_FAILPOINT="export.after_model:1:wait600")
    services.wait_for_api()
    ask(services, run.id, "merged")
    exports = kinds_lab.folder / "results" / "exports"
    unfinished = exports / f".{run.folder}-merged.unfinished"
    wait_until(lambda: (unfinished / "model.safetensors").is_file(), 200, "the model is written")
    assert get(services, f"/experiments/{run.id}/exports/merged").json()["state"] == "making"
    assert services.api is not None
    children = psutil.Process(services.api.pid).children()
    (maker,) = [child for child in children if "answer" in child.cmdline()]
    services.kill_api()
    wait_until(lambda: is_gone(maker), 60, "nobody makes it on")
    services.start_api()
    services.wait_for_api()
    told = get(services, f"/experiments/{run.id}/exports/merged").json()
    assert (told["state"], told["error"]["remedy"], told["files"]) == ("interrupted", "ask for it again", [])
    assert not unfinished.exists()
    ask(services, run.id, "merged")
    assert wait_for_end(services, run.id, "merged")["state"] == "ready"


def test_the_command_that_a_dead_process_names_shows_why(services: Services, kinds_lab: KindsLab) -> None:
    run = services.store.get("regression")
    services.kill_api()
    services.start_api(FT30_FAILPOINT="export.after_receipt:1")
    services.wait_for_api()
    ask(services, run.id, "merged")
    failed = wait_for_end(services, run.id, "merged")
    assert failed["state"] == "failed"
    (command,) = re.findall(r"ft30 (export \w+ --as \w+) shows why", failed["error"]["remedy"])
    kinds_lab.ft30(*command.split())
    told = get(services, f"/experiments/{run.id}/exports/merged").json()
    assert (told["state"], told["error"]) == ("ready", None)


def test_a_press_on_the_page_exports(visit: Callable[..., Any], services: Services, run_id: str) -> None:
    # In English alone: this runner sends back what was chosen by its English name.
    def t(key: str, **values: Any) -> str:
        return translate("en", key, **values)

    services.kill_api()
    services.start_api()  # without the fail points of others
    services.wait_for_api()
    page = visit(services.api_address, "run", lang="en", run=run_id)
    page.segmented_control(key="run_part").set_value("files").run()
    assert page.button(key="export-make-gguf").disabled
    page.button(key="export-make-onnx").click().run()

    def settled() -> bool:
        page.run()
        assert not page.exception, page.exception
        return not any(info.icon == ":material/hourglass_top:" for info in page.info)

    wait_until(settled, 200, "the export ends")
    assert not page.error, [error.value for error in page.error]
    assert page.button(key="export-make-onnx").label == t("exports.again")
    assert any(t("exports.flips", count=0) in block.value for block in page.markdown)

    page.button(key="export-remove-onnx").click().run()
    page.button(key="export-remove-onnx-yes").click().run()
    assert not page.exception, page.exception
    assert page.button(key="export-make-onnx").label == t("exports.make")
    names = [one["name"] for one in get(services, f"/experiments/{run_id}/exports").json()["exports"]]
    assert "onnx" not in names
