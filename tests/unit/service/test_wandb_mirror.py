"""The mirror of W&B: its own program reads what is written here, everything once, whatever dies in between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune30 import failpoints
from finetune30.errors import TrackerError
from finetune30.service.mirrors.carrying import carry_run
from finetune30.service.mirrors.trackers.wandb import WandB
from finetune30.service.mirrors.trackers.wandb_records import FILE_HEADER, encode_config, encode_exit, frame
from finetune30.store.annotations import RunEdit, edit_run
from support import wandb_peer
from support.mirrored import MirroredRun, step_record
from support.run_store_lab import Lab

needs_wandb = pytest.mark.skipif(
    not wandb_peer.PYTHON.is_file(), reason="W&B is not installed (make install-peers ARGS=all)"
)


@pytest.fixture
def tracker(tmp_path: Path) -> WandB:
    return WandB(tmp_path / "wandb", "trials")


def carry(run: MirroredRun, tracker: WandB, **options: Any) -> int:
    return carry_run(run.records, run.id, tracker, timeout_seconds=0.5, **options).records


def run_file(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "wandb").rglob("*.wandb")
    return found


def test_a_record_is_what_wandb_writes_itself() -> None:
    # The beginning of a file of wandb 0.31.0, and Record(num=18, exit=RunExitRecord(exit_code=1, runtime=2)) by it.
    assert FILE_HEADER.hex() == "3a572642e1be00"
    assert frame([encode_exit(18, 1, 2.0)], 7).hex() == "d3b43faf090001" + "081292010408011002"

    # Record(num=3, config=ConfigRecord(update=[ConfigItem(key="a", value_json="1")], remove=[ConfigItem(key="b")])).
    assert encode_config(3, {"a": 1}, ["b"]).hex() == "08032a0e0a070a01618201013112030a0162"


def test_a_record_that_crosses_blocks_is_cut_where_a_block_ends() -> None:
    framed = frame([b"x" * 70_000], 32_768 - 3)
    assert framed[:3] == bytes(3), "no room for the head of a piece"
    assert [framed[3 + place + 6] for place in (0, 32_768, 65_536)] == [2, 3, 4]


@pytest.mark.parametrize("point", ["mirror.after_open", "mirror.after_send", "mirror.after_tell"])
def test_what_was_sent_but_not_noted_is_written_again_into_the_same_place(
    lab: Lab, tracker: WandB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    run = MirroredRun(lab)
    run.log([step_record(step) for step in range(1, 400)])
    run.succeed()
    whole = WandB(tmp_path / "whole" / "wandb", "trials")
    with monkeypatch.context() as patched:
        patched.setattr(failpoints, "reach", lambda name, *_: _die() if name == point else None)
        with pytest.raises(KeyboardInterrupt):
            carry(run, tracker)
    assert carry(run, tracker) == 399
    content = run_file(tmp_path).read_bytes()
    run_file(tmp_path).unlink()
    assert carry(run, whole) == 399
    (other,) = (tmp_path / "whole").rglob("*.wandb")
    assert other.read_bytes() == content


def _die() -> None:
    raise KeyboardInterrupt


def test_a_file_that_is_gone_is_said_and_written_anew_as_is_said(lab: Lab, tracker: WandB, tmp_path: Path) -> None:
    run = MirroredRun(lab)
    run.log([step_record(1)])
    carry(run, tracker)
    run_file(tmp_path).unlink()
    run.log([step_record(2)])
    with pytest.raises(TrackerError, match="is gone") as refused:
        carry(run, tracker)
    assert refused.value.remedy == "write it anew: ft30 mirror RUN --to wandb --again"
    assert carry(run, tracker, again=True) == 2


@needs_wandb
@pytest.mark.peers
def test_wandb_reads_every_point_once_with_name_note_state_and_provenance(
    lab: Lab, tracker: WandB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = MirroredRun(lab)
    run.log([step_record(1), {**step_record(1), "type": "eval", "eval_loss": 0.25}])
    carry(run, tracker)
    assert "exit" not in of_kind(run_file(tmp_path)), "it goes on"
    run.log([step_record(step) for step in range(2, 600)])
    run.succeed()
    carry(run, tracker)
    edit_run(lab.store, run.id, RunEdit(note="the good one", tags=("kept",)))
    carry(run, tracker)
    told = of_kind(run_file(tmp_path))["config"][-1]
    assert (told["update"]["finetune30.tags"], told.get("remove")) == ("kept", None)
    edit_run(lab.store, run.id, RunEdit(tags=()))
    carry(run, tracker)

    read = of_kind(run_file(tmp_path))
    rows = [row["item"] for row in read["history"]]
    assert [row["_step"] for row in rows] == list(range(600)), "W&B drops what is not higher"
    assert [row["step"] for row in rows] == [1, 1, *range(2, 600)]
    assert rows[1]["eval_loss"] == 0.25
    assert [row["loss"] for row in rows[2:]] == [1 / step for step in range(2, 600)]
    assert read["summary"] == [{"update": {"final/eval_accuracy": 0.5, "final/score": 0.5, "final/total_steps": 5}}]
    assert read["metric"][1] == {"glob_name": "*", "step_metric": "step", "options": read["metric"][1]["options"]}
    assert (read["run"][0]["display_name"], read["run"][-1]["notes"]) == (run.run.name, "the good one")
    assert read["run"][0]["config"]["update"].keys() >= {"training.seed", "model.name"}
    assert read["config"][-1]["update"]["finetune30.run_id"] == run.id
    assert "finetune30.tags" in str(read["config"][-1]["remove"])
    assert len(read["exit"]) == 1
    unsent = wandb_peer.list_unsent(tmp_path / "wandb")
    assert run_file(tmp_path).parent.name in unsent, unsent


def of_kind(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return kind -> its records, which must be numbered one by one."""
    records = wandb_peer.read_run(path)
    assert [record["num"] for record in records] == list(range(1, len(records) + 1)), json.dumps(records)[:2000]
    found: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        found.setdefault(record["type"], []).append(record[record["type"]])
    return found
