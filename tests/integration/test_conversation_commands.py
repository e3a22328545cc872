"""`ft30 data` on conversations in real processes, from a file with broken rows to files that give the same rows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune30.config.loading import load_config
from finetune30.service.datasets.preview import preview_data
from finetune30.service.datasets.proposal import propose_settings
from finetune30.settings import Settings
from support.chat_models import build_tiny_chat
from support.fork_server import ForkServer

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


@pytest.fixture
def ft30(fork_server: ForkServer) -> Callable[..., str]:
    """Run `ft30 data` in a folder, look at its exit code, and return what it prints."""

    def run(*arguments: str, folder: Path, code: int = 0) -> str:
        ended = fork_server.run("data", *arguments, cwd=folder)
        assert ended.returncode == code, ended.stderr + ended.stdout
        return ended.stdout

    return run


def test_conversations_go_through_every_command(ft30, folder):
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
def test_a_version_written_out_and_read_again_is_the_same_version(ft30, folder, format_name):
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


def test_a_row_is_shown_as_it_is_trained_on(ft30: Callable[..., str], folder: Path) -> None:
    build_tiny_chat(folder / "base")
    asked = ("tokens", "rows.jsonl", "--model", "base", "--data.gate.max_faulty_share", "1")
    said = ft30(*asked, "--row", "7", folder=folder).splitlines()
    assert said[0].startswith("rows.jsonl:7 (train) under base: ") or said[0].startswith("rows.jsonl:7 (evaluation)")
    kinds = [line.split()[0] for line in said[1:]]
    assert kinds == ["template", "context", "template", "supervised", "template"]
    texts = [line.split(maxsplit=2)[2] for line in said[1:]]
    assert texts == [
        "<|im_start|>user\\n",
        "What is 2+2?",
        "<|im_end|>\\n<|im_start|>assistant\\n",
        "It is four.<|im_end|>",
        "\\n",
    ]
    tree = json.loads(ft30(*asked, "--row", "rows.jsonl:7", "--json", folder=folder))
    assert tree["counts"]["supervised"] == len(tree["pieces"][3]["ids"])
    assert sum(tree["counts"].values()) == sum(len(piece["ids"]) for piece in tree["pieces"])
    longer = sum(tree["counts"].values())
    for overlong in ("cut", "keep_answer"):
        short = ("--data.max_length", str(longer - 4), "--chat.overlong", overlong, "--json")
        cut = json.loads(ft30(*asked, "--row", "7", *short, folder=folder))
        assert cut["counts"]["truncated"] == 4
        assert [len(piece["ids"]) for piece in cut["pieces"] if piece["kind"] == "truncated"] == [4]
        place = {"cut": -1, "keep_answer": 1}[overlong]  # what stands before a question stays
        assert cut["pieces"][place]["kind"] == "truncated"
        assert "".join(piece["text"] for piece in cut["pieces"]) == "".join(piece["text"] for piece in tree["pieces"])


def test_a_row_that_is_set_aside_or_not_there_is_said(
    ft30: Callable[..., str], fork_server: ForkServer, folder: Path
) -> None:
    build_tiny_chat(folder / "base")
    asked = ("tokens", "rows.jsonl", "--model", "base", "--data.gate.max_faulty_share", "1", "--row")
    for row, found in (("10", "rows.jsonl:10 is set aside as 'unknown_role'"), ("99", "stands at rows.jsonl:99")):
        refused = fork_server.run("data", *asked, row, cwd=folder)
        assert refused.returncode == 1
        assert found in refused.stderr
        named = refused.stderr.rpartition("for example ")[2].split(",")[0].strip()
        assert ft30(*asked, named, folder=folder).startswith(f"{named} (train)")


def test_whose_tokens_and_of_what_rows_is_said_and_done(
    ft30: Callable[..., str], fork_server: ForkServer, folder: Path
) -> None:
    build_tiny_chat(folder / "base")

    def refused(*arguments: str) -> str:
        ended = fork_server.run("data", "tokens", *arguments, cwd=folder)
        assert ended.returncode != 0
        return ended.stderr

    assert "tokens are those of starter-chat; of another model: add --model NAME" in refused("nowhere.jsonl")
    assert "starter-chat" not in refused("nowhere.jsonl", "--model", "base")
    said = refused("--preset", "starter", "--model", "base")
    assert "these rows are read for 'single_label_classification'" in said
    assert "if they hold such, add --problem_type causal_lm" in said
    assert "supervised" in ft30(
        "tokens", "--preset", "starter", "--model", "base", "--problem_type", "causal_lm", folder=folder
    )
