"""Test rows that a run has seen are left out: what an earlier turn of a conversation asked is seen too."""

from __future__ import annotations

import json
from pathlib import Path

from finetune30.config import ExperimentConfig
from finetune30.data.prepare import prepare_data, record_version
from finetune30.data.versions.storage import VersionStore
from finetune30.problems import choose_problem
from finetune30.service.testing.rows import open_rows
from finetune30.service.testing.sources import SourceOfTest


def write(path: Path, *conversations: tuple[str, ...]) -> str:
    rows = [
        {"messages": [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]}
        for turns in conversations
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_test_row_that_an_earlier_turn_of_a_training_row_asks_is_left_out(tmp_path: Path) -> None:
    follow = ("And when does it close on Sundays?", "At nine.")
    learnt = [(f"Where is museum {n}?", f"On hill {n}.", *follow) for n in range(6)]
    train = write(tmp_path / "train.jsonl", *learnt[:5])
    evaluation = write(tmp_path / "eval.jsonl", learnt[5])
    asked = [(f"Where is museum {n}?", "Nobody knows.") for n in (2, 5, 9)]
    test = write(tmp_path / "test.jsonl", *asked)
    gate = {"max_faulty_share": 1.0, "max_leaking_share": 1.0, "near_duplicates": False}
    data = {"dataset_name": train, "eval_file": evaluation, "gate": gate}
    config = ExperimentConfig.model_validate({"model": {"problem_type": "causal_lm"}, "data": data})
    problem = choose_problem("causal_lm")
    prepared = prepare_data(config.data, problem=problem, num_labels=2, seed=1, log=lambda _: None)
    versions = VersionStore(tmp_path / "store")
    manifest = record_version(prepared, versions)
    opened = open_rows(SourceOfTest("file", test), config, manifest, versions, prepared.targets, lambda _: None)
    assert opened.left_out == {"leakage": 2}
    assert opened.frame["row_id"].to_list() == ["test.jsonl:3"]
