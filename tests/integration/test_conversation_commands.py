"""`ft30 data` on conversations in real processes, from a file with broken rows to files that give the same rows."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune30.config.loading import load_config
from finetune30.service.datasets.preview import preview_data
from finetune30.service.datasets.proposal import propose_settings
from finetune30.settings import Settings

pytestmark = pytest.mark.integration

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"default": None}}}}}
GOOD: list[dict[str, Any]] = [
    {
        "messages": [
            {"role": "user", "content": f"問題 {n}：台北在哪裡？"},
            {"role": "model", "content": f"在台灣，第 {n} 次。"},
        ]
    }
    for n in range(6)
] + [
    {"conversations": [{"from": "human", "value": "What is 2+2?"}, {"from": "gpt", "value": "It is four."}]},
    {
        "conversations": [{"from": "user", "value": "Is it so?"}, {"from": "bing", "value": "It is so."}],
        "system": "Be kind.",
    },
    {
        "messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello to you."}],
        "tools": [TOOL],
    },
]
BROKEN: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "Hm?"}, {"role": "wizard", "content": "Abracadabra."}]},
    {"messages": '[{"role": "user", '},
    {"messages": [{"role": "user", "content": "And?"}, {"role": "assistant", "content": ""}]},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in [*GOOD, *BROKEN])
    (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def ft30(*arguments: str, folder: Path, code: int = 0) -> str:
    command = [sys.executable, "-m", "finetune30", "data", *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == code, result.stderr + result.stdout
    return result.stdout


def test_conversations_go_through_every_command(folder):
    said = ft30("validate", "rows.jsonl", "--quarantine", "aside.jsonl", folder=folder, code=1)
    assert all(f"rows.jsonl:{line}  " in said for line in (10, 11, 12))
    assert "turn 2 (assistant): empty answer" in said
    aside = [json.loads(line) for line in (folder / "aside.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["reason"] for row in aside] == ["unknown_role", "broken_conversation", "empty_answer"]
    assert json.loads(aside[0]["conversation"]) == BROKEN[0]["messages"]
    analysis = ft30("analyze", "rows.jsonl", folder=folder)
    assert "user: 問題 0：台北在哪裡？" in analysis
    assert "answers by script: 6 Han" in analysis
    cleaned = ft30("clean", "rows.jsonl", "--output", "clean", "--format", "parquet", folder=folder)
    assert "12 rows before, 9 after" in cleaned
    ft30("versions", "create", "rows.jsonl", "--tag", "raw", folder=folder)
    ft30("versions", "create", "clean", "--tag", "good", folder=folder)
    assert "3 removed, 0 relabelled, 0 changed, 9 unchanged" in ft30("versions", "diff", "raw", "good", folder=folder)
    shown = ft30("versions", "show", "good", folder=folder)
    assert "  user: 問題 0：台北在哪裡？\n  assistant: 在台灣，第 0 次。" in shown
    assert "3 of them errors" in ft30("validate", "version:raw", folder=folder, code=1)


@pytest.mark.parametrize("format_name", ["csv", "jsonl", "parquet"])
def test_a_version_written_out_and_read_again_is_the_same_version(folder, format_name):
    first = json.loads(ft30("versions", "create", "rows.jsonl", "--json", folder=folder))
    ft30("versions", "checkout", first["digest"], "out", "--format", format_name, folder=folder)
    again = json.loads(ft30("versions", "create", "out", "--json", folder=folder))
    assert (again["digest"], again["is_new"]) == (first["digest"], False)


def test_preview_and_proposal_show_conversations(folder):
    settings = Settings(data_folder=folder / "data")
    loaded = load_config(None, {"data.dataset_name": str(folder / "rows.jsonl"), "data.dataset_config": None})
    preview = preview_data(loaded, settings)
    assert preview["problem_type"] == "causal_lm"
    assert all(json.loads(row["conversation"])["messages"] for row in preview["rows"])
    totals = preview["ledger"]["totals"]["train"]
    assert totals["used"] + totals["moved_to_evaluation"] == len(GOOD)
    assert totals["dropped"] == {"broken_conversation": 1, "empty_answer": 1, "unknown_role": 1}
    proposed = propose_settings(loaded.config, settings)
    assert (proposed["problem_type"], proposed["labels"], proposed["script"]) == ("causal_lm", [], "Han")
    assert not {key for key in proposed["settings"] if key.endswith("_column")}
