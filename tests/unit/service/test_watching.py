"""Following the registry: whatever a version fails with, the others go on, and what may work later is tried again."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from finetune30.config.schema import ExperimentConfig
from finetune30.errors import ModelError, SelfTestError, ServiceUnavailableError
from finetune30.service.registry.registering import parse_version_name
from finetune30.service.serving import watching
from finetune30.service.serving.slots import Loaded, Slot, Slots
from finetune30.service.serving.watching import Watcher
from finetune30.store.model_records import ModelVersion, NewVersion, VersionState
from finetune30.store.model_registry import move_alias, register_version, settle_version
from support.published import finish_run
from support.run_store_lab import Lab


class Parts:
    """Hold themselves, as modules of torch may."""

    def __init__(self) -> None:
        self.itself = self


class Model:
    """What is asked; the memory is its parts'."""

    def __init__(self) -> None:
        self.parts = Parts()


class Loads:
    """Loads a model for a version, or fails with what was put in."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.faults: dict[int, Exception] = {}
        self.made: list[weakref.ref[Parts]] = []

    def __call__(self, version: ModelVersion, generation: int | None) -> Loaded:
        self.asked.append(version.number)
        model: Any = Model()
        self.made.append(weakref.ref(model.parts))
        if version.number in self.faults:
            fault = self.faults[version.number]
            raise type(fault)(*fault.args)  # a new one: an error that was raised holds the frames of it
        return Loaded(version, generation, "padded", texts=model)


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def slots(lab: Lab) -> Slots:
    """Versions 1 and 2; the first is in production."""
    for content in "ab":
        run = finish_run(lab.store, ExperimentConfig(experiment_name=content), lab.results)
        sums = {f"{what}_sha256": content * 64 for what in ("manifest", "adapter", "labels", "base")}
        new = NewVersion(run_id=run.id, problem_type="regression", facts={}, **sums)
        made, _ = register_version(lab.store, "moods", new, lambda *_: "f" * 64, actor="anna")
        settle_version(lab.store, "moods", made.number, VersionState.READY, {}, actor="anna")
    move(lab, 1, 0)
    return Slots.named(["moods@production"], parse_version_name)


def move(lab: Lab, number: int, seen: int) -> None:
    move_alias(lab.store, "moods", "production", number, seen=seen, actor="anna", reason="a try")


def watch(
    lab: Lab, slots: Slots, loads: Loads, check: Callable[[Slot, Loaded], None] = lambda _slot, _loaded: None
) -> Watcher:
    return Watcher(lab.store, slots, loads, check, lambda _name, _outcome: None)


def parts(loaded: Loaded) -> Parts:
    assert isinstance(loaded.texts, Model)
    return loaded.texts.parts


def version(slots: Slots) -> int:
    return slots.find("moods").version.number


@pytest.mark.parametrize(
    "fault", [KeyError("x"), ValueError("no JSON"), RuntimeError("CPU: can't allocate memory"), OSError(28, "full")]
)
def test_whatever_a_version_fails_with_the_old_one_answers_and_the_alias_is_followed_on(
    lab: Lab, slots: Slots, loads: Loads, fault: Exception
) -> None:
    watcher = watch(lab, slots, loads)
    watcher.look()
    loads.faults[2] = fault
    move(lab, 2, 1)
    watcher.look()
    assert version(slots) == 1
    assert slots.slots[0].state == "SWAP_REFUSED"
    loads.faults.clear()
    move(lab, 1, 2)
    move(lab, 2, 3)  # nobody looked in between
    watcher.look()
    assert (version(slots), slots.slots[0].state) == (2, "READY")


def test_a_version_that_could_not_be_loaded_is_not_loaded_again_unless_that_may_help(
    lab: Lab, slots: Slots, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher, slot = watch(lab, slots, loads), slots.slots[0]
    watcher.look()
    monkeypatch.setattr(watching, "AGAIN_SECONDS", 0.0)
    loads.faults[2] = SelfTestError("other answers")
    move(lab, 2, 1)
    for _ in range(3):
        watcher.look()
    assert loads.asked == [1, 2]
    refused = slot.describe(why=True)["refused"]
    assert refused == {"version": 2, "generation": 2, "tried_again": False, "why": "other answers"}
    move(lab, 1, 2)
    watcher.look()
    assert slot.describe(why=True)["generation"] == 3
    assert slot.state == "READY"
    loads.faults[2] = MemoryError()
    move(lab, 2, 3)
    for _ in range(2):
        watcher.look()
    assert loads.asked == [1, 2, 2, 2]
    told = slot.describe(why=False)["refused"]
    assert told == {"version": 2, "generation": 4, "tried_again": True}  # the words are for those who may read
    assert (version(slots), slot.state) == (1, "SWAP_REFUSED")
    monkeypatch.setattr(watching, "AGAIN_SECONDS", 1e6)
    watcher.look()
    watcher.look()
    assert loads.asked == [1, 2, 2, 2, 2]


def test_a_first_version_waits_for_memory_and_for_a_busy_server_and_fails_with_all_else(
    lab: Lab, slots: Slots, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "AGAIN_SECONDS", 0.0)
    watcher, slot = watch(lab, slots, loads), slots.slots[0]
    for fault in (MemoryError(), ServiceUnavailableError("asked through HTTP, the server answers 504: late")):
        loads.faults[1] = fault
        watcher.look()
        assert (slot.state, slot.describe(why=True)["refused"]["tried_again"]) == ("STARTING", True)
    loads.faults[1] = KeyError("head")
    failed = threading.Event()
    watcher.begin(failed.set)
    assert failed.wait(30)
    watcher.stop(30)
    assert isinstance(watcher.failure, ModelError)
    assert "moods@production could not be loaded and checked: KeyError" in watcher.failure.message


def test_the_thread_outlives_what_nobody_foresaw(
    lab: Lab, slots: Slots, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.01)
    swapped = threading.Event()

    def check(_slot: Slot, loaded: Loaded) -> None:
        if loaded.version.number == 2:
            swapped.set()
            raise TypeError("nobody foresaw it")

    watcher = watch(lab, slots, loads, check)
    watcher.look()
    watcher.begin(pytest.fail)
    move(lab, 2, 1)
    assert swapped.wait(30)
    move(lab, 1, 2)
    watcher.stop(30)
    assert watcher.failure is None
    assert version(slots) == 1


def test_models_that_were_swapped_out_are_gone(lab: Lab, slots: Slots, loads: Loads) -> None:
    """They hold themselves in cycles, and Python is not asked to look for these by itself."""
    watcher = watch(lab, slots, loads)
    gc.disable()
    try:
        for seen in range(1, 11):
            watcher.look()
            held = slots.find("moods")
            move(lab, 2 if held.version.number == 1 else 1, seen)
        watcher.look()
        alive = [ref() for ref in loads.made if ref() is not None]
        assert alive == [parts(held), parts(slots.find("moods"))]  # what a request still holds, and what answers
        del held, alive
        watcher.look()
        assert sum(ref() is not None for ref in loads.made) == 1
        loads.faults[2] = SelfTestError("other answers")
        move(lab, 2, 11)
        watcher.look()
        assert slots.slots[0].state == "SWAP_REFUSED"
        assert sum(ref() is not None for ref in loads.made) == 1
    finally:
        gc.enable()
