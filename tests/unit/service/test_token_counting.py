"""Tokens of conversations as analysis and rules count them: those that are trained on, with the template's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from finetune30.config.chat import ChatConfig
from finetune30.config.schema import ModelConfig
from finetune30.data.encoding import NO_ANSWER_LEFT, OVERLONG, TEMPLATE_REFUSES
from finetune30.problems import load_problem
from finetune30.service.datasets.operations import DatasetRequest, request_of_source
from finetune30.service.datasets.reports import analyze_data, check_data
from finetune30.service.datasets.token_counting import find_token_counter
from finetune30.settings import load_settings
from support.chat_models import TEMPLATES, build_tiny_chat, build_tiny_tokenizer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_chat(tmp_path_factory.mktemp("counted"))


def conversation(answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "Where is the shop?"}, {"role": "assistant", "content": answer}]


def write(folder: Path, rows: Sequence[object]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def found_in(request: DatasetRequest, base: Path) -> dict[str, tuple[str, str]]:
    """Return severity and what to do of the findings about tokens, by rule and place."""
    rows = check_data(request, load_settings(), lambda _: None, model=str(base)).validation.findings
    told = rows.filter(pl.col("rule").is_in(["truncated", OVERLONG, NO_ANSWER_LEFT, TEMPLATE_REFUSES]))
    return {f"{row['rule']} {row['line']}": (row["severity"], row["fix"]) for row in told.iter_rows(named=True)}


def test_what_the_template_writes_is_counted(base: Path) -> None:
    chat, problem = ChatConfig(), load_problem("causal_lm")
    count = find_token_counter([ModelConfig(name=str(base))], problem, chat, lambda _: None, base)
    assert count is not None
    talks = [conversation("here"), conversation("there" * 50)]
    rows = [json.dumps({"messages": talk}) for talk in talks] + [json.dumps({"text": "tea " * 100})]
    counted = count(rows, None)
    tokenizer = build_tiny_tokenizer()
    assert counted.lengths[:2] == [len(tokenizer.apply_chat_template(talk, return_dict=False)) for talk in talks]
    assert counted.in_parts == [2]


def test_rows_that_are_cut_are_found_and_long_texts_are_not_cut(base: Path, tmp_path: Path) -> None:
    rows = [{"messages": conversation(f"here {n}")} for n in range(10)]
    rows += [{"messages": [*conversation("there " * 300), *conversation("at the corner")]}]
    request = request_of_source(write(tmp_path, rows), max_length=100)
    said: list[str] = []
    checked = check_data(request, load_settings(), said.append, model=str(base))
    assert [entry["count"] for entry in checked.validation.summary() if entry["rule"] == "truncated"] == [1]
    analysis = analyze_data(request, load_settings(), said.append, model=str(base))
    assert max(part["lengths"]["tokens"]["max"] for part in analysis["splits"].values()) > 300
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"{n} " + "tea " * 200}) + "\n" for n in range(9)), encoding="utf-8")
    asked = replace(request_of_source(str(texts), max_length=100), problem_type="causal_lm")
    whole = check_data(asked, load_settings(), said.append, model=str(base))
    assert not [entry for entry in whole.validation.summary() if entry["rule"] == "truncated"]


def test_conversations_are_held_against_the_length_that_their_training_takes(base: Path, tmp_path: Path) -> None:
    rows = [{"messages": conversation(f"here {n} " + "and there " * 60)} for n in range(4)]
    path = write(tmp_path, rows)
    assert request_of_source(path).data.max_length < 200
    assert found_in(request_of_source(path), base) == {}
    assert {place.split()[0] for place in found_in(request_of_source(path, max_length=128), base)} == {NO_ANSWER_LEFT}


def test_rows_that_a_training_sets_aside_or_cuts_are_found_with_what_becomes_of_them(tmp_path: Path) -> None:
    base = build_tiny_chat(tmp_path / "strict", template=TEMPLATES["strict"])
    rows: list[dict[str, Any]] = [{"messages": conversation(f"here {n}")} for n in range(4)]
    rows += [
        {"messages": conversation("there " * 300)},
        {"messages": [*conversation("there " * 300), *conversation("at the corner")]},
        {"messages": [*conversation("wait"), *conversation("sold out")]},
    ]
    rows[-1]["messages"][1] = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "stock"}}]}
    rows[-1]["messages"][2:2] = [{"role": "tool", "content": "none"}, {"role": "assistant", "content": "none left"}]
    rows[-1] |= {"tools": [{"function": {"name": "stock"}}]}  # strict templates want user and assistant in turn
    request = replace(request_of_source(write(tmp_path, rows), max_length=100), problem_type="causal_lm")
    kept = found_in(request, base)
    assert kept.keys() == {f"{NO_ANSWER_LEFT} 5", "truncated 6", f"{TEMPLATE_REFUSES} 7"}
    assert {severity for severity, _ in kept.values()} == {"error", "warn"}
    assert kept["truncated 6"][1].endswith("the oldest context is left out, the answer stays")
    assert "roles must alternate" in kept[f"{TEMPLATE_REFUSES} 7"][1]
    cut = found_in(replace(request, chat=ChatConfig(overlong="cut")), base)
    assert cut["truncated 5"][1].endswith("the end is cut off")
    dropped = found_in(replace(request, chat=ChatConfig(overlong="drop")), base)
    assert [dropped[f"{OVERLONG} {line}"][0] for line in (5, 6)] == ["warn", "warn"]
    checked = check_data(request, load_settings(), lambda _: None, model=str(base))
    assert set(checked.quarantine["reason"]) == {NO_ANSWER_LEFT, TEMPLATE_REFUSES}
    assert checked.refusal is not None
    assert f"{NO_ANSWER_LEFT}" in checked.refusal
