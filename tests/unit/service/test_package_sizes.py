"""How large the .zip of a model is: told once for the files that it was told for, and none where one has gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune30.service.models import model_package
from finetune30.service.models.model_package import ModelPackage, PackageSizes
from finetune30.service.models.zip_stream import Member
from finetune30.store import open_store

RUN: Any = SimpleNamespace(id="a" * 32, manifest_sha256="b" * 64)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Every weights file that a package was built with; the model is a folder with one."""
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(b"12345")
    files: list[Path] = []

    def build(*_: Any) -> ModelPackage:
        files.append(weights)
        members = (Member("use_model.py", b"123"), Member("adapter/adapter_model.safetensors", weights))
        return ModelPackage("trial", datetime(2026, 1, 31, tzinfo=UTC), members)

    monkeypatch.setattr(model_package, "build_model_package", build)
    return files


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Any]:
    store = open_store(f"sqlite:///{(tmp_path / 'looks' / 'runs.db').as_posix()}")
    yield SimpleNamespace(store=store, folder=lambda _: SimpleNamespace(final_model=tmp_path, path=tmp_path))
    store.close()


def test_a_size_is_told_once_for_the_same_files(built: list[Path], records: Any, tmp_path: Path) -> None:
    sizes = PackageSizes()
    assert [sizes.find(records, RUN) for _ in range(3)] == [8, 8, 8]
    assert len(built) == 1
    (tmp_path / "adapter_model.safetensors").write_bytes(b"123456")
    assert sizes.find(records, RUN) == 9
    assert len(built) == 2


def test_a_file_that_is_gone_when_it_is_measured_is_no_fault(
    built: list[Path], records: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_package, "_stamps", lambda _: iter(()))
    (tmp_path / "adapter_model.safetensors").unlink()
    assert PackageSizes().find(records, RUN) is None
    assert len(built) == 1
