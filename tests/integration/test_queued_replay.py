"""A replay that the workers carry out: queued with what it repeats, its verdict a part of its result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune30.service.execution.queued import carry_out_attempt
from finetune30.service.submitting.replay import submit_replay
from finetune30.settings import Settings
from finetune30.store import Run, RunFolder, RunStore, open_store
from support.kinds import SINGLE_LABEL, KindsLab

pytestmark = pytest.mark.integration


class Silent:
    """A queue that loses every message."""

    def publish(self, run_id: str) -> None:
        """Send nothing."""


@pytest.fixture
def lab(trained_kinds: KindsLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The finished runs, in a place of their own."""
    monkeypatch.chdir(trained_kinds.copy(tmp_path / "lab").folder)
    return Settings(results_folder=Path("results"), disk_reserve_bytes=0)


def replay(settings: Settings, store: RunStore, name: str) -> tuple[Run, RunFolder]:
    submitted = submit_replay(store, store.get(name), settings, publisher=Silent()).run
    claim = store.claim(submitted.id, lease_seconds=600)
    assert claim is not None
    carry_out_attempt(claim, settings)
    run = store.get(submitted.id)
    return run, RunFolder(settings.results_folder / run.folder)


def test_a_queued_replay_is_judged_and_its_verdict_is_published(lab):
    store = open_store(lab.resolved_database_url)
    run, folder = replay(lab, store, SINGLE_LABEL.name)
    report = json.loads(folder.replay.read_text(encoding="utf-8"))
    assert (report["replay_of"], report["identical"]) == (store.get(SINGLE_LABEL.name).id, True)
    assert "replay.json" in folder.load_manifest()["files"]
    assert (run.metrics or {})["origin"] == {"replay_of": report["replay_of"]}
    store.close()


def test_a_replay_on_other_rows_says_what_differs(lab):
    rows = Path(f"{SINGLE_LABEL.name}-train.csv")
    lines = rows.read_text(encoding="utf-8").splitlines(keepends=True)
    rows.write_text("".join([lines[0], *reversed(lines[1:])]), encoding="utf-8")
    store = open_store(lab.resolved_database_url)
    _, folder = replay(lab, store, SINGLE_LABEL.name)
    report = json.loads(folder.replay.read_text(encoding="utf-8"))
    assert report["identical"] is False
    assert any(line.startswith("dataset: ") for line in report["inputs"])
    assert report["tensors"]
    store.close()


def test_a_replay_whose_original_is_deleted_meanwhile_succeeds_without_a_verdict(lab):
    store = open_store(lab.resolved_database_url)
    original = store.get(SINGLE_LABEL.name)
    submitted = submit_replay(store, original, lab, publisher=Silent()).run
    store.delete(original.id, lab.results_folder)
    claim = store.claim(submitted.id, lease_seconds=600)
    assert claim is not None
    carry_out_attempt(claim, lab)
    report = json.loads(RunFolder(lab.results_folder / submitted.folder).replay.read_text(encoding="utf-8"))
    assert report["identical"] is None
    assert original.id[:8] in report["fault"]
    store.close()
