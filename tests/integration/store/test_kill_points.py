"""kill -9 before every single file operation of a run's end: the result is adopted or made again, never half there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SUPPORT = Path(__file__).resolve().parents[2]

# One process that forks a child for every kill point: the imports are paid once.
SWEEP = """
import json, os, sys
from pathlib import Path
from support.file_operations import at_operation, die
from finetune30.config.schema import ExperimentConfig
from finetune30.store import RunFolder, RunStatus, open_store

url, results, what = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
open_store(url).close()


def finish(store, claim, content):
    folder = RunFolder(results / store.get(claim.run_id).folder)
    attempt = folder.open_attempt(claim.attempt)
    published = attempt.adopt()
    adopted = published is not None
    if not adopted:
        attempt.reveal("config.yaml", content)
        attempt.history.write_bytes(content + b"\\n")
        (attempt.outbox / "artifacts" / "final_model").mkdir(parents=True)
        (attempt.outbox / "artifacts" / "final_model" / "weights").write_bytes(content)
        (attempt.outbox / "metrics.json").write_text(json.dumps({"eval_accuracy": claim.attempt / 10}))
        published = attempt.publish({"by": claim.attempt})
    store.succeed(claim, published.metrics, published.manifest_sha256)
    folder.prune()
    return adopted


def remove(store, claim, _content):
    store.fail(claim, {"error": "data_error", "message": "", "remedy": ""})
    store.delete(claim.run_id, results)


number, outcomes = 0, []
while True:
    number += 1
    pid = os.fork()
    if pid == 0:
        store = open_store(url)
        run = store.create(ExperimentConfig(experiment_name=f"kill {number}"), kind="local", results_root=results)
        (results / run.folder / "seed.txt").write_text("x")
        claim = store.claim(run.id, lease_seconds=600)
        with at_operation(number, die) as seen:
            (finish if what == "finish" else remove)(store, claim, b"first")
        os._exit(0 if len(seen) < number else 3)
    _, status = os.waitpid(pid, 0)
    store = open_store(url)
    store.reconcile()
    if what == "remove":
        store.purge_deleted(results)
        left = sorted(path.name for path in results.glob(f"*kill {number}_*"))
        try:
            outcomes.append([str(store.get(f"kill {number}").status), len(left)])
        except Exception as error:
            outcomes.append([error.code, len(left)])
    else:
        run = store.get(f"kill {number}")
        before = str(run.status)
        adopted = None
        if run.status is not RunStatus.SUCCEEDED:
            store.retry(run.id)
            adopted = finish(store, store.claim(run.id, lease_seconds=600), b"second")
        run, folder = store.get(run.id), RunFolder(results / run.folder)
        published = folder.load_published()
        whole = (
            run.status is RunStatus.SUCCEEDED
            and folder.verify() == []
            and published.manifest_sha256 == run.manifest_sha256
            and published.metrics == run.metrics
            and (folder.final_model / "weights").read_bytes() == (b"first" if adopted in (None, True) else b"second")
            and folder.config.read_bytes() + b"\\n" == folder.history.read_bytes()
            and sorted(p.name for p in folder.path.iterdir()) == sorted(
                ["artifacts", "attempts", "config.yaml", "history.jsonl", "logs.txt", "manifest.json", "metrics.json",
                 "seed.txt"])
        )
        outcomes.append([before, adopted, whole])
    store.close()
    if status == 0:
        break
print(json.dumps(outcomes))
"""


def sweep(what: str, tmp_path: Path) -> list[list]:
    done = subprocess.run(
        [sys.executable, "-c", SWEEP, f"sqlite:///{tmp_path}/results/experiments.db", str(tmp_path / "results"), what],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), *filter(None, sys.path)])},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_kill_before_any_step_of_publishing_leaves_a_whole_result(tmp_path: Path) -> None:
    outcomes = sweep("finish", tmp_path)
    assert [whole for _, _, whole in outcomes] == [True] * len(outcomes)
    states = [before for before, _, _ in outcomes]
    lost = states.count("FAILED")
    assert states == ["FAILED"] * lost + ["SUCCEEDED"] * (len(states) - lost)
    adopted = [adopted for _, adopted, _ in outcomes[:lost]]
    retrained = adopted.count(False)
    # From the moment when the manifest stands beside the staged files nothing is trained again.
    assert adopted == [False] * retrained + [True] * (lost - retrained)
    assert retrained > 10
    assert lost - retrained > 5


def test_kill_before_any_step_of_deleting_leaves_all_or_nothing(tmp_path: Path) -> None:
    outcomes = sweep("remove", tmp_path)
    assert outcomes[-1] == ["not_found", 0]
    assert {tuple(outcome) for outcome in outcomes} <= {("not_found", 0), ("FAILED", 1)}
    assert len(outcomes) > 3
