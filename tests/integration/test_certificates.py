"""A version is READY once it answers, in the path that serves, as its run predicted; another one is refused."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from finetune30.errors import ConflictError, SelfTestError, StorageError
from finetune30.service.datasets.operations import versions_of
from finetune30.service.parity import checking
from finetune30.service.parity.checking import Served
from finetune30.service.parity.predictions import Published
from finetune30.service.registry.certifying import REFERENCE, certify_version, load_reference, load_served
from finetune30.service.registry.promotion import promote
from finetune30.service.registry.registering import load_version, register_run
from finetune30.service.runs.open_records import Records, open_records
from finetune30.settings import Settings
from finetune30.store.model_records import VersionState
from finetune30.store.model_registry import find_events, settle_version
from support.kinds import KINDS, KindsLab
from support.talk_lab import TalkLab

pytestmark = pytest.mark.integration


def settings_of(folder: Path) -> Settings:
    return Settings(results_folder=folder / "results", data_folder=folder / "data_store")


@pytest.fixture(scope="module")
def talk(fork_server, tmp_path_factory: pytest.TempPathFactory) -> TalkLab:
    lab = TalkLab(fork_server, tmp_path_factory.mktemp("talk-certificates"))
    ended = lab.train("results", {"training.num_train_epochs": 1})
    assert ended.returncode == 0, ended.stderr
    return lab


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_becomes_ready_once_it_answers_as_it_predicted(kinds_lab: KindsLab, kind: str) -> None:
    said = kinds_lab.ft30("models", "register", kind, f"of-{kind}").stdout
    assert f"of-{kind}:1 is READY: asked 12 rows again, packed" in said
    with open_records(settings_of(kinds_lab.folder)) as records:
        version = load_version(records, f"of-{kind}:1")
        told = version.certificate
        assert told is not None
        assert told["predictions"]["largest"] < 1e-4
        assert told.get("predictions", {}).get("flips", 0) == 0
        assert load_reference(records, version).height == told["alone"]["rows"] == 12
        assert [event.kind for event in find_events(records.store, version.model)] == ["registered", "certified"]
    verified = kinds_lab.ft30("models", "verify", f"of-{kind}").stdout
    assert "files are as they were registered" in verified
    assert verified.endswith(said.splitlines()[-1] + "\n")
    again = kinds_lab.ft30("models", "register", kind, f"of-{kind}").stdout
    assert again == f"of-{kind}:1 is this run already\n"


def test_a_language_model_gives_the_same_tokens_again(talk: TalkLab) -> None:
    ended = talk.ft30("models", "register", "latest", "talk")
    assert (ended.returncode, ended.stderr) == (0, "")
    with open_records(settings_of(talk.folder)) as records:
        told = load_version(records, "talk:1").certificate
    assert told is not None
    assert (told["conversations"], told["greedy"]["prompts"]) == ({"asked": 5, "equal": 5}, 4)
    assert told["predictions"]["largest"] < 1e-3
    assert talk.ft30("models", "verify", "talk").returncode == 0


def swap_labels(folder: Path) -> None:
    path = folder / "labels.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    names = described["targets"]["label_names"]
    names[0], names[1] = names[1], names[0]
    path.write_text(json.dumps(described), encoding="utf-8")


def change_tensor(part: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "adapter_model.safetensors"
        state = load_file(path)
        name = next(name for name in state if part in name)
        state[name] = torch.roll(state[name], 1, dims=0).contiguous()
        save_file(state, path, {"format": "pt"})

    return change


def shorten(folder: Path) -> None:
    path = folder / "labels.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**described, "max_length": 4}), encoding="utf-8")


def remove_adapter(folder: Path) -> None:
    """Leave the base with the head that was trained: what LoRA adds becomes nothing."""
    path = folder / "adapter_model.safetensors"
    state = load_file(path)
    save_file(
        {name: torch.zeros_like(one) if "lora_B" in name else one for name, one in state.items()},
        path,
        {"format": "pt"},
    )


MUTANTS = {
    "swapped label": (swap_labels, "answers are not those that the run predicted, where it is sure by"),
    "changed tensor": (change_tensor("lora_B"), "from what the run predicted it differs"),
    "changed head": (change_tensor("classifier.weight"), "from what the run predicted it differs"),
    "shorter texts": (shorten, "from what the run predicted it differs"),
}


def mutate(folder: Path, target: Path, change: Callable[[Path], None]) -> Path:
    """Copy an adapter, with the note on where its base lies beside it, and change the copy."""
    shutil.copytree(folder.parent, target)
    change(target / folder.name)
    return target / folder.name


@pytest.mark.parametrize("name", MUTANTS)
def test_a_classifier_that_is_another_one_is_found(kinds_lab: KindsLab, tmp_path: Path, name: str) -> None:
    """The files are whole and hashed anew: only what it answers tells."""
    change, fault = MUTANTS[name]
    settings = settings_of(kinds_lab.folder)
    with open_records(settings) as records:
        run = records.store.get("single-label")
        folder = records.require_folder(run)
        mutant = Served(mutate(folder.final_model, tmp_path / "mutant", change))
        found = mutant.refer(run, folder, versions_of(settings, records.store)).found
    assert any(fault in said for said in found.faults), found


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold every run as if it had predicted in bf16, where most is allowed."""
    monkeypatch.setattr(
        checking,
        "Published",
        lambda predictions, _precision, quantization: Published(predictions, "bf16", quantization),
    )


def refer(settings: Settings, run: str, adapter: Callable[[Path], Path]) -> list[str]:
    with open_records(settings) as records:
        folder = records.require_folder(records.store.get(run))
        served = Served(adapter(folder.final_model))
        return served.refer(records.store.get(run), folder, versions_of(settings, records.store)).found.faults


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("kind", ["single-label", "regression"])
def test_a_base_without_its_adapter_is_found_where_most_is_allowed(
    kinds_lab: KindsLab, tmp_path: Path, kind: str
) -> None:
    settings = settings_of(kinds_lab.folder)
    assert refer(settings, kind, lambda folder: folder) == []
    faults = refer(settings, kind, lambda folder: mutate(folder, tmp_path / "mutant", remove_adapter))
    assert any("from what the run predicted it differs" in said for said in faults), faults


@pytest.mark.usefixtures("coarse")
def test_a_language_model_without_its_adapter_is_found_where_most_is_allowed(talk: TalkLab, tmp_path: Path) -> None:
    settings = settings_of(talk.folder)
    assert refer(settings, "latest", lambda folder: folder) == []
    faults = refer(settings, "latest", lambda folder: mutate(folder, tmp_path / "mutant", remove_adapter))
    assert any("and that of what the run predicted" in said for said in faults), faults


def test_a_model_that_goes_on_with_nothing_is_refused(talk: TalkLab) -> None:
    """Its every answer is empty: there is nothing that another model would give otherwise."""
    settings = settings_of(talk.folder)
    with open_records(settings) as records:
        folder = records.require_folder(records.store.get("latest"))
        served = Served(folder.final_model)
        assert served.chat is not None
        served.chat.stops = frozenset(range(100_000))
        run = records.store.get("latest")
        found = served.refer(run, folder, versions_of(settings, records.store)).found
    assert "nothing could be asked: 5 conversations, 4 prompts, no tokens" in found.faults


def test_a_language_model_with_another_tensor_is_found(talk: TalkLab, tmp_path: Path) -> None:
    settings = settings_of(talk.folder)
    with open_records(settings) as records:
        run = records.store.get("latest")
        folder = records.require_folder(run)
        mutant = Served(mutate(folder.final_model, tmp_path / "mutant", change_tensor("lora_B")))
        found = mutant.refer(run, folder, versions_of(settings, records.store)).found
    assert any("from what the run predicted it differs" in said for said in found.faults), found


def register(records: Records, settings: Settings, model: str) -> Any:
    return register_run(records, "regression", model, versions_of(settings, records.store), actor="anna")[0]


def test_a_version_is_promoted_only_once_it_was_checked(kinds_lab: KindsLab) -> None:
    settings = settings_of(kinds_lab.folder)
    with open_records(settings) as records:
        version = register(records, settings, "unchecked")
        with pytest.raises(ConflictError, match="unchecked:1 is not checked yet"):
            promote(records, "unchecked", 1, "production", reason="a try", actor="anna")
        kinds_lab.ft30("models", "verify", "unchecked:1")
        assert load_version(records, "unchecked:1").state == "READY"
        promote(records, "unchecked", 1, "production", reason="a try", actor="anna")
        path = settings.results_folder / "registry/unchecked/v1" / REFERENCE
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(StorageError, match=REFERENCE):
            certify_version(
                records, load_version(records, version.name), versions_of(settings, records.store), actor="anna"
            )


def test_only_the_run_that_a_version_was_made_of_is_loaded(kinds_lab: KindsLab, tmp_path: Path) -> None:
    """The run's folder holds another model, whole: its own files agree with its own manifest."""
    settings = settings_of(kinds_lab.folder)
    with open_records(settings) as records:
        versions = versions_of(settings, records.store)
        version = register_run(records, "regression", "exchanged", versions, actor="anna")[0]
        folder, other = (records.require_folder(records.store.get(run)).path for run in ("regression", "multi-label"))
        shutil.move(folder, tmp_path / "aside")
        try:
            shutil.copytree(other, folder)
            with pytest.raises(StorageError, match=r"exchanged:1: manifest\.json of its run is missing, or not the"):
                load_served(records, version)
        finally:
            shutil.rmtree(folder)
            shutil.move(tmp_path / "aside", folder)
        load_served(records, version)


def test_of_two_checks_at_once_the_files_are_those_of_the_one_on_record(kinds_lab: KindsLab) -> None:
    settings = settings_of(kinds_lab.folder)
    with open_records(settings) as records:
        versions = versions_of(settings, records.store)
        version = register_run(records, "single-label", "twice", versions, actor="anna")[0]
        certify_version(records, version, versions, actor="anna")
        path = settings.results_folder / "registry/twice/v1" / REFERENCE
        before = path.stat().st_mtime_ns
        with pytest.raises(ConflictError, match="twice:1 is READY already"):
            certify_version(records, version, versions, actor="bert")  # it saw the version before it was settled
        assert path.stat().st_mtime_ns == before
        assert load_reference(records, load_version(records, "twice:1")).height == 12


def test_a_version_that_answers_otherwise_is_refused_for_good(kinds_lab: KindsLab) -> None:
    """A run whose published predictions are those of another model: nothing but asking tells."""
    import polars as pl

    kinds_lab.train(KINDS["single-label"], "tampered", num_train_epochs=2)
    settings = settings_of(kinds_lab.folder)
    with open_records(settings) as records:
        versions = versions_of(settings, records.store)
        version = register_run(records, "tampered", "refused", versions, actor="anna")[0]
        path = records.require_folder(records.store.get("tampered")).predictions
        rows = pl.read_parquet(path)
        rows = rows.with_columns(pl.col("probabilities").list.reverse())
        path.unlink()  # the version holds a link to the same file
        rows.write_parquet(path)
        for _ in range(2):
            with pytest.raises(SelfTestError, match="refused:1 does not answer as it was trained") as refused:
                certify_version(records, load_version(records, version.name), versions, actor="anna")
            assert refused.value.remedy.startswith("see how it was made: ft30 models card refused:1")
            assert load_version(records, "refused:1").state == "REFUSED"
        with pytest.raises(ConflictError, match="refused:1 is REFUSED and cannot be promoted"):
            promote(records, "refused", 1, "production", reason="a try", actor="anna")
        with pytest.raises(ConflictError, match="refused:1 is REFUSED already") as settled:
            settle_version(records.store, "refused", 1, VersionState.READY, {}, actor="anna")
        assert settled.value.remedy == "see it: ft30 models show refused"
        assert "REFUSED" in kinds_lab.ft30("models", "show", "refused").stdout
        assert kinds_lab.ft30("models", "card", "refused:1").stdout.startswith("# refused, version 1")
        last = find_events(records.store, "refused")[-1]
        assert (last.kind, "it differs by up to" in str(last.reason)) == ("refused", True)


@pytest.mark.parametrize("point", ["after_files", "before_commit"])
def test_a_check_that_is_killed_as_it_ends_is_made_again(kinds_lab: KindsLab, point: str) -> None:
    name = f"killed-{point.replace('_', '-')}"
    variables = {"FT30_FAILPOINT": f"models.settle.{point}:1"}
    ended = kinds_lab.server.run("models", "register", "regression", name, cwd=kinds_lab.folder, **variables)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    with open_records(settings_of(kinds_lab.folder)) as records:
        assert load_version(records, f"{name}:1").state is VersionState.CHECKING
        kinds_lab.ft30("models", "verify", f"{name}:1")
        version = load_version(records, f"{name}:1")
        assert version.state is VersionState.READY
        assert load_reference(records, version).height == 12
        assert [event.kind for event in find_events(records.store, name)] == ["registered", "certified"]
