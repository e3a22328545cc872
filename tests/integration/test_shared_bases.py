"""Adapters of one base share it in memory, and none answers for another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from finetune30.service.parity.checking import Served
from finetune30.service.parity.served_texts import ServedTexts
from finetune30.service.serving.batcher import Limits
from finetune30.service.serving.loading import AskedTexts
from finetune30.training.saved_engine import SavedEngines
from support.kinds import KINDS, KindsLab
from support.serving_lab import ServingLab, serve_lab

pytestmark = pytest.mark.integration

TEXTS = [text for text, _ in KINDS["single-label"].rows()][:8]


def test_adapters_of_one_base_are_asked_in_turn(kinds_lab: KindsLab) -> None:
    trained = (("single-label", "one", 42), ("single-label", "two", 7), ("regression", "three", 42))
    for kind, model, seed in trained:  # all three here: runs of another lab have another folder for a base
        kinds_lab.train(KINDS[kind], f"trained-{model}", num_train_epochs=6, seed=seed)
        kinds_lab.ft30("models", "register", f"trained-{model}", model)
    with serve_lab(kinds_lab.folder, "one:1", "two:1", "three:1", limits=Limits(batches=2)) as lab:
        lab.watcher.look()
        one, two, three = (engine_of(lab, name) for name in ("one", "two", "three"))
        assert one is two  # three has another head
        assert one is not three
        wanted = {name: answers(lab, name) for name in ("one", "two")}
        assert wanted["one"] != wanted["two"]
        with ThreadPoolExecutor(8) as callers:
            asked = ["one", "two"] * 20
            found = list(callers.map(lambda name: answers(lab, name), asked))
        for name, shares in zip(asked, found, strict=True):
            assert shares == pytest.approx(wanted[name], abs=1e-4)


def test_adapters_that_are_loaded_at_once_have_one_engine(kinds_lab: KindsLab) -> None:
    folder = kinds_lab.train(KINDS["single-label"], "loaded-at-once", num_train_epochs=2) / "artifacts/final_model"
    engines, together = SavedEngines(), threading.Barrier(4)

    def load(_: int) -> Served:
        together.wait()
        return Served(folder, engines)

    with ThreadPoolExecutor(4) as loading:
        loaded = list(loading.map(load, range(4)))
    assert len({id(_packed_engine(served.texts)) for served in loaded}) == 1


def engine_of(lab: ServingLab, name: str) -> object:
    texts = lab.serving.slots.find(name).texts
    assert isinstance(texts, AskedTexts)
    return _packed_engine(texts.served)


def _packed_engine(served: ServedTexts | None) -> object:
    assert served is not None
    assert served._packed is not None
    return served._packed.shared


def answers(lab: ServingLab, name: str) -> list[float]:
    """Return the probabilities of some texts, one after the other."""
    found = lab.predict(name, TEXTS)
    assert found["model"] == name
    return [share for answer in found["answers"] for share in answer["probabilities"].values()]
