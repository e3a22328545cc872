"""`ft30 runs`: what it prints and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import finetune30.cli.main as cli_main
from finetune30.config.schema import ExperimentConfig
from finetune30.store import RunFolder, RunStatus, open_store

RESULTS = Path("results")
OWNER = "elsewhere:boot:1:1"


@pytest.fixture
def ft30(capsys):
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli_main.main(["runs", *arguments])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return call


@pytest.fixture
def store(tmp_path):
    store = open_store("sqlite:///results/experiments.db")
    yield store
    store.close()


def finish(store, name: str, accuracy: float | None, runtime: float = 12.5, **more: object) -> str:
    """A run that SUCCEEDED, with its folder."""
    run = store.create(ExperimentConfig(experiment_name=name), kind="queued", results_root=RESULTS)
    claim = store.claim(run.id, owner=OWNER, lease_seconds=60)
    attempt = RunFolder(RESULTS / run.folder).open_attempt(claim.attempt)
    attempt.logs.write_text("2026-01-02T03:04:05.000Z device cpu\n2026-01-02T03:04:06.000Z text \x1b[31mred\n")
    attempt.history.write_text(
        '{"type": "train", "step": 10, "epoch": 0.5, "loss": 0.25, "learning_rate": 0.001}\n'
        '{"type": "evaluation", "step": 20, "epoch": 1.0, "eval_accuracy": 0.75}\n'
    )
    totals = {"input": 12, "used": 10, "moved_to_evaluation": 0, "dropped": {"too_short": 2}, "truncated": 1}
    header = {"header": {"count": 1, "first": [1]}}
    lines = {"file": "a.csv", "physical": 13, "rows": 12, "rows_on_shared_lines": 0, "not_rows": header}
    ledger = {"files": [], "totals": {"train": totals}, "lines": [lines]}
    attempt.reveal("data_report.json", json.dumps({"ledger": ledger}).encode())
    metrics = {
        "problem_type": "single_label_classification",
        "labels": ["no", "yes"],
        "eval_accuracy": accuracy,
        "train_runtime": runtime,
        "eval_confusion_matrix": [[6, 1], [0, 1]],
        **more,
    }
    (attempt.outbox / "metrics.json").write_text(json.dumps(metrics))
    published = attempt.publish({})
    store.succeed(claim, metrics, published.manifest_sha256)
    return run.id


def test_list_without_any_run_says_how_to_start_and_makes_no_database(ft30):
    assert ft30("list") == (0, "No runs yet. Start one with: ft30 train\n", "")
    assert json.loads(ft30("list", "--json")[1]) == {"runs": [], "next_cursor": None}
    assert not RESULTS.exists()


def test_list_prints_a_table(ft30, store):
    run_id = finish(store, "first", 0.875)
    code, out, _ = ft30("list")
    assert code == 0
    heading, row = out.splitlines()
    assert heading.split()[:3] == ["ID", "NAME", "STATUS"]
    assert row.split()[:3] == [run_id[:8], "first", "SUCCEEDED"]
    assert "87.50 %" in row
    assert "12.5 s" in row


def test_list_filters_sorts_and_pages(ft30, store):
    for name, accuracy in (("alpha one", 0.5), ("beta one", 0.9), ("ALPHA two", 0.7)):
        finish(store, name, accuracy, runtime=accuracy * 100)

    def names(*arguments: str) -> list[str]:
        return [run["name"] for run in json.loads(ft30("list", "--json", *arguments)[1])["runs"]]

    assert names() == ["ALPHA two", "beta one", "alpha one"]
    assert names("--name", "alpha") == ["ALPHA two", "alpha one"]
    assert names("--min_accuracy", "0.6", "--sort_by", "eval_accuracy") == ["beta one", "ALPHA two"]
    assert names("--max-runtime", "60") == ["alpha one"]
    assert names("--sort_by", "name") == ["alpha one", "ALPHA two", "beta one"]
    assert names("--sort_by", "name", "--desc") == ["beta one", "ALPHA two", "alpha one"]
    assert names("--status", "failed") == []
    assert names("--end_date", "2020-01-01") == []
    assert len(names("--start_date", "2020-01-01")) == 3
    first = json.loads(ft30("list", "--json", "--limit", "2")[1])
    assert names("--limit", "2", "--cursor", first["next_cursor"]) == ["alpha one"]
    assert f"next page: --cursor {first['next_cursor']}" in ft30("list", "--limit", "2")[1]


def test_list_says_what_the_scores_are(ft30, store):
    finish(store, "exact", 0.875)
    assert ft30("list")[1].split()[:10] == "ID NAME STATUS CREATED (UTC) MODEL DATA ACCURACY LOSS RUNTIME".split()
    finish(store, "close", None, score=0.25, score_name="eval_mse", score_greater_is_better=False)
    finish(store, "found", None, score=0.5, score_name="eval_hits", score_format="percent")
    finish(store, "before", None, score=0.5, score_name="eval_rate")
    heading, *rows = ft30("list", "--sort_by", "score")[1].splitlines()
    assert "SCORE" in heading.split()
    shown = {"close": "mse 0.2500", "exact": "accuracy 87.50 %", "found": "hits 50.00 %", "before": "rate 0.5000"}
    assert {row.split()[1] for row in rows} == set(shown)
    assert all(shown[row.split()[1]] in row for row in rows)
    assert ft30("list", "--score_name", "eval_mse", "--max-score", "0.1")[1] == "No runs that fit.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--min_score", "nan"], "--min_score: Input should be a finite number"),
        (["--name", "x" * 201], "--name: String should have at most 200 characters"),
        (["--start_date", "yesterday"], "start_date 'yesterday' is no date"),
        (["--cursor", "x"], "the cursor cannot be read"),
        (["--limit", "0"], "0 is not in the range"),
        (["--sort_by", "color"], "'color' is not one of"),
    ],
)
def test_list_refuses_what_it_cannot_read(ft30, store, arguments, message):
    code, out, err = ft30("list", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_show_prints_state_configuration_metrics_rows_and_files(ft30, store):
    run_id = finish(store, "first", 0.875)
    code, out, _ = ft30("show", run_id[:8])
    assert code == 0
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line.split()}
    assert lines["id"] == run_id
    assert lines["status"] == "SUCCEEDED"
    assert lines["training.learning_rate"] == "0.0005"
    assert lines["finished"].endswith(" UTC")
    assert lines["data.dataset_config"] == "sst2"
    assert lines["eval_accuracy"] == "0.875"
    assert lines["train"] == "input 12, used 10, truncated 1, too_short 2"
    assert lines["a.csv"] == "13 lines = 12 rows + 1 header (line 1)"
    assert "metrics.json" in lines
    assert lines["Accuracy"] == "87.50 % 95 % interval 52.91 % to 97.76 %; 8 rows; always 'no': 87.50 %"
    assert lines["Confusion"] == "matrix"
    assert "confusion_matrix" not in out
    tree = json.loads(ft30("show", "latest", "--json")[1])
    assert tree["run"]["metrics"]["eval_confusion_matrix"] == [[6, 1], [0, 1]]
    assert [block["kind"] for block in tree["blocks"]] == ["figure", "table", "matrix", "table", "figure"]
    assert {file["name"] for file in tree["files"]} == {"data_report.json", "history.jsonl", "logs.txt", "metrics.json"}


def test_show_finds_a_local_run_whose_process_is_gone(ft30, store):
    from finetune30.store.process_identity import own_identity

    host, boot, pid, started = own_identity().split(":")
    gone = f"{host}:{boot}:{pid}:{int(float(started)) - 1}"
    run = store.create(ExperimentConfig(), kind="local", results_root=RESULTS, owner=gone)
    store.claim(run.id, owner=gone, lease_seconds=600)
    _, out, _ = ft30("show", "latest")
    assert "FAILED" in out
    assert f"ft30 resume {run.id[:8]}" in out


def test_logs_and_history_print_what_was_written(ft30, store):
    finish(store, "first", 0.875)
    code, out, _ = ft30("logs", "first")
    assert code == 0
    assert out.splitlines()[-1] == "2026-01-02T03:04:06.000Z text \\x1b[31mred"
    assert ft30("logs", "first", "--tail", "1")[1] == out.splitlines(keepends=True)[-1]
    assert ft30("logs", "first", "--attempt", "1")[1] == out
    assert "has no log yet" in ft30("logs", "first", "--attempt", "2")[2]
    table = ft30("history", "first")[1].splitlines()
    assert table[0].split() == ["STEP", "EPOCH", "WHAT", "loss", "learning_rate", "eval_accuracy"]
    assert [line.split()[:3] for line in table[1:]] == [["10", "0.50", "train"], ["20", "1.00", "evaluation"]]
    assert len(json.loads(ft30("history", "first", "--json")[1])) == 2


def test_verify_names_what_is_not_as_it_was_published(ft30, store):
    finish(store, "first", 0.875)
    folder = RunFolder(RESULTS / store.get("first").folder)
    assert ft30("verify", "first")[:2] == (0, f"{folder.path.name}: 4 files are as they were published\n")
    folder.metrics.write_text("{}")
    manifest = json.loads(folder.manifest.read_text())
    folder.manifest.write_text(json.dumps(manifest | {"attempt": 2}))
    code, _, err = ft30("verify", "first")
    assert code == 1
    assert "metrics.json has 2 bytes instead of" in err
    assert "manifest.json is not the one that the database knows" in err
    folder.manifest.unlink()
    code, _, err = ft30("verify", "first")
    assert (code, "manifest.json is missing" in err) == (1, True)


def test_delete_asks_and_refuses_running_runs(ft30, store):
    finish(store, "first", 0.875)
    running = store.create(ExperimentConfig(experiment_name="second"), kind="queued", results_root=RESULTS)
    store.claim(running.id, owner=OWNER, lease_seconds=600)
    code, _, err = ft30("delete", "first")
    assert (code, "add --yes" in err) == (2, True)
    code, _, err = ft30("delete", "second", "--yes")
    assert (code, "is RUNNING and cannot be deleted" in err) == (1, True)
    folder = store.get("first").folder
    code, out, _ = ft30("delete", "first", "--yes")
    assert (code, out) == (0, f"deleted {folder}\n")
    assert not (RESULTS / folder).exists()
    code, _, err = ft30("show", "first")
    assert (code, "there is no run 'first'" in err) == (1, True)


def test_cancel_ends_a_waiting_run_and_asks_a_running_one(ft30, store):
    waiting = store.create(ExperimentConfig(experiment_name="waits"), kind="queued", results_root=RESULTS)
    assert ft30("cancel", "waits")[1] == f"{waiting.folder}: CANCELLED\n"
    running = store.create(ExperimentConfig(experiment_name="runs"), kind="queued", results_root=RESULTS)
    store.claim(running.id, owner=OWNER, lease_seconds=600)
    assert ft30("cancel", "runs")[1] == f"{running.folder}: asked to stop\n"
    assert store.get(running.id).cancel_requested
    assert store.get(running.id).status is RunStatus.RUNNING


def test_output_dir_names_another_folder_of_runs(ft30, tmp_path):
    other = tmp_path / "other"
    store = open_store(f"sqlite:///{other}/experiments.db")
    store.create(ExperimentConfig(experiment_name="elsewhere"), kind="queued", results_root=other)
    store.close()
    assert "elsewhere" in ft30("list", "--output_dir", str(other))[1]
    assert "No runs yet" in ft30("list")[1]
    code, _, err = ft30("show", "latest")
    assert (code, "no runs in results" in err) == (1, True)


def test_settings_that_name_an_unreachable_database_end_in_two_lines(ft30, monkeypatch):
    monkeypatch.setenv("FT30_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/none")
    code, out, err = ft30("list")
    assert (code, out) == (1, "")
    assert err.startswith("Error: database postgresql+psycopg://nobody:***@127.0.0.1:1/none: connection")
    assert "Try: check that PostgreSQL runs there" in err
    assert "secret" not in err


def test_edit_writes_on_runs_and_the_table_shows_it(ft30, store):
    first, second = finish(store, "first", 0.5), finish(store, "second", 0.75)
    folder = store.get(first).folder
    code, out, _ = ft30("edit", "first", "--name", "the one", "--note", "keep", "--tag", "baseline", "--star")
    assert (code, out) == (0, f"edited {folder}\n")
    run = store.get("the one")
    assert (run.id, run.folder, run.note, run.tags, run.starred) == (first, folder, "keep", ("baseline",), True)
    heading, *rows = ft30("list", "--sort_by", "name")[1].splitlines()
    assert heading.split()[:3] == ["ID", "NAME", "TAGS"]
    assert rows[1].split()[1:5] == ["*", "the", "one", "baseline"]
    shown = ft30("show", "the one")[1]
    assert "the one *" in shown
    assert "keep" in shown
    assert ft30("edit", first[:8], second[:8], "--untag", "baseline", "--archive")[0] == 0
    code, out, err = ft30("list")
    assert (out, "2 archived runs are not shown: --archived all" in err) == ("No runs that fit.\n", True)
    listed = json.loads(ft30("list", "--json", "--archived", "only")[1])["runs"]
    assert {run["name"] for run in listed} == {"the one", "second"}
    assert [run["name"] for run in json.loads(ft30("list", "--json", "--archived", "all", "--starred")[1])["runs"]] == [
        "the one"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "there is nothing to change"),
        (("--tag", "a,b"), "is no tag of a run"),
        (("--name", "no/slash"), "experiment_name"),
        (("--note", "x" * 4001), "note: String should have at most 4000 characters"),
    ],
)
def test_edit_refuses_what_cannot_be_written_and_its_help_says_what_can(ft30, store, arguments, message):
    finish(store, "first", 0.5)
    code, _, err = ft30("edit", "first", *arguments)
    assert (code, message in err) == (2, True), err
    assert store.get("first").edits == 0
    code, out, _ = ft30("edit", "--help")
    assert (code, "at most 4000 characters" in " ".join(out.split())) == (0, True)
    assert ft30("edit", "first", "--note", "x" * 4000, "--tag", "y" * 32)[0] == 0


def test_a_name_is_for_one_run(ft30, store):
    for name in ("first", "second"):
        finish(store, name, 0.5)
    code, _, err = ft30("edit", "first", "second", "--name", "both", "--star")
    assert (code, "a name or note is for one run" in err) == (2, True)
    assert ft30("edit", "first", "second", "--star")[0] == 0
    assert ft30("edit", "first", "--name", "both")[0] == 0
    assert (store.get("both").starred, store.get("second").starred) == (True, True)


def test_many_are_cancelled_and_those_that_ended_are_named(ft30, store):
    ended = finish(store, "ended", 0.5)
    configs = [ExperimentConfig(experiment_name=f"waiting {n}") for n in range(2)]
    waiting = [store.create(config, kind="queued", results_root=RESULTS).id for config in configs]
    folders = [store.get(run_id).folder for run_id in waiting]
    code, out, err = ft30("cancel", waiting[0], ended, waiting[1])
    assert (code, out.splitlines()) == (1, [f"{folder}: CANCELLED" for folder in folders])
    assert f"run {ended} is SUCCEEDED" in err
    assert ft30("cancel", *waiting)[0] == 0  # already so
