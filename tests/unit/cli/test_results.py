"""The table that a finished training ends with."""

from __future__ import annotations

import sys

import pytest

from finetune30.cli.results import print_results

METRICS = {
    "problem_type": "single_label_classification",
    "labels": ["no", "yes"],
    "eval_accuracy": 0.75,
    "eval_confusion_matrix": [[2, 0], [1, 1]],
    "train_runtime": 2.5,
    "environment": {"device": "cpu", "precision": "bf16"},
}


@pytest.mark.parametrize("is_active", [True, False])
def test_command_to_try_is_one_that_this_shell_can_call(is_active, tmp_path, monkeypatch, capsys):
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir(parents=True)
    (scripts / "ft30").touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(scripts / "python"))
    monkeypatch.setenv("PATH", str(scripts) if is_active else "/nowhere")
    print_results("0123456789abcdef", "first", tmp_path / "results", METRICS)
    name = "ft30" if is_active else ".venv/bin/ft30"
    assert capsys.readouterr().out.endswith(f'try it:  {name} predict 01234567 "some text"\n')


def test_figures_stand_in_the_table_with_what_judges_them(tmp_path, capsys):
    print_results("0123456789abcdef", "first", tmp_path / "results", METRICS | {"replaced": {"glue": "starter"}})
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    rows = [tuple(line) for line in lines if line]
    assert rows == [
        ("instead of", "glue: starter"),
        ("Accuracy", "75.00 %"),
        ("", "95 % interval 30.06 % to 95.44 %"),
        ("", "4 rows"),
        ("", "always 'no': 50.00 %"),
        ("Training time", "2.5 s"),
        ("Device", "cpu, bf16"),
    ]
