"""`ft30 data` in real processes: what it prints, writes and exits with."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.fork_server import Ended, ForkServer

pytestmark = pytest.mark.integration


def run_cold(*arguments: object, folder: Path) -> Ended:
    """Run `ft30 data` in a process that has imported nothing."""
    command = [sys.executable, "-m", "finetune30", "data", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def ft30(fork_server: ForkServer) -> Callable[..., Ended]:
    """Run `ft30 data` in a folder, and look at its exit code."""

    def run(*arguments: object, folder: Path, code: int = 0) -> Ended:
        ended = fork_server.run("data", *map(str, arguments), cwd=folder)
        assert ended.returncode == code, ended.stderr + ended.stdout
        return ended

    return run


def test_default_set_falls_back_loudly_and_prints_the_documented_keys(ft30, tmp_path):
    result = run_cold("analyze", "--json", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    tree = json.loads(result.stdout)
    assert tree["total_samples"] == 500
    assert tree["label_counts"] == {"negative": 250, "positive": 250}
    assert (tree["imbalance_ratio"], tree["is_balanced"]) == (1.0, True)
    assert "WARNING: HF_HUB_OFFLINE is set: using 'starter' instead of 'glue'" in result.stderr
    assert "imbalance_ratio: 1.0" in ft30("analyze", folder=tmp_path).stdout


def test_validate_names_places_and_exits_with_1_on_errors(ft30, tmp_path):
    (tmp_path / "a.csv").write_text(
        "text,label\n" + "".join(f"word{i} number {i},{i % 2}\n" for i in range(50)) + ",1\n"
    )
    result = ft30("validate", "a.csv", "--report", "r.json", "--quarantine", "q.jsonl", folder=tmp_path, code=1)
    assert "a.csv:52:1" in result.stdout
    assert "a training would not start: 1 faulty train rows (2.0%" in result.stdout
    assert json.loads((tmp_path / "r.json").read_text())["errors"] == 1
    assert json.loads((tmp_path / "q.jsonl").read_text())["reason"] == "empty_text"
    assert "0 of them errors" in ft30("validate", "starter", folder=tmp_path).stdout


def test_the_data_are_named_as_in_a_training_too(ft30, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\none text here,x\nanother text,y\n")
    named = ft30("validate", "a.csv", folder=tmp_path).stdout
    assert ft30("validate", "--dataset", "a.csv", folder=tmp_path).stdout == named
    assert ft30("validate", "--dataset_name", "a.csv", folder=tmp_path).stdout == named
    refused = ft30("validate", "a.csv", "--dataset", "b.csv", folder=tmp_path, code=2).stderr
    assert refused.startswith("Error: SOURCE and --dataset cannot both say what to look at")


def test_broken_file_is_two_lines_on_stderr(ft30, tmp_path):
    (tmp_path / "a.csv").write_text('text,label\n"open,1\n')
    result = ft30("validate", "a.csv", folder=tmp_path, code=1)
    assert result.stderr.splitlines()[-2].startswith("Error: a.csv:2:1: the quote that opens here is never closed")


def test_tag_of_another_version_is_never_moved_in_passing(ft30, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\none text here,x\nanother text,y\n")
    (tmp_path / "b.csv").write_text("text,label\na third text,x\na fourth text,y\n")
    create = ("versions", "create", "--tag", "gold", "--json")
    first = json.loads(ft30(*create, "a.csv", folder=tmp_path).stdout)
    assert json.loads(ft30(*create, "a.csv", folder=tmp_path).stdout)["is_new"] is False
    refused = ft30(*create, "b.csv", folder=tmp_path, code=1)
    second = json.loads(refused.stdout)
    assert f"the tag 'gold' points at version {first['digest'][:12]}" in refused.stderr
    assert f"ft30 data versions tag gold {second['digest'][:12]} --move" in refused.stderr
    assert json.loads(ft30("versions", "show", "gold", "--json", folder=tmp_path).stdout)["digest"] == first["digest"]
    ft30("versions", "tag", "gold", second["digest"][:12], "--move", folder=tmp_path)  # as the error says
    assert json.loads(ft30("versions", "show", "gold", "--json", folder=tmp_path).stdout)["digest"] == second["digest"]


def test_name_that_is_no_tag_is_refused_before_anything_is_stored(ft30, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\none text here,x\nanother text,y\n")
    refused = ft30("versions", "create", "a.csv", "--tag", "../evil", folder=tmp_path, code=2)
    assert "'../evil' is no tag" in refused.stderr
    assert not (tmp_path / "data_store" / "versions").exists()


def test_version_from_clean_rows_to_diff_checkout_and_gc(ft30, tmp_path):
    (tmp_path / "a.csv").write_text(
        "text,label\none text here,x\nanother  text,y\none text here,x\n<b>bold</b> text,y\n"
    )
    raw = json.loads(ft30("versions", "create", "a.csv", "--json", folder=tmp_path).stdout)
    clean = json.loads(
        ft30("versions", "create", "a.csv", "--clean", "--tag", "clean", "--json", folder=tmp_path).stdout
    )
    assert clean["rows"] == {"train": 3}
    assert [step["step"] for step in clean["recipe"]][-2:] == ["dedupe", "drop_by_rule"]
    diff = json.loads(ft30("versions", "diff", raw["digest"][:8], "clean", "--json", folder=tmp_path).stdout)
    assert diff["counts"] == {"added": 0, "removed": 1, "relabelled": 0, "changed": 2, "unchanged": 1}
    ft30("versions", "checkout", "clean", "out", "--format", "jsonl", folder=tmp_path)
    again = json.loads(ft30("versions", "create", "out", "--json", folder=tmp_path).stdout)
    assert (again["digest"], again["is_new"]) == (clean["digest"], False)
    listed = json.loads(ft30("versions", "list", "--json", folder=tmp_path).stdout)["versions"]
    assert {version["digest"]: version["tags"] for version in listed} == {raw["digest"]: [], clean["digest"]: ["clean"]}
    assert "would remove 1 version" in ft30("versions", "gc", "--dry-run", "--keep-days", "0", folder=tmp_path).stdout
    ft30("versions", "gc", "--keep-days", "0", folder=tmp_path)
    assert ft30("versions", "verify", folder=tmp_path).stdout == f"{clean['digest'][:12]}: ok\n"
    (chunk,) = (tmp_path / "data_store" / "chunks").glob("*/*")
    chunk.write_bytes(b"damaged")
    assert "missing or cannot be read" in ft30("versions", "verify", folder=tmp_path, code=1).stdout


def test_clean_writes_files_and_runs_a_recipe_again_to_the_same_content(ft30, tmp_path):
    (tmp_path / "a.tsv").write_text("text\tlabel\n  spaced   out \tx\nspaced out\tx\n")
    (tmp_path / "recipe.yaml").write_text("- step: white_space\n- step: dedupe\n")
    first = json.loads(
        ft30("clean", "a.tsv", "--out", "o", "--recipe", "recipe.yaml", "--json", folder=tmp_path).stdout
    )
    assert (tmp_path / "o" / "train.csv").read_text() == '"text","label"\n"spaced out","x"\n'
    assert (first["rows_after"], first["dropped"]) == (1, {"dedupe": 1})
    again = json.loads(ft30("clean", "o", "--out", "p", "--recipe", "recipe.yaml", "--json", folder=tmp_path).stdout)
    assert again["content_digest"] == first["content_digest"]
    (tmp_path / "recipe.yaml").write_text("- step: wash\n")
    result = ft30("clean", "a.tsv", "--out", "q", "--recipe", "recipe.yaml", folder=tmp_path, code=2)
    assert "step 1 of the recipe is 'wash'" in result.stderr


def test_page_with_plots_is_written(ft30, tmp_path):
    ft30("analyze", "starter-zh", "--html", "r.html", "--language", "zh-TW", "--against", "starter", folder=tmp_path)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "資料報告" in page
    assert "<svg" in page


def test_relabel_makes_a_version_of_a_reviewed_file_and_names_the_line_of_what_it_does_not_know(ft30, tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"text": "a first text", "label": ["joy"]}\n{"text": "a second text", "label": ["anger", "joy"]}\n'
        '{"text": "a third text", "label": ["anger"]}\n'
    )
    made = json.loads(ft30("versions", "create", "a.jsonl", "--json", folder=tmp_path).stdout)
    assert made["problem_type"] == "multi_label_classification"
    review = tmp_path / "review.csv"
    review.write_text(f"row;new_label;version\n0;joyful;{made['digest']}\n")
    refused = ft30("relabel", "review.csv", folder=tmp_path, code=1)
    assert "review.csv:2: 'joyful' is no label of this version" in refused.stderr
    assert "use one of: JSON lists of anger, joy" in refused.stderr
    listed = json.loads(ft30("versions", "list", "--json", folder=tmp_path).stdout)["versions"]
    assert [version["digest"] for version in listed] == [made["digest"]]
    review.write_text(f'row;new_label;version\n0;"[""joy"", ""anger""]";{made["digest"]}\n2;REMOVE;{made["digest"]}\n')
    done = ft30("relabel", "review.csv", "--tag", "reviewed", folder=tmp_path)
    assert "1 label changed, 1 row removed" in done.stdout
    shown = json.loads(ft30("versions", "show", "reviewed", "--json", folder=tmp_path).stdout)
    assert shown["statistics"]["label_counts"] == {"anger": 2, "joy": 2}


def test_what_labels_were_taken_for_is_said_and_can_be_said_otherwise(ft30, tmp_path):
    lines = [json.dumps({"text": f"text number {n}", "label": ["no", "yes"][n % 2 :][:1]}) for n in range(30)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    told = ft30("validate", "a.jsonl", "--json", folder=tmp_path)
    tree = json.loads(told.stdout)
    assert tree["problem_type"] == "single_label_classification"
    assert [entry["key"] for entry in tree["detected"]] == [
        *["model.problem_type"] * 2,
        "data.text_column",
        "data.label_column",
    ]
    assert "labels read as one a row: each of the 30 labels is a list of one item" in told.stderr
    otherwise = ft30("validate", "a.jsonl", "--problem_type", "multi_label_classification", "--json", folder=tmp_path)
    assert json.loads(otherwise.stdout)["problem_type"] == "multi_label_classification"


def test_label_columns_are_named_by_the_error_and_taken_as_it_says(ft30, tmp_path):
    rows = "".join(f"{n},this is comment number {n},{n % 2},{n // 2 % 2}\n" for n in range(30))
    (tmp_path / "a.csv").write_text("id,comment_text,toxic,obscene\n" + rows)
    refused = ft30("validate", "a.csv", folder=tmp_path, code=1)
    assert "set data.label_columns to ['toxic', 'obscene']" in refused.stderr
    columns = ("--label_columns", "toxic", "--label_columns", "obscene")
    tree = json.loads(ft30("validate", "a.csv", *columns, "--json", folder=tmp_path).stdout)
    assert (tree["problem_type"], tree["errors"]) == ("multi_label_classification", 0)


def test_cleaning_writes_labels_as_the_file_wrote_them(ft30, tmp_path):
    rows = "".join(f"this is text number {n},{('0101', '0912')[n % 2]}\n" for n in range(30))
    (tmp_path / "a.csv").write_text("text,label\n" + rows)
    ft30("clean", "a.csv", "--out", "clean", folder=tmp_path)
    assert (tmp_path / "clean" / "train.csv").read_text().count('"0101"') == 15


def test_commands_that_errors_about_data_name_do_what_is_said(ft30, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"this is text number {n},{n % 2}\n" for n in range(30)))
    for command in (("versions", "show", "nothing"), ("versions", "tag", "--delete", "nothing")):
        refused = ft30(*command, folder=tmp_path, code=1)
        assert "list them with: ft30 data versions list" in refused.stderr
    made = json.loads(ft30("versions", "create", "a.csv", "--json", folder=tmp_path).stdout)
    assert made["digest"][:12] in ft30("versions", "list", folder=tmp_path).stdout
    checkout = ("versions", "checkout", made["digest"], "out")
    ft30(*checkout, folder=tmp_path)
    assert "choose another folder, or give --overwrite" in ft30(*checkout, folder=tmp_path, code=1).stderr
    ft30(*checkout, "--overwrite", folder=tmp_path)
    (tmp_path / "all.yaml").write_text("- step: drop_by_rule\n  rules: [too_short]\n")
    (tmp_path / "b.csv").write_text("text,label\na1,0\nb2,1\n")
    refused = ft30("versions", "create", "b.csv", "--recipe", "all.yaml", folder=tmp_path, code=1)
    assert "look at its steps with: ft30 data clean" in refused.stderr
    steps = ft30("clean", "b.csv", "--recipe", "all.yaml", "--out", "c", folder=tmp_path)
    assert "drop_by_rule         2 rows dropped" in steps.stdout


def test_a_strict_gate_names_the_command_that_lists_every_fault(ft30, tmp_path):
    rows = "".join(f"this is text number {n},{n % 2}\n" for n in range(30)) + "hm,0\nha,1\n"
    (tmp_path / "a.csv").write_text("text,label\n" + rows)
    (tmp_path / "c.yaml").write_text(
        "data: {dataset_name: a.csv, gate: {mode: strict}, validation_rules: {min_text_length: 5}}\n"
    )
    told = ft30("validate", "--config", "c.yaml", folder=tmp_path, code=1)
    assert "a training would not start: a.csv:32:1: too_short" in told.stdout
    listed = ft30("validate", "a.csv", folder=tmp_path)
    assert "a.csv:32:1" in listed.stdout
    assert "a.csv:33:1" in listed.stdout
