"""Test rows of real runs: read by nothing before `ft30 test`, evaluated as the run was, every look counted."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from finetune30.errors import DataError
from finetune30.service.runs.open_records import open_records
from finetune30.service.testing.admission import LookTakenError
from finetune30.service.testing.looking import LooksInWork
from finetune30.settings import load_settings
from finetune30.store.test_looks import end_look, open_look
from support.fork_server import ForkServer
from support.kinds import KINDS, SINGLE_LABEL, Kind, KindsLab
from support.patience import wait_until
from support.talk_lab import TalkLab, write_conversations

pytestmark = pytest.mark.integration

POINTS = ("test_look.after_row", "test_look.after_rows", "test_look.before_result")


def looks_of(lab: KindsLab, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(lab.ft30("test", run, "--show", "--json").stdout)
    return found


def train_with_tripwire(lab: KindsLab, kind: Kind, name: str) -> Path:
    """Train a run whose test file breaks whoever reads it, then put the rows into the file."""
    tripwire = lab.folder / f"{name}-test.csv"
    tripwire.write_bytes(b"\x00\xff this is no table \x00")
    lab.train(kind, name, {"test_file": tripwire.name}, num_train_epochs=2)
    tripwire.write_bytes((lab.folder / f"{kind.name}-eval.csv").read_bytes())
    return tripwire


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_nothing_reads_test_rows_before_a_look_which_evaluates_as_the_run_does(
    kinds_lab: KindsLab, kind: Kind, tmp_path: Path
) -> None:
    name = f"tripwire {kind.name}"
    tripwire = train_with_tripwire(kinds_lab, kind, name)
    # Rows that the run was not evaluated on, but as good: every evaluation row with a word behind it.
    lines = tripwire.read_text(encoding="utf-8").splitlines()
    texts = [line.replace(",", " indeed,", 1) for line in lines[1:]]
    tripwire.write_text("\n".join([lines[0], *texts, lines[1]]) + "\n", encoding="utf-8")
    assert looks_of(kinds_lab, name) == []
    said = kinds_lab.ft30("test", name)
    assert "is opened for the first time" in said.stderr
    assert "The test rows were looked at once." in said.stdout
    (look,) = looks_of(kinds_lab, name)
    result = look["result"]
    assert (result["rows"], result["rows_read"]) == (len(texts), len(texts) + 1)
    assert result["left_out"] == {"leakage": 1}, "the last one is a row that the run was evaluated on"
    assert result["interval"]["low"] <= result["score"] <= result["interval"]["high"]
    assert result["score"] == result["metrics"][result["score_name"]]
    kinds_lab.ft30("test", name)
    assert "looked at 2 times" in kinds_lab.ft30("runs", "show", name).stdout
    kinds_lab.ft30("export", name, "--output", str(tmp_path / "model.zip"))
    with zipfile.ZipFile(tmp_path / "model.zip") as package:
        (card,) = [one for one in package.namelist() if one.endswith("adapter/README.md")]
        assert "looked at 2 times" in package.read(card).decode()
    first, second = looks_of(kinds_lab, name)
    assert (first["count"], second["count"]) == (1, 2)
    assert first["result"]["metrics"] == second["result"]["metrics"]


def test_a_look_gives_the_figures_that_the_run_itself_had_on_such_rows(kinds_lab: KindsLab) -> None:
    """Rows of a test split of the run's version are those that another run was evaluated on."""
    text = (kinds_lab.folder / f"{SINGLE_LABEL.name}-train.csv").read_text(encoding="utf-8")
    (kinds_lab.folder / "as-eval.csv").write_text(
        (kinds_lab.folder / f"{SINGLE_LABEL.name}-eval.csv").read_text(encoding="utf-8"), encoding="utf-8"
    )
    (kinds_lab.folder / "other.csv").write_text("\n".join(text.splitlines()[:7]) + "\n", encoding="utf-8")
    own = kinds_lab.train(SINGLE_LABEL, "evaluated", num_train_epochs=2)
    kinds_lab.train(
        SINGLE_LABEL, "tested", {"eval_file": "other.csv", "test_file": "as-eval.csv", "gate": {"mode": "report"}},
        num_train_epochs=2,
    )  # fmt: skip
    kinds_lab.ft30("test", "tested")
    (look,) = looks_of(kinds_lab, "tested")
    wanted = json.loads((own / "metrics.json").read_text(encoding="utf-8"))
    found = look["result"]["metrics"]
    assert found["eval_loss"] == wanted["eval_loss"]
    assert found["eval_accuracy"] == wanted["eval_accuracy"]


@pytest.mark.parametrize("point", POINTS)
def test_a_look_that_was_killed_counts_and_leaves_nothing_else(kinds_lab: KindsLab, point: str) -> None:
    name = f"killed {point}"
    train_with_tripwire(kinds_lab, SINGLE_LABEL, name)
    tripwire = kinds_lab.folder / f"{name}-test.csv"
    tripwire.write_text(tripwire.read_text(encoding="utf-8").replace(",", " so,"), encoding="utf-8")
    text = tripwire.read_text(encoding="utf-8")
    tripwire.write_text(text.replace("text so,label", "text,label"), encoding="utf-8")
    before = {path: path.stat().st_mtime_ns for path in kinds_lab.run_folder(name).rglob("*")}
    ended = kinds_lab.server.run("test", name, cwd=kinds_lab.folder, FT30_FAILPOINT=f"{point}:1")
    assert ended.returncode == -9
    (look,) = looks_of(kinds_lab, name)
    assert (look["count"], look["ended_at"], look["result"], look["error"]) == (1, None, None, None)
    assert {path: path.stat().st_mtime_ns for path in kinds_lab.run_folder(name).rglob("*")} == before
    assert "is opened for the 2nd time" in kinds_lab.ft30("test", name).stderr
    assert [look["result"] is not None for look in looks_of(kinds_lab, name)] == [False, True]


def test_a_look_that_fails_says_why_and_counts(kinds_lab: KindsLab) -> None:
    name = "unheard label"
    tripwire = train_with_tripwire(kinds_lab, SINGLE_LABEL, name)
    tripwire.write_text("text,label\nquite new,unheard\n", encoding="utf-8")
    ended = kinds_lab.server.run("test", name, cwd=kinds_lab.folder)
    assert (ended.returncode, "no test row is left (1 unknown_label)" in ended.stderr) == (1, True)
    (look,) = looks_of(kinds_lab, name)
    assert look["error"]["error"] == DataError.code
    tripwire.unlink()
    missing = kinds_lab.server.run("test", name, cwd=kinds_lab.folder)
    assert (missing.returncode, "is not there" in missing.stderr) == (1, True)
    assert len(looks_of(kinds_lab, name)) == 1, "nothing was opened, so nothing counts"
    assert "TEST ROWS" in kinds_lab.ft30("compare", name, SINGLE_LABEL.name).stdout


def test_a_run_without_test_rows_is_trained_with_some_as_is_said(kinds_lab: KindsLab) -> None:
    refused = kinds_lab.server.run("test", SINGLE_LABEL.name, cwd=kinds_lab.folder)
    assert refused.returncode == 1
    assert "it has no test rows" in refused.stderr
    (key,) = re.findall(r"set (data\.test_fraction), data\.test_split or data\.test_file", refused.stderr)
    kinds_lab.train(SINGLE_LABEL, "with a test", {key.removeprefix("data."): 0.2}, num_train_epochs=1)
    report = json.loads((kinds_lab.run_folder("with a test") / "data_report.json").read_text(encoding="utf-8"))
    count = report["test"]["total_samples"]
    kinds_lab.ft30("test", "with a test")
    (look,) = looks_of(kinds_lab, "with a test")
    assert look["result"]["rows"] == count > 0
    assert looks_of(kinds_lab, SINGLE_LABEL.name) == [], "nothing was opened, so nothing counts"
    again = kinds_lab.ft30("replay", "with a test").stdout
    assert "identical" in again
    found = json.loads(kinds_lab.ft30("compare", "with a test", SINGLE_LABEL.name, "--json").stdout)
    assert [test and test["looks"] for test in found["tests"]] == [1, None]


def test_a_language_model_is_tested_by_its_loss_a_token(
    fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lab = TalkLab(fork_server, tmp_path_factory.mktemp("tested-talk"))
    write_conversations(lab.folder / "test.jsonl", 6, first=200)
    ended = lab.train("results", {"data.test_file": "test.jsonl", "training.num_train_epochs": 1})
    assert ended.returncode == 0, ended.stderr
    ended = lab.ft30("test", "latest", "--json")
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)[0]["result"]
    assert (result["rows"], result["left_out"], result["score_name"]) == (6, {}, "eval_loss")
    assert result["interval"]["low"] < result["score"] < result["interval"]["high"]


def test_two_runs_are_compared_on_the_same_test_rows_and_others_trained_as_is_said(kinds_lab: KindsLab) -> None:
    kept = {"test_fraction": 0.3, "split_seed": 3}
    kinds_lab.train(SINGLE_LABEL, "learnt pair", kept)
    kinds_lab.train(SINGLE_LABEL, "barely pair", kept, num_train_epochs=1, learning_rate=1e-6)
    kinds_lab.train(SINGLE_LABEL, "other pair", {"test_fraction": 0.3, "split_seed": 4}, max_steps=1)
    refused = kinds_lab.server.run("test", "learnt pair", "other pair", cwd=kinds_lab.folder)
    assert refused.returncode == 1
    assert "do not keep the same rows for a test" in refused.stderr
    assert "train both with the same data.test_fraction and data.split_seed" in refused.stderr
    assert looks_of(kinds_lab, "learnt pair") == [], "nothing is opened where nothing can be compared"
    found = json.loads(kinds_lab.ft30("test", "barely pair", "learnt pair", "--json").stdout)
    looks, pair = found["looks"], found["pair"]
    assert [look["count"] for look in looks] == [1, 1]
    assert pair["rows"] == looks[0]["result"]["rows"] == looks[1]["result"]["rows"]
    means = [pair["first_mean"], pair["second_mean"]]
    assert means == pytest.approx([look["result"]["metrics"]["eval_accuracy"] for look in looks])
    only = pair["only_first_right"], pair["only_second_right"]
    assert (only[1] - only[0]) / pair["rows"] == pytest.approx(means[1] - means[0])
    assert pair["p_value"] == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    assert pair["better"] == looks[1]["run_id"]
    said = kinds_lab.ft30("test", "barely pair", "learnt pair").stdout
    assert said.startswith("test rows: ")
    assert "looked at 2 and 2 times" in said
    first, second = looks_of(kinds_lab, "learnt pair")
    assert [first["verdict"]] * 2 == [look["verdict"] for look in looks]
    assert second["verdict"] == looks_of(kinds_lab, "barely pair")[1]["verdict"]
    ids = [look["run_id"] for look in looks]
    names = dict(zip(ids, ("'barely pair'", "'learnt pair'"), strict=True))
    assert first["verdict"] == {**pair, "names": names, "looks": dict.fromkeys(ids, 1)}
    assert second["verdict"]["looks"] == dict.fromkeys(ids, 2)
    for shown in (("test", "learnt pair", "--show"), ("runs", "show", "learnt pair")):
        told = " ".join(kinds_lab.ft30(*shown).stdout.split())
        assert "Look 1, against 'barely pair'" in told
        assert pair["message"] in told
    for flags, code in ((("learnt pair", "learnt pair"), 2), (("learnt pair", "barely pair", "--show"), 2)):
        assert kinds_lab.server.run("test", *flags, cwd=kinds_lab.folder).returncode == code


def test_two_servers_take_one_look_and_nobody_begins_another_beside_it(
    kinds_lab: KindsLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes of the API on one database: both are asked before a look is on record, and one takes it."""
    for name in ("asked twice", "asked never"):
        kinds_lab.train(SINGLE_LABEL, name, {"test_fraction": 0.2, "split_seed": 5}, max_steps=1)
    monkeypatch.chdir(kinds_lab.folder)
    monkeypatch.setenv("FT30_RESULTS_FOLDER", str(kinds_lab.folder / "results"))
    monkeypatch.setenv("FT30_DATA_FOLDER", str(kinds_lab.folder / "data_store"))
    settings, servers = load_settings(), (LooksInWork(), LooksInWork())
    with open_records(settings) as records:
        run = records.store.get("asked twice")
        for server in servers:
            server.start(records, settings, run, "anna")
        wait_until(lambda: [one.load(records, run)["state"] for one in servers] == ["ready"] * 2, 120, "both are over")
        (look,) = looks_of(kinds_lab, run.id)
        assert (look["opened_by"], look["goes_on"], look["result"]["rows"] > 0) == ("anna", False, True)
        held = open_look(records.store, run.id, lease_seconds=3600)
        assert held is not None
        other = records.store.get("asked never")
        for server in servers:
            server.start(records, settings, run, "anna")
            server.start(records, settings, run, "anna", other)
            assert server.load(records, run)["state"] == "looking", "that of somebody else"
            with pytest.raises(LookTakenError, match=run.id[:8]):
                server.start(records, settings, other, "anna", run)
        for names in ((run.id,), ("asked never", run.id)):
            refused = kinds_lab.server.run("test", *names, cwd=kinds_lab.folder)
            assert refused.returncode == 1
            assert f"somebody looks at the test rows of run {run.id[:8]} at present" in refused.stderr
        (command,) = re.findall(r"see it with: ft30 (test \w+ --show)", refused.stderr)
        assert "goes on" in kinds_lab.ft30(*command.split()).stdout
        end_look(records.store, held, error={"message": "left"})
        assert [look["count"] for look in looks_of(kinds_lab, run.id)] == [1, 2]
        assert looks_of(kinds_lab, "asked never") == [], "nothing is opened where the other cannot be"
        for server in servers:
            server.start(records, settings, other, "anna", run)
        wait_until(lambda: {one.load(records, other)["state"] for one in servers} == {"ready"}, 120, "both are over")
        (one,), (*_, another) = looks_of(kinds_lab, other.id), looks_of(kinds_lab, run.id)
        assert one["verdict"]["looks"] == {other.id: 1, run.id: 3}
        assert another["verdict"] == one["verdict"]
        assert another["verdict"]["rows"] == one["result"]["rows"]
