"""Two processes train a language model on the packed path: as one does, with the answers of the first one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.exactness import history_of
from support.fork_server import ForkServer
from support.gang import Gang
from support.talk_lab import TalkLab, write_config, write_conversations

pytestmark = pytest.mark.integration

#: 21 rows by 2 x 2 processes: of the last step of an epoch the second process has no row.
ROWS, STEPS = 21, 12
TOGETHER: dict[str, Any] = {
    "lora.lora_dropout": 0.0,  # each process draws its own
    "training.gradient_accumulation_steps": 1,
    "training.logging_steps": 1,
}


def test_they_take_the_steps_of_one_and_the_first_one_answers(
    both_servers: tuple[ForkServer, ForkServer], tmp_path: Path
) -> None:
    lab = TalkLab(both_servers[0], tmp_path)
    write_conversations(tmp_path / "train.jsonl", ROWS)
    write_config(tmp_path / "config.yaml", TOGETHER)
    gang = Gang(both_servers, lab)
    first, second = gang.run("train", "--config", "config.yaml", results="two")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    alone = lab.train("one", {**TOGETHER, "training.per_device_train_batch_size": 4})
    assert alone.returncode == 0, alone.stderr

    folder = lab.run_folder("two")
    assert "training path: packed" in (folder / "logs.txt").read_text(encoding="utf-8")
    two, one = (_losses(lab.run_folder(results)) for results in ("two", "one"))
    assert len(two) == len(one) == STEPS
    assert two == pytest.approx(one, rel=1e-5)
    metrics, expected = lab.metrics("two"), lab.metrics("one")
    compared = [name for name in expected if name.endswith(("_loss", "_exact_match", "_expected_share", "_chrf"))]
    assert len(compared) >= 8
    assert {name: metrics[name] for name in compared} == pytest.approx({n: expected[n] for n in compared}, rel=1e-4)
    assert len((folder / "generations.jsonl").read_text(encoding="utf-8").splitlines()) == 3

    replayed, _ = gang.run("replay", "latest", "--json", results="two")
    assert json.loads(replayed.stdout)["identical"], replayed.stderr


def _losses(run: Path) -> list[float]:
    return [record["loss"] for record in history_of(run) if record["type"] == "train"]
