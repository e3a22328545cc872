"""A process that is killed anywhere in a change of the registry leaves what was there or what is there now."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune30.service.runs.kept_copies import find_version_faults
from finetune30.store import Run
from finetune30.store.model_names import ModelReference
from finetune30.store.model_records import VersionState
from finetune30.store.model_registry import find_events, find_models, find_version
from support.fork_server import Ended, ForkServer
from support.registered import finish_model_run, make_ready
from support.run_store_lab import Lab

pytestmark = pytest.mark.integration

REGISTERING = (
    "models.register.before_files",
    "models.register.within_files",
    "models.register.after_files",
    "models.register.before_commit",
    "models.register.after_commit",
)
MOVES = [
    (("promote", "reviews", "2", "--to", "production", "--reason", "better"), "promoted", 2),
    (("rollback", "reviews", "production", "--reason", "worse"), "rolled_back", 1),
]


class Registry:
    """A folder with three finished runs, and `ft30 models` commands in it."""

    def __init__(self, server: ForkServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.lab = Lab(f"sqlite:///{folder}/results/experiments.db", folder / "results")
        self.runs = [finish_model_run(self.lab.store, self.lab.results, name) for name in ("one", "three", "seventh")]

    def models(self, *arguments: str, **environment: str) -> Ended:
        return self.server.run("models", *arguments, cwd=self.folder, **environment)

    def register(self, run: Run) -> None:
        """Register a run; the check of its model, which fits no base, cannot be made, and is settled here."""
        ended = self.models("register", run.id, "reviews")
        assert ended.stdout.startswith("reviews:"), ended
        number = int(ended.stdout.split()[0].removeprefix("reviews:"))
        if find_version(self.lab.store, ModelReference("reviews", None, number)).state is VersionState.CHECKING:
            make_ready(self.lab.store, "reviews", number)

    def done(self, *arguments: str) -> None:
        ended = self.models(*arguments)
        assert ended.returncode == 0, ended.stderr

    def require_agreement(self) -> None:
        """Every version on record has its files, every one of them intact, and there is an event for each row."""
        for model in find_models(self.lab.store):
            for version in model.versions:
                folder = self.lab.results / "registry" / model.name / f"v{version.number}"
                assert find_version_faults(folder, version) == []
            events = find_events(self.lab.store, model.name)
            assert sum(event.kind == "registered" for event in events) == len(model.versions)
            for alias in model.aliases:
                moves = [event for event in events if event.alias == alias.alias]
                assert [event.generation for event in moves] == list(range(1, alias.generation + 1))
                assert moves[-1].version == alias.number


@pytest.fixture
def registry(fork_server: ForkServer, tmp_path: Path) -> Iterator[Registry]:
    found = Registry(fork_server, tmp_path)
    yield found
    found.lab.store.close()


@pytest.mark.parametrize("point", REGISTERING)
def test_a_registration_that_is_killed_is_whole_or_leaves_nothing_that_counts(registry: Registry, point: str) -> None:
    registry.register(registry.runs[0])
    ended = registry.models("register", registry.runs[1].id, "reviews", FT30_FAILPOINT=f"{point}:1")
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    registry.require_agreement()
    registry.register(registry.runs[1])
    registry.register(registry.runs[2])
    registry.require_agreement()
    (model,) = find_models(registry.lab.store)
    assert [version.number for version in model.versions] == [3, 2, 1]
    assert [version.run_id for version in model.versions] == [run.id for run in reversed(registry.runs)]
    folders = (registry.lab.results / "registry" / "reviews").iterdir()
    assert sorted(folder.name for folder in folders) == ["v1", "v2", "v3"]


def test_a_move_that_is_killed_is_made_with_its_event_or_not_at_all(registry: Registry) -> None:
    for run in registry.runs[:2]:
        registry.register(run)
    registry.done("promote", "reviews", "1", "--to", "production", "--reason", "a start")
    for arguments, kind, leads_to in MOVES:
        for place in ("after_update", "before_commit"):
            before = find_models(registry.lab.store)[0].aliases
            ended = registry.models(*arguments, FT30_FAILPOINT=f"models.{kind}.{place}:1")
            assert ended.returncode == -signal.SIGKILL, ended.stderr
            assert find_models(registry.lab.store)[0].aliases == before
            registry.require_agreement()
        ended = registry.models(*arguments, FT30_FAILPOINT=f"models.{kind}.after_commit:1")
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert find_models(registry.lab.store)[0].aliases[0].number == leads_to
        registry.require_agreement()


def test_a_retirement_that_is_killed_is_made_with_its_event_or_not_at_all(registry: Registry) -> None:
    registry.register(registry.runs[0])
    arguments = ("retire", "reviews", "1", "--reason", "superseded")
    ended = registry.models(*arguments, FT30_FAILPOINT="models.retire.before_commit:1")
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    reference = ModelReference("reviews", None, 1)
    assert find_version(registry.lab.store, reference).state is VersionState.READY
    assert [event.kind for event in find_events(registry.lab.store, "reviews")] == ["registered", "certified"]
    registry.done(*arguments)
    assert find_version(registry.lab.store, reference).state is VersionState.RETIRED
    assert [event.kind for event in find_events(registry.lab.store, "reviews")][2:] == ["retired"]
