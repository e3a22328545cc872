"""Which forms a finished model can have here, told before anything is made and without loading what computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from finetune30.errors import Finetune30Error, ModelError, ServiceUnavailableError, StorageError, UsageError
from finetune30.files import load_json
from finetune30.modeling.exporting.needs import require_gguf, require_gguf_model, require_onnx
from finetune30.modeling.published_base import find_local_base
from finetune30.modeling.saved_targets import LABELS_FILE, load_targets
from finetune30.service.exports.kinds import (
    KINDS,
    MERGED,
    QUANTISED_BASES,
    ZIP,
    choose_form,
    name_export,
    said_precision,
)
from finetune30.service.exports.reading import require_modules

#: What a form needs beside this package.
_NEEDS: dict[str, tuple[Callable[[], object], ...]] = {"onnx": (require_onnx,), "gguf": (require_gguf, require_modules)}


@dataclass(frozen=True)
class Choice:
    """A form in one precision (None: nothing is converted); `error` says why this model cannot have it here.

    `bases`: what the adapter of a quantised base can be merged into.
    """

    form: str
    precision: str | None
    error: Finetune30Error | None
    bases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What an export of this form is called; the usual precision of a form goes without saying."""
        return name_export(self.form, said_precision(self.form, self.precision))

    def as_dict(self) -> dict[str, Any]:
        """Return it as answers have it."""
        error = None if self.error is None else self.error.as_dict()
        described = {"as": self.form, "precision": self.precision, "bases": list(self.bases)}
        return {"name": self.name, **described, "possible": self.error is None, "error": error}


def list_choices(adapter: Path) -> list[Choice]:
    """Return every form, the adapter itself first. Raises StorageError where there is no adapter."""
    is_quantised = _load(adapter).get("quantization") is not None
    found = [Choice(ZIP, None, None)]
    for form, precision in KINDS:
        bases = QUANTISED_BASES if is_quantised and form == MERGED else ()
        found.append(Choice(form, precision, _find_obstacle(adapter, form, precision), bases))
    return found


def require_choice(adapter: Path, form: str, precision: str | None, into: str | None) -> str:
    """Return what the export is called that a model can have here.

    Raises ModelError for a form that is not for this model, ServiceUnavailableError where what makes or reads it is not
    installed, and StorageError.
    """
    _load(adapter)
    try:
        choose_form(form, precision, adapter, into)
    except UsageError as error:
        raise ModelError(error.message, error.remedy) from error
    _require_installed(form)
    if form == "gguf":
        _require_known_base(adapter)
    return name_export(form, said_precision(form, precision))


def _find_obstacle(adapter: Path, form: str, precision: str) -> Finetune30Error | None:
    try:
        require_choice(adapter, form, precision, None)
    except StorageError:
        raise
    except Finetune30Error as error:
        return error
    return None


def _load(adapter: Path) -> dict[str, Any]:
    if not (adapter / LABELS_FILE).is_file():
        raise StorageError(
            f"{adapter.parents[1].name} holds no adapter: no {LABELS_FILE}", "train again with its config.yaml"
        )
    return load_targets(adapter)


def _require_installed(form: str) -> None:
    try:
        for require in _NEEDS.get(form, ()):
            require()
    except ModelError as error:
        raise ServiceUnavailableError(error.message, error.remedy) from error


def _require_known_base(adapter: Path) -> None:
    """Raise ModelError where the base model says by its configuration that llama.cpp would not read it alike.

    One of the hub is not looked up: whoever makes the export is told.
    """
    base = find_local_base(adapter)
    described = None if base is None else load_json(base / "config.json")
    if described is not None:
        rope = described.get("rope_parameters") or described.get("rope_scaling")
        told = {"model_type": described.get("model_type"), "rope_parameters": rope}
        require_gguf_model(SimpleNamespace(**{**described, **told}))
