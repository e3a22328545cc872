"""Labs for demanding trainings, and the run that every other one is compared with."""

from __future__ import annotations

import pytest

from support.exactness import Lab, fingerprint


@pytest.fixture(scope="session")
def make_lab(fork_server, tiny_model, tmp_path_factory):
    """Return make_lab(changes={dotted key: value}, family="distilbert") -> Lab in a folder of its own."""

    def make(changes=None, family="distilbert"):
        return Lab(fork_server, tmp_path_factory.mktemp("lab"), tiny_model(family), changes)

    return make


@pytest.fixture(scope="session")
def demanding(make_lab):
    """Return demanding(engine, seed) -> the lab of that training and the fingerprint of its uninterrupted run."""
    known = {}

    def uninterrupted(engine="general", seed=42):
        if (engine, seed) not in known:
            lab = make_lab({"training.engine": engine, "training.seed": seed})
            ended = lab.train("whole")
            assert ended.returncode == 0, ended.stderr
            known[engine, seed] = lab, fingerprint(lab.run_folder("whole"))
            assert known[engine, seed][1]["metrics"]["engine"] == engine
        return known[engine, seed]

    return uninterrupted
