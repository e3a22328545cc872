"""The saved model: adapter and head, tokenizer, label names, a card; and the proof that it answers as trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.config import ModelConfig
from finetune30.data.problem import label_names
from finetune30.errors import SelfTestError
from finetune30.hub.reach import hub_left_alone
from finetune30.modeling.heavy_imports import import_heavy

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from finetune30.data.problem import Targets

#: Loads the adapter of a folder on its base; options go to PEFT's `from_pretrained`.
LoadSaved = Callable[..., "PreTrainedModel"]

#: Largest difference of a logit between the trained model and the saved one loaded afresh. fp32 differs by the order
#: of sums only; with a bf16 or fp16 base (8 and 11 bits of mantissa) every layer rounds, and paths round differently.
LOGIT_TOLERANCE = {"fp32": 1e-3, "bf16": 0.25, "fp16": 0.05}
LABELS_FILE = "labels.json"
_REMOVE_HTML = "remove_html"


@dataclass(frozen=True)
class Reading:
    """How the texts of a training were read, so that questions are read alike.

    `columns`: text of the problem -> column of the training's file, of every text that the rows had (None: earlier
    versions did not say). `marks_are_text`: whether special tokens in texts were text. `allow_empty`: whether texts
    without any token were among those that were learnt.
    """

    columns: Mapping[str, str] | None = None
    marks_are_text: bool = False
    allow_empty: bool = False


def save_targets(
    folder: Path,
    problem_type: str,
    targets: Targets,
    max_length: int,
    recipe: Sequence[Mapping[str, Any]],
    reading: Reading,
) -> None:
    """Write what an answer needs beside the adapter: what was learnt, and how a text is treated first.

    `recipe` are the steps that cleaned the texts of the training: a text to be answered is cleaned alike. `label_names`
    and `remove_html` stand there for other readers of the file.
    """
    described = {
        "problem_type": problem_type,
        "label_names": list(label_names(targets)),
        "targets": dict(targets),
        "max_length": max_length,
        "recipe": [dict(step) for step in recipe],
        "reading": asdict(reading),
        "remove_html": any(step["step"] == _REMOVE_HTML for step in recipe),
    }
    (folder / LABELS_FILE).write_text(json.dumps(described, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def load_targets(folder: Path) -> dict[str, Any]:
    """Return what `save_targets` wrote, `reading` as a Reading.

    Earlier versions wrote no `targets` but their names, no `recipe` and no `reading`.
    """
    loaded: dict[str, Any] = json.loads((folder / LABELS_FILE).read_text(encoding="utf-8"))
    named = {"label_names": loaded["label_names"]} if loaded["label_names"] else {}
    steps = [{"step": _REMOVE_HTML}] if loaded.get("remove_html") else []
    return {"targets": named, "recipe": steps, **loaded, "reading": Reading(**loaded.get("reading", {}))}


def load_saved(
    folder: Path, load: LoadSaved, dtype: str = "float32"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a saved adapter on its base with plain PEFT, in eval mode on the CPU, and its tokenizer.

    `load` is the problem's (`Trainable.load_saved`). A base from the hub is fetched where it is not cached; the
    libraries themselves never ask. Raises ModelError and HubError.
    """
    import_heavy("transformers.modeling_utils", "peft")
    from transformers import AutoTokenizer

    from finetune30.modeling.quiet import quiet_transformers

    _require_base(folder)
    with quiet_transformers(), hub_left_alone():
        model = load(str(folder), dtype=dtype, trust_remote_code=False, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def load_base_config(folder: Path) -> PretrainedConfig:
    """Return the loaded configuration of the base model of a saved adapter. Raises ModelError and HubError."""
    from finetune30.modeling.model_facts import load_config

    return load_config(_require_base(folder), str(folder))


def _require_base(folder: Path) -> Path:
    """See to it that the base model of a saved adapter is on this machine; return where."""
    from finetune30.modeling.base import find_base

    described = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    base, revision = described["base_model_name_or_path"], described.get("revision")
    if revision is not None or not Path(base).is_dir():
        return find_base(ModelConfig(name=base, revision=revision)).folder
    return Path(base)


def validate_saved_tensors(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    """Check that the file holds exactly the trained tensors, bit for bit. Raises SelfTestError."""
    import torch
    from safetensors.torch import load_file

    saved = load_file(folder / "adapter_model.safetensors")
    if saved.keys() != expected.keys():
        raise _failed(f"weights {sorted(saved.keys() ^ expected.keys())[:4]} are saved or trained, but not both")
    wrong = [name for name, tensor in expected.items() if not torch.equal(saved[name], tensor)]
    if wrong:
        raise _failed(f"{len(wrong)} saved weights differ from the trained ones: {', '.join(wrong[:4])}")


def validate_saved_outputs(
    answer: Callable[[], NDArray[np.float32]], expected: NDArray[np.float32], precision: str
) -> float:
    """Check that the saved model, loaded afresh, gives the trained model's outputs; return the largest difference.

    Raises SelfTestError.
    """
    got = answer()
    if got.shape != expected.shape:
        raise _failed(f"it gives outputs of shape {got.shape}, the trained one {expected.shape}")
    difference = float(np.abs(got - expected).max(initial=0.0))
    allowed = LOGIT_TOLERANCE[precision] * max(1.0, float(np.abs(expected).max(initial=0.0)))
    if not difference <= allowed:
        raise _failed(f"its outputs differ by {difference:.4g}, allowed at {precision}: {allowed:.4g}")
    return difference


def _failed(what: str) -> SelfTestError:
    return SelfTestError(
        f"the saved model, loaded afresh, is not the trained one: {what}",
        "the run counts as failed and its checkpoints are kept; please report this with logs.txt",
    )
