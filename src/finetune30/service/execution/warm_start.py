"""Starting a new run from the weights of an earlier one: no optimizer state, no position, a fresh schedule."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from finetune30.data.problem import label_names
from finetune30.errors import CheckpointError, ModelError
from finetune30.files import disk_errors, load_json, save_bytes_atomic, save_json_atomic, sha256_of
from finetune30.modeling.saved_targets import LABELS_FILE, load_targets
from finetune30.store.run_folder import RunFolder

if TYPE_CHECKING:
    import torch

    from finetune30.data.problem import Targets

ADAPTER_FILE = "adapter_model.safetensors"
#: Where a checkpoint keeps the order of its labels.
LABEL_ORDER = "label order"
#: What a checkpoint has whose adapter is trained on another base than the model's, see `Engine.start_digest`.
START_OF_ADAPTER = "start_of_adapter"


def find_start_weights(folder: RunFolder) -> Path:
    """Return a folder that keeps the weights of a run: its final model, else a copy of its newest checkpoint's.

    The copy lies in `warm_start/` of the run's folder, since checkpoints come and go. Raises CheckpointError.
    """
    from finetune30.training.checkpoints import find_latest

    if (folder.final_model / ADAPTER_FILE).is_file():
        return folder.final_model
    numbers = reversed(folder.attempt_numbers())
    latest = find_latest(*(folder.attempts / str(number) / "checkpoints" for number in numbers))
    if latest is None:
        begun = folder.config.is_file()
        raise CheckpointError(
            f"{folder.path.name} has neither a final model nor a valid checkpoint to start from",
            f"train anew: ft30 train --config {shlex.quote(folder.config.as_posix())}"
            if begun
            else f"train it from the start: ft30 resume {shlex.quote(folder.path.name)}",
        )
    identity = load_json(latest / "state.json")["identity"]
    if START_OF_ADAPTER in identity:
        raise CheckpointError(
            f"the adapter in the newest checkpoint of {folder.path.name} is not for the base model as it is, of which "
            "lora.init_lora_weights took the start of it out",
            f"train it to its end first: ft30 resume {shlex.quote(folder.path.name)}; its final model is an ordinary "
            "adapter of twice the rank, which other runs can start from",
        )
    kept = folder.path / "warm_start" / latest.name
    with disk_errors("cannot keep the weights to start from"):
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        save_bytes_atomic(kept / ADAPTER_FILE, (latest / "adapter.safetensors").read_bytes())
        # A checkpoint names the order of its labels where it is not the data's, and only there.
        order = identity.get(LABEL_ORDER, [])
        save_json_atomic(kept / LABELS_FILE, {"label_names": order})
    return kept


def load_start_adapter(folder: str) -> dict[str, torch.Tensor]:
    """Return the tensors of `training.start_adapter`. Raises ModelError when there are none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        loaded: dict[str, torch.Tensor] = load_file(_file_in(folder))
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"training.start_adapter: '{folder}' has no readable {ADAPTER_FILE}: {error}",
            "name the folder of a saved adapter, such as artifacts/final_model of a run",
        ) from error
    return loaded


def load_start_targets(folder: str) -> Targets | None:
    """Return the targets that the weights in `folder` were trained for, None where nothing there says so.

    Without names their order is that of the data. Raises ModelError for a file that cannot be read.
    """
    path = Path(folder).expanduser() / LABELS_FILE
    if not path.is_file():
        return None
    try:
        targets: Targets = load_targets(path.parent)["targets"]
        if not all(isinstance(name, str) for name in label_names(targets)):
            raise ValueError("label_names are no texts")
        return targets
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"training.start_adapter: '{path}' cannot be read: {error}",
            "restore it, or name the folder of another adapter",
        ) from error


def start_adapter_digest(folder: str | None) -> str | None:
    """Return the sha256 of the weights that a training starts from, None for a new adapter or a missing file."""
    if folder is None or not _file_in(folder).is_file():
        return None
    return sha256_of(_file_in(folder))


def _file_in(folder: str) -> Path:
    return Path(folder).expanduser() / ADAPTER_FILE
