"""What commands say to do next is done to the letter, and what was asked for is then there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune30.config.schema import ExperimentConfig
from finetune30.store import RunStore, open_store
from support.following import Terminal
from unit.cli.test_runs import finish

RESULTS = Path("results")


def write_rows(path: str, count: int = 30, first: int = 0) -> str:
    rows = "".join(f"this is text number {n},{n % 2}\n" for n in range(first, first + count))
    Path(path).write_text(f"text,label\n{rows}", encoding="utf-8")
    return path


def test_a_usage_error_names_the_help_that_shows_what_is_allowed(ft30: Terminal) -> None:
    refused = ft30("runs", "list", "--limit", "0")
    assert (refused.code, refused.remedy) == (2, "ft30 runs list --help")
    shown = ft30.type(refused.remedy)
    assert shown.code == 0
    assert "--limit INTEGER RANGE" in shown.out
    assert "1<=x<=" in shown.out
    assert ft30("runs", "list", "--limit", "1").code == 0


def test_the_help_of_a_listing_shows_what_its_words_allow(ft30: Terminal) -> None:
    refused = ft30("runs", "list", "--min_score", "nan")
    assert refused.remedy == "see what is allowed with: ft30 runs list --help"
    shown = ft30.type("ft30 runs list --help")
    assert "--min_score" in shown.out
    assert ft30("runs", "list", "--min_score", "0.5").code == 0


def test_a_tag_is_given_as_the_error_writes_it(ft30: Terminal) -> None:
    made = json.loads(ft30("data", "versions", "create", write_rows("a.csv"), "--json").out)
    refused = ft30("data", "versions", "tag", "gold")
    assert (refused.code, refused.remedy) == (2, "ft30 data versions tag NAME VERSION")
    assert ft30.type(refused.remedy, NAME="gold", VERSION=made["digest"][:12]).code == 0
    assert json.loads(ft30("data", "versions", "show", "gold", "--json").out)["digest"] == made["digest"]


def test_a_missing_configuration_is_given_or_a_shipped_one_taken(ft30: Terminal) -> None:
    refused = ft30("config", "show", "--config", "mine.yaml")
    assert refused.remedy == "give a YAML file, or list the shipped ones: ft30 config presets"
    Path("mine.yaml").write_text("lora:\n  r: 3\n")
    assert json.loads(ft30("config", "show", "--config", "mine.yaml", "--json").out)["lora"]["r"] == 3
    assert "starter" in ft30.type("ft30 config presets").out
    shown = json.loads(ft30("config", "show", "--preset", "starter", "--json").out)
    assert shown["data"]["dataset_name"] == "starter"


def test_a_misspelt_preset_is_the_one_that_was_meant_or_one_of_the_list(ft30: Terminal) -> None:
    near = ft30("config", "show", "--preset", "startr")
    assert near.remedy == "did you mean starter? list them: ft30 config presets"
    assert json.loads(ft30("config", "show", "--preset", "starter", "--json").out)["model"]["name"] == "starter"
    far = ft30("config", "show", "--preset", "zzzzzz")
    assert far.remedy == "list them: ft30 config presets"
    names = [preset["name"] for preset in json.loads(ft30.type("ft30 config presets --json").out)]
    assert {ft30("config", "show", "--preset", name).code for name in names} == {0}


def test_the_table_of_keys_shows_the_bounds_of_the_key_at_fault(ft30: Terminal) -> None:
    Path("mine.yaml").write_text("lora:\n  r: 0\n")
    refused = ft30("config", "check", "mine.yaml")
    assert refused.remedy == "see every key and its bounds: ft30 config schema --markdown"
    (row,) = [line for line in ft30.type("ft30 config schema --markdown").out.splitlines() if "`lora.r`" in line]
    assert "1" in row
    Path("mine.yaml").write_text("lora:\n  r: 1\n")
    assert ft30("config", "check", "mine.yaml").code == 0


def test_a_name_of_a_key_that_is_taken_is_in_the_list_and_another_is_chosen(ft30: Terminal) -> None:
    assert ft30("keys", "create", "anna").code == 0
    refused = ft30("keys", "create", "anna")
    assert refused.remedy == "choose another name: ft30 keys list"
    assert "anna" in ft30.type("ft30 keys list").out
    assert ft30("keys", "create", "ben").code == 0


def test_a_key_that_is_not_known_is_found_in_the_list_and_revoked(ft30: Terminal) -> None:
    assert ft30("keys", "create", "anna").code == 0
    refused = ft30("keys", "revoke", "anne")
    assert refused.remedy == "see them with: ft30 keys list"
    number = ft30.type("ft30 keys list").out.split()[0]
    assert ft30("keys", "revoke", number).out.strip() == f"revoked {number} (anna)"


def test_a_run_that_is_not_known_is_found_in_the_list(ft30: Terminal, store: RunStore) -> None:
    finish(store, "first", 0.5)
    refused = ft30("runs", "show", "fist")
    assert refused.remedy == "see all runs with: ft30 runs list"
    number = ft30.type("ft30 runs list").out.splitlines()[1].split()[0]
    assert store.get("first").id in ft30("runs", "show", number).out


def test_a_run_that_another_process_holds_is_shown(ft30: Terminal, store: RunStore) -> None:
    from finetune30.errors import StaleAttemptError

    run = store.create(ExperimentConfig(), kind="queued", results_root=RESULTS)
    claim = store.claim(run.id, owner="one:boot:1:1", lease_seconds=60)
    assert claim is not None
    store.release(claim, "its worker stopped")
    assert store.claim(run.id, owner="two:boot:1:1", lease_seconds=60) is not None
    with pytest.raises(StaleAttemptError) as stale:
        store.describe(claim, device="cpu")
    assert stale.value.remedy == f"see how it stands: ft30 runs show {run.id[:8]}"
    shown = ft30.type(f"ft30 runs show {run.id[:8]}").out
    lines = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.split()}
    assert (lines["status"], lines["attempt"]) == (["RUNNING"], ["2"])


def test_only_runs_that_succeeded_are_replayed_and_why_one_is_none_is_shown(ft30: Terminal, store: RunStore) -> None:
    run = store.create(ExperimentConfig(), kind="queued", results_root=RESULTS)
    claim = store.claim(run.id, owner="one:boot:1:1", lease_seconds=60)
    assert claim is not None
    store.fail(claim, {"error": "data_error", "message": "rows.csv:1:1: broken", "remedy": "mend it"})
    refused = ft30("replay", run.id[:8])
    assert refused.remedy == f"see ft30 runs show {run.id[:8]}"
    assert "rows.csv:1:1: broken" in ft30.type(f"ft30 runs show {run.id[:8]}").out


def test_a_run_that_somebody_else_took_is_shown(ft30: Terminal, store: RunStore) -> None:
    from finetune30.errors import ConflictError
    from finetune30.service.execution.local import carry_out_locally
    from finetune30.service.runs.open_records import Records
    from finetune30.settings import load_settings

    run = store.create(ExperimentConfig(), kind="queued", results_root=RESULTS)
    assert store.claim(run.id, owner="elsewhere:boot:1:1", lease_seconds=60) is not None
    with pytest.raises(ConflictError) as refused:
        carry_out_locally(Records(store, RESULTS), run, load_settings(), frozenset())
    assert refused.value.remedy == f"see it with: ft30 runs show {run.id[:8]}"
    assert "RUNNING" in ft30.type(f"ft30 runs show {run.id[:8]}").out


def test_a_run_without_a_log_is_waited_for_or_shown(ft30: Terminal, store: RunStore) -> None:
    run = store.create(ExperimentConfig(), kind="queued", results_root=RESULTS)
    assert ft30("runs", "logs", run.id).remedy == "wait until the run starts, or see why it did not: ft30 runs show RUN"
    assert "QUEUED" in ft30.type("ft30 runs show RUN", RUN=run.id).out
    claim = store.claim(run.id, owner="one:boot:1:1", lease_seconds=60)
    assert claim is not None
    details = {"output": "first line\nImportError: libtorch_cpu.so: file too short\n"}
    store.fail(claim, {"error": "process_crashed", "message": "ended with exit code 1", "details": details})
    shown = ft30.type("ft30 runs show RUN", RUN=run.id).out
    assert "ended with exit code 1" in shown
    assert "What it printed last\nfirst line\nImportError: libtorch_cpu.so: file too short\n" in shown
    (RESULTS / run.folder / "logs.txt").write_text("2026-01-02T03:04:05.000Z device cpu\n")  # it started after all
    assert "device cpu" in ft30("runs", "logs", run.id).out


def test_a_run_of_another_folder_is_found_by_the_setting(ft30: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = open_store("sqlite:///elsewhere/experiments.db")
    elsewhere.create(ExperimentConfig(experiment_name="mine"), kind="queued", results_root=Path("elsewhere"))
    elsewhere.close()
    for command in (("runs", "show", "mine"), ("data", "suspects", "mine"), ("resume", "mine"), ("replay", "mine")):
        monkeypatch.delenv("FT30_RESULTS_FOLDER", raising=False)
        refused = ft30(*command)
        assert refused.remedy == "start one with: ft30 train, or name the folder of the runs in FT30_RESULTS_FOLDER"
        monkeypatch.setenv("FT30_RESULTS_FOLDER", "elsewhere")
        found = ft30(*command)
        assert "no runs in" not in found.err
        assert "mine" in found.out or "QUEUED" in found.err


def test_a_first_version_is_made_as_the_empty_list_says(ft30: Terminal) -> None:
    said = ft30("data", "versions", "list").out.strip()
    assert said == "No versions yet. Make one with: ft30 data versions create SOURCE (every training makes one, too)"
    made = ft30.type("ft30 data versions create SOURCE --json", SOURCE=write_rows("a.csv"))
    assert json.loads(made.out)["digest"][:12] in ft30("data", "versions", "list").out


def test_rows_beyond_the_limit_are_shown_with_a_higher_one(ft30: Terminal) -> None:
    digests = [
        json.loads(ft30("data", "versions", "create", write_rows("a.csv", 60, first), "--json").out)["digest"][:12]
        for first in (0, 60)
    ]
    shown = ft30("data", "versions", "diff", *digests).out.splitlines()
    assert shown[-1] == "… and 40 more (--limit)"
    every = ft30("data", "versions", "diff", *digests, "--limit", "60").out
    assert all(f"this is text number {n}" in every for n in range(60, 120))
    assert "(--limit)" not in every


def test_what_is_too_much_for_a_terminal_is_in_the_json(ft30: Terminal, store: RunStore) -> None:
    names = [f"class {number}" for number in range(60)]
    matrix = [[int(row == column) for column in range(60)] for row in range(60)]
    run = finish(store, "many", 1.0, labels=names, eval_confusion_matrix=matrix)
    shown = ft30("runs", "show", run[:8]).out
    assert "60 rows and 60 columns are too many for a terminal: the page draws them, --json has them" in shown
    assert "more: --json has them" in shown
    blocks = json.loads(ft30("runs", "show", run[:8], "--json").out)["blocks"]
    (drawn,) = [block for block in blocks if block["kind"] == "matrix"]
    assert drawn["values"] == matrix
    assert max(len(block["rows"]) for block in blocks if block["kind"] == "table") == 60
