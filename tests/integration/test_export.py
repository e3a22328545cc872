"""A model as .zip: it answers where this package, its folders and a network are missing, and names none."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from support.kinds import KINDS, SINGLE_LABEL, KindsLab

pytestmark = pytest.mark.integration

#: Loads use_model.py of a folder and asks it, in a Python that cannot import this package.
_ELSEWHERE = """
import json, runpy, sys
sys.modules["finetune30"] = None
ask = runpy.run_path(sys.argv[1])["ask"]
print(json.dumps([ask(text) for text in json.load(sys.stdin)]))
"""


def unpack(package: Path, folder: Path) -> Path:
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    (unpacked,) = folder.iterdir()
    return unpacked


def export(lab: KindsLab, run: str, folder: Path) -> Path:
    package = folder / "model.zip"
    lab.ft30("export", run, "--as", "zip", "--output", str(package))
    return package


@pytest.mark.parametrize("name", KINDS)
def test_an_exported_model_answers_elsewhere_as_its_evaluation_did(kinds_lab, tmp_path, name):
    unpacked = unpack(export(kinds_lab, name, tmp_path), tmp_path / "elsewhere")
    kept = pq.read_table(kinds_lab.run_folder(name) / "predictions.parquet").to_pylist()
    by_row = dict(zip((f"{name}-eval.csv:{line}" for line in range(2, 99)), KINDS[name].rows()[::5], strict=False))
    texts = [by_row[row["row_id"]][0] for row in kept]
    asked = subprocess.run(
        [sys.executable, "-I", "-c", _ELSEWHERE, str(unpacked / "use_model.py")],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    answers = json.loads(asked.stdout.splitlines()[-1])
    expected = [row["prediction"] for row in kept]
    if name == "regression":
        assert answers == pytest.approx(expected, abs=1e-3)
    else:
        assert answers == expected


def test_nothing_in_an_export_names_a_place_on_this_machine(kinds_lab, tmp_path):
    private = tmp_path / "private-customer"
    private.mkdir()
    SINGLE_LABEL.save(private)
    (private / "mine.yaml").write_text(
        yaml.safe_dump(
            {
                "experiment_name": "abroad",
                "model": {"name": str(kinds_lab.folder / "base"), "num_labels": 3},
                "data": {"dataset_name": str(private / "single-label-train.csv"), "max_length": 24},
                "training": {"device": "cpu", "num_train_epochs": 1},
            }
        ),
        encoding="utf-8",
    )
    kinds_lab.ft30("train", "--config", str(private / "mine.yaml"))
    unpacked = unpack(export(kinds_lab, "abroad", tmp_path), tmp_path / "elsewhere")
    told = [
        (path.name, place)
        for path in unpacked.rglob("*")
        if path.is_file()
        for place in ("private-customer", kinds_lab.folder.name, sys.prefix)
        if place.encode() in path.read_bytes()
    ]
    assert told == []
    assert "`single-label-train.csv`" in (unpacked / "adapter" / "README.md").read_text(encoding="utf-8")


def test_an_export_names_its_labels_and_the_digest_of_every_file(kinds_lab, tmp_path):
    unpacked = unpack(export(kinds_lab, "single-label", tmp_path), tmp_path / "elsewhere")
    config = json.loads((unpacked / "base" / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "anger", "1": "middle", "2": "zest"}
    lines = [line.split("  ") for line in (unpacked / "SHA256SUMS").read_text(encoding="utf-8").splitlines()]
    files = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert {name for _, name in lines} == files - {"SHA256SUMS"}
    for digest, name in lines:
        assert hashlib.sha256((unpacked / name).read_bytes()).hexdigest() == digest


def test_exports_of_one_run_are_equal_and_replace_nothing_unasked(kinds_lab, tmp_path):
    package = export(kinds_lab, "regression", tmp_path)
    first = package.read_bytes()
    refused = kinds_lab.server.run("export", "regression", "--output", str(package), cwd=kinds_lab.folder)
    assert refused.returncode == 2
    assert "give another --output, or add --overwrite" in refused.stderr
    refused = kinds_lab.server.run("export", "regression", "--output", str(tmp_path / "model"), cwd=kinds_lab.folder)
    assert refused.returncode == 2
    assert "give --output a name that ends in .zip" in refused.stderr
    kinds_lab.ft30("export", "regression", "--output", str(tmp_path / "model.two.zip"))
    assert (tmp_path / "model.two.zip").read_bytes() == first
    kinds_lab.ft30("export", "regression", "--output", str(package), "--overwrite")
    assert package.read_bytes() == first


def test_the_command_of_the_page_exports(kinds_lab):
    folder = kinds_lab.run_folder("multi-label")
    run_id = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["run_id"]
    kinds_lab.ft30("export", run_id[:8])
    assert (kinds_lab.folder / f"{folder.name}.zip").is_file()


def test_a_damaged_model_is_not_exported(kinds_lab, tmp_path):
    weights = kinds_lab.run_folder("multi-label") / "artifacts" / "final_model" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-1] + b"\0" if whole[-1:] != b"\0" else whole[:-1] + b"\1")
        refused = kinds_lab.server.run(
            "export", "multi-label", "--output", str(tmp_path / "x.zip"), cwd=kinds_lab.folder
        )
    finally:
        weights.write_bytes(whole)
    assert refused.returncode != 0
    assert "adapter_model.safetensors" in refused.stderr
    assert list(tmp_path.glob("*.zip")) == []
