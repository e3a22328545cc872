"""Tokens of conversations as analysis and rules count them: those that are trained on, with the template's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from finetune30.config.chat import ChatConfig
from finetune30.config.schema import ModelConfig
from finetune30.problems import load_problem
from finetune30.service.datasets.operations import request_of_source
from finetune30.service.datasets.reports import analyze_data, check_data
from finetune30.service.datasets.token_counting import find_token_counter
from finetune30.settings import load_settings
from support.chat_models import build_tiny_chat, build_tiny_tokenizer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_chat(tmp_path_factory.mktemp("counted"))


def conversation(answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "Where is the shop?"}, {"role": "assistant", "content": answer}]


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
    rows += [{"messages": conversation("there " * 300)}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    request = request_of_source(str(path), max_length=100)
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
