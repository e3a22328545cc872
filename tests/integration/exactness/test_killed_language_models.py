"""Language models killed at any point of a run, resumed, and found with the same bytes and answers as without."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune30.modeling.starter_chat import find_starter_chat_model
from support.exactness import fingerprint
from support.fork_server import ForkServer
from support.quantized import needs_bitsandbytes
from support.talk_lab import TalkLab

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

#: Every kind of point, and how often a run of a talk lab passes it.
POINTS = {
    "training.after_step": 8,
    "evaluation.start": 2,
    "evaluation.batch": 7,
    "evaluation.end": 2,
    "checkpoint.after_each_file": 16,
    "checkpoint.before_manifest": 4,
    "checkpoint.before_rename": 4,
    "checkpoint.before_rotation": 4,
    "result.before_staging": 1,
    "result.after_adapter": 1,
    "result.before_publishing": 1,
    "publish.before_manifest": 1,
    "publish.after_manifest": 1,
    "publish.after_each_move": 6,
    "publish.before_last_move": 1,
    "publish.before_row": 1,
}
EVERY_POINT = [f"{name}:{n}" for name, times in POINTS.items() for n in range(1, times + 1)]
#: What decides how rows are computed.
WAYS: dict[str, dict[str, Any]] = {
    "own": {"training.engine": "packed"},
    "padded": {"training.engine": "general", "training.packing": "off"},
    "packed": {"training.engine": "general", "training.packing": "on"},
    "checkpointed": {"training.gradient_checkpointing": True, "chat.overlong": "cut", "data.max_length": 40},
    "nf4": {"model.quantization": "nf4"},
}
ON_FOUR_BITS = [
    *("training.after_step:1", "training.after_step:5", "evaluation.batch:2", "evaluation.end:2"),
    *("checkpoint.after_each_file:3", "checkpoint.after_each_file:10", "checkpoint.before_rename:2"),
    *("result.after_adapter:1", "publish.after_each_move:4", "publish.before_row:1"),
]
#: On the starter chat model, of which few rows are trained on: twenty points.
STARTER: dict[str, Any] = {
    "model.name": "starter-chat",
    "data.max_length": 64,
    "data.train_samples": 12,
    "data.eval_samples": 2,
    "chat.eval_generations": 1,
    "chat.max_new_tokens": 4,
    "chat.general_rows": 1,
    "training.num_train_epochs": 3,
}
ON_THE_STARTER = [
    *(f"training.after_step:{n}" for n in range(1, 7)),
    *("evaluation.start:1", "evaluation.batch:1", "evaluation.batch:3", "evaluation.end:2"),
    *(f"checkpoint.after_each_file:{n}" for n in (1, 4, 6)),
    *("checkpoint.before_rename:2", "checkpoint.before_rotation:3"),
    *("result.before_staging:1", "result.after_adapter:1"),
    *("publish.before_manifest:1", "publish.after_each_move:3", "publish.before_row:1"),
]
Labs = Callable[[str], tuple[TalkLab, dict[str, Any]]]


@pytest.fixture(scope="module")
def labs(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Labs:
    """Return labs(way) -> the lab of that way, and what its run has that nothing disturbed."""
    known: dict[str, tuple[TalkLab, dict[str, Any]]] = {}

    def lab_of(way: str) -> tuple[TalkLab, dict[str, Any]]:
        if way not in known:
            variables = {}
            if way == "starter":
                data: Path = request.getfixturevalue("starter_chat_data")
                assert find_starter_chat_model(data) is not None
                variables = {"FT30_DATA_FOLDER": str(data)}
            lab = TalkLab(fork_server, tmp_path_factory.mktemp("talk"), **variables)
            ended = lab.train("whole", changes_of(way))
            assert ended.returncode == 0, ended.stderr
            known[way] = lab, whole_of(lab, "whole")
        return known[way]

    return lab_of


def changes_of(way: str) -> dict[str, Any]:
    return STARTER if way == "starter" else WAYS[way]


def whole_of(lab: TalkLab, results: str) -> dict[str, Any]:
    """Return everything that must be equal: the fingerprint and every answer."""
    folder = lab.run_folder(results)
    return {**fingerprint(folder), "answers": (folder / "generations.jsonl").read_bytes()}


def kill_and_resume(labs: Labs, way: str, point: str) -> None:
    lab, expected = labs(way)
    results = f"{way}-{point.replace(':', '.')}"
    ended = lab.train(results, changes_of(way), FT30_FAILPOINT=point)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    ended = lab.ft30("resume", "latest", results=results)
    assert ended.returncode == 0, ended.stderr
    assert whole_of(lab, results) == expected


@pytest.mark.parametrize("way", ["own", "padded", "packed"])
@pytest.mark.parametrize("point", EVERY_POINT)
def test_every_point_resumes_to_the_same_bytes(labs: Labs, way: str, point: str) -> None:
    kill_and_resume(labs, way, point)


@pytest.mark.parametrize("point", ["training.after_step:5", "checkpoint.after_each_file:7", "evaluation.batch:5"])
def test_runs_that_compute_layers_again_or_cut_rows_resume_to_the_same_bytes(labs: Labs, point: str) -> None:
    kill_and_resume(labs, "checkpointed", point)


@needs_bitsandbytes
@pytest.mark.parametrize("point", ON_FOUR_BITS)
def test_a_base_in_four_bits_resumes_to_the_same_bytes(labs: Labs, point: str) -> None:
    kill_and_resume(labs, "nf4", point)


@pytest.mark.parametrize("point", ON_THE_STARTER)
def test_the_starter_chat_model_resumes_to_the_same_bytes(labs: Labs, point: str) -> None:
    kill_and_resume(labs, "starter", point)


@pytest.mark.parametrize("way", ["own", "padded", "packed"])
def test_the_list_of_points_is_what_a_run_passes(labs: Labs, way: str) -> None:
    lab, _ = labs(way)
    trace = lab.folder / f"trace-{way}"
    assert lab.train(f"traced-{way}", changes_of(way), FT30_FAILPOINT_TRACE=str(trace)).returncode == 0
    passed = trace.read_text().split()
    elsewhere = {"disk.write", "training.memory", "finish.after_row", "heartbeat", "schema.before_commit"}
    assert {name: passed.count(name) for name in set(passed) - elsewhere} == POINTS
