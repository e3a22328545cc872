"""A version whose run has lost its folder is asked, verified, served and exported from the files that it keeps."""

from __future__ import annotations

import json
import shutil

import pytest

from support.kinds import KindsLab
from support.serving_lab import serve_lab

pytestmark = pytest.mark.integration

TEXTS = ["it is great", "it is awful"]


def test_a_version_answers_as_before_once_its_run_is_gone(kinds_lab: KindsLab) -> None:
    kinds_lab.ft30("models", "register", "single-label", "kept")
    kinds_lab.ft30("models", "promote", "kept", "1", "--to", "production", "--reason", "a start")
    asked = ("predict", "kept@production", *TEXTS, "--json")
    before = kinds_lab.ft30(*asked).stdout
    shutil.rmtree(kinds_lab.run_folder("single-label"))
    assert kinds_lab.ft30(*asked).stdout == before
    assert "files are as they were registered" in kinds_lab.ft30("models", "verify", "kept").stdout
    kinds_lab.ft30("export", "kept@production", "--as", "zip", "--output", "kept.zip")
    assert (kinds_lab.folder / "kept.zip").is_file()
    kinds_lab.ft30("export", "kept@production", "--as", "merged", "--output", "merged")
    receipt = json.loads((kinds_lab.folder / "merged/receipt.json").read_text(encoding="utf-8"))
    assert (receipt["version"], receipt["base"]["name"]) == ("kept@production", "base")
    with serve_lab(kinds_lab.folder, "kept@production") as lab:
        lab.watcher.look()
        found = lab.predict("kept@production", TEXTS)["answers"]
    assert [one["labels"] for one in found] == [json.loads(line)["labels"] for line in before.splitlines()]
