"""What every test gets: no hub, no settings or caches of the user, a folder of its own to stand in."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

# Set before anything imports a library that reads it; child processes inherit it.
_hub_cache = tempfile.mkdtemp(prefix="finetune30-tests-hub-")
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HOME=_hub_cache,
    HF_DATASETS_CACHE=str(Path(_hub_cache) / "datasets"),
    TOKENIZERS_PARALLELISM="false",
    CUDA_VISIBLE_DEVICES="",  # the same path on every machine
    TRITON_INTERPRET="1",  # kernels for GPUs run on the CPU, where Triton is installed
    COLUMNS="200",
)
# One thread each: tests run beside each other, and small matrices gain nothing from more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
for _name in [name for name in os.environ if name.startswith("FT30_")]:
    del os.environ[_name]
# Containers like to forbid compiled sources: each of many hundred processes would compile the whole package for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


#: Where files take long, in the order in which they are begun; the page's services end with the last test of the page.
_LONG = ("integration/distributed", "integration/hub", "integration/jobs", "e2e", "integration")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the files, let them begin with the long ones: the short ones fill the end up."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _rank_of(item.path.relative_to(REPOSITORY / "tests")))


def _rank_of(path: Path) -> int:
    return next((rank for rank, room in enumerate(_LONG) if path.is_relative_to(room)), len(_LONG))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import all tests with the garbage collector at rest, and keep it away from what came in: it all stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    shutil.rmtree(_hub_cache, ignore_errors=True)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in tmp_path, so that no test reads or writes the results, data and .env of whoever runs it."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets beside the checkout; tests that need them are skipped where they are not."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no real data sets beside the checkout (shared/data)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that gives the folder of a tiny random base model: tiny_model("bert")."""
    from support.tiny_models import build_tiny_model

    built: dict[str, Path] = {}

    def folder_of(family: str = "distilbert") -> Path:
        if family not in built:
            built[family] = build_tiny_model(tmp_path_factory.mktemp(f"tiny-{family}"), family)
        return built[family]

    return folder_of


@pytest.fixture(scope="session")
def starter_chat_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the starter chat model converted; tests that need it are skipped where it is not installed."""
    from finetune30.modeling.starter_chat import ensure_starter_chat_model, is_installed

    if not is_installed():
        pytest.skip("the starter chat model is not installed (make install-chat)")
    folder = tmp_path_factory.mktemp("starter-chat")
    ensure_starter_chat_model(folder, lambda line: None)
    return folder
