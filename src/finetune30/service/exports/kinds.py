"""Which forms of export there are and which models can have them, apart from what makes them (`forms`).

Whoever only chooses, or shows what is there, stays free of what computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from finetune30.errors import UsageError
from finetune30.modeling.saved_targets import load_targets
from finetune30.problems import scores_tokens
from finetune30.service.runs.open_records import Records
from finetune30.store import Run

#: The form that nothing is made or measured for: every model has it.
ZIP = "zip"
#: The form that an adapter of a quantised base can have, too.
MERGED = "merged"
#: Each form and the precision of its weights, the usual one of a form first -> the models that it fits.
KINDS: Mapping[tuple[str, str], Literal["any", "head", "language"]] = {
    (MERGED, "f32"): "any",
    ("onnx", "f32"): "head",
    ("onnx", "int8"): "head",
    ("gguf", "f16"): "language",
    ("gguf", "q8_0"): "language",
}
#: What an adapter that was trained on a quantised base can be merged into, in the order in which they are tried.
QUANTISED_BASES = ("whole", "dequantised")
#: Below the results folder: exports that are given no other place.
EXPORTS = "exports"
RECEIPT = "receipt.json"


def name_export(form: str, precision: str | None) -> str:
    """Return what an export is called among those of its run."""
    return form if precision is None else f"{form}-{precision}"


def said_precision(form: str, precision: str | None) -> str | None:
    """Return a precision, None for the one that a form has when nothing is said."""
    return None if precision == _usual_precision(form) else precision


def place_of(records: Records, run: Run, name: str) -> Path:
    """Return where an export of a run lies that is given no other place."""
    return records.results_root / EXPORTS / f"{run.folder}-{name}"


def choose_form(name: str, precision: str | None, adapter: Path, into: str | None) -> tuple[str, str] | None:
    """Return the key of a form (see KINDS) that a model can have.

    None is for an adapter of a quantised base that nothing says what to merge into. Without a `precision` it is the
    first one that the form has. Raises UsageError where there is no such form, or `into` is said of another adapter.
    """
    precisions = [known for form, known in KINDS if form == name]
    if precision is not None and precision not in precisions:
        raise UsageError(
            f"--as {name} has no precision {precision}; it has {', '.join(precisions)}",
            "choose one of these, or leave it out",
        )
    described = load_targets(adapter)
    _require_kind(name, described)
    is_quantised = described.get("quantization") is not None
    if into is not None and not is_quantised:
        raise UsageError("--into is for adapters of a quantised base, and this one's base is whole", "leave it out")
    if is_quantised and name != MERGED:
        raise UsageError(
            f"an adapter of a quantised base cannot be exported as {name}", "choose --as zip, or --as merged"
        )
    return None if is_quantised and into is None else (name, precision or precisions[0])


def _usual_precision(form: str) -> str | None:
    return next((precision for name, precision in KINDS if name == form), None)


def _require_kind(form: str, described: Mapping[str, Any]) -> None:
    """Raise UsageError for a model that has no such form."""
    own = "language" if scores_tokens(described["problem_type"], described["targets"]) else "head"
    fitting = list(dict.fromkeys(name for (name, _), kind in KINDS.items() if kind in ("any", own)))
    if form not in fitting:
        fits = "models with a head (classifiers, regression)" if own == "language" else "language models"
        choices = " or ".join(f"--as {name}" for name in (*fitting, ZIP))
        raise UsageError(f"--as {form} is for {fits}", f"choose {choices}")
