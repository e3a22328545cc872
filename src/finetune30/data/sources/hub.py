"""Sets from the Hugging Face hub through the `datasets` library: files only, never a repository's code."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import polars as pl

from finetune30.data.sources.parquet import cast_to_text, number_rows
from finetune30.data.sources.table import SourceTable
from finetune30.errors import DataError, HubUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from datasets import DatasetDict

#: The configuration that the default set needs; it means nothing for any other set.
_DEFAULT_CONFIG = ("glue", "sst2")
_PROBE_SECONDS = 3.0
_UNLABELLED = -1


def require_hub(name: str) -> None:
    """Say quickly whether the hub can be asked at all.

    Raises HubUnavailableError where HF_HUB_OFFLINE is set or no connection opens within three seconds; a set that
    is cached can still be loaded then.
    """
    if not hub_reachable():
        raise _unavailable(name)


def hub_reachable() -> bool:
    """Return whether a connection to the hub opens (False at once where HF_HUB_OFFLINE is set)."""
    if _offline_asked():
        return False
    if any(os.environ.get(key) for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True  # only the real client knows whether a proxy gets through
    address = urlparse(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        with socket.create_connection((address.hostname, address.port or 443), timeout=_PROBE_SECONDS):
            return True
    except OSError:
        return False


def load_hub(name: str, config: str | None, revision: str | None, log: Callable[[str], None]) -> dict[str, SourceTable]:
    """Load every split of a hub set (from the cache where the hub is out of reach).

    Raises HubUnavailableError (not cached and out of reach) and DataError (no such set or configuration, gated, or
    a set that exists only as code).
    """
    if config == _DEFAULT_CONFIG[1] and name not in (_DEFAULT_CONFIG[0], "nyu-mll/glue"):
        log(f"data: dataset_config 'sst2' belongs to glue and is left out for {name}")
        config = None
    loaded = _load(name, config, revision)
    source = "/".join(part for part in (name, config) if part)
    return {str(split): _build_table(dataset, f"{source}/{split}", revision) for split, dataset in loaded.items()}


def _load(name: str, config: str | None, revision: str | None) -> DatasetDict:
    cached_only = not hub_reachable()
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    datasets.disable_progress_bars()
    try:
        with _hub_left_alone() if cached_only else nullcontext():
            return datasets.load_dataset(name, config, revision=revision)
    except ConnectionError as error:
        raise _unavailable(name) from error
    except DatasetNotFoundError as error:
        if cached_only:
            raise _unavailable(name) from error
        message = f"the hub has no data set {name!r} that you may read"
        raise DataError(message, "check the name; for a gated set log in with: hf auth login") from error
    except RuntimeError as error:
        if "scripts" not in str(error):
            raise
        message = f"the hub set {name!r} exists only as code, and code from the hub is never run"
        raise DataError(message, "use a set stored as Parquet, CSV or JSON, or download it as a file") from error
    except ValueError as error:
        if cached_only and "cache" in str(error):
            raise _unavailable(name) from error
        remedy = "set data.dataset_config to one of the names above"
        raise DataError(f"the hub set {name!r}: {str(error).splitlines()[0][:500]}", remedy) from error


@contextmanager
def _hub_left_alone() -> Iterator[None]:
    """Read the cache only; the libraries would otherwise ask the unreachable hub five times, half a minute in all."""
    import datasets.config
    import huggingface_hub.constants

    before = huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _build_table(dataset: Any, source: str, revision: str | None) -> SourceTable:
    features = dataset.features
    label_names = {
        column: tuple(feature.names) for column, feature in features.items() if type(feature).__name__ == "ClassLabel"
    }
    frame = cast_to_text(pl.DataFrame(dataset.with_format("arrow")[:]), source)
    for column in label_names:
        frame = frame.with_columns(pl.when(pl.col(column) != str(_UNLABELLED)).then(pl.col(column)).alias(column))
    facts: dict[str, str | int | None] = {"revision": revision, "fingerprint": dataset._fingerprint}
    return SourceTable(source, "hub", number_rows(frame), label_names=label_names, facts=facts)


def _offline_asked() -> bool:
    on = {"1", "ON", "YES", "TRUE"}
    return any(os.environ.get(key, "").upper() in on for key in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"))


def unreachable_reason() -> str:
    """Say why the hub is out of reach."""
    return "HF_HUB_OFFLINE is set" if _offline_asked() else "the hub cannot be reached"


def _unavailable(name: str) -> HubUnavailableError:
    return HubUnavailableError(
        f"the data set {name!r} is not cached on this machine and {unreachable_reason()}",
        "connect and try again, name a local file, or use the data that comes along: starter",
        details={"dataset_name": name},
    )
