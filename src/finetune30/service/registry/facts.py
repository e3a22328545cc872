"""What is recorded of a run as it becomes a version: from the run's own row and files, nothing is typed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.blocks import Figure
from finetune30.data.problem import label_names
from finetune30.errors import StorageError
from finetune30.files import load_json
from finetune30.modeling.saved_targets import LABELS_FILE
from finetune30.modeling.travelling import find_travel_faults
from finetune30.service.runs.blocks import build_result_blocks
from finetune30.service.runs.details import require_kept_model, require_model, verify_run
from finetune30.service.runs.evaluation_rows import load_row_texts
from finetune30.service.runs.open_records import Records
from finetune30.store import Run
from finetune30.store.model_records import NewVersion

if TYPE_CHECKING:
    from finetune30.data.versions.storage import VersionStore

_MODEL = "artifacts/final_model"
_ADAPTER = f"{_MODEL}/adapter_model.safetensors"
#: Scripts in which fewer evaluation rows are written than this share are not named.
_LEAST_SHARE = 0.05


def collect_facts(records: Records, run: Run, versions: VersionStore) -> tuple[NewVersion, dict[str, Any]]:
    """Return what a version of a run is, and the run's manifest; every published file is hashed again.

    Raises ConflictError for a run without a finished model, StorageError for files that are not as published.
    """
    require_model(run)
    folder = records.require_folder(run)
    require_kept_model(run, folder)
    verify_run(records, run)
    manifest = folder.load_manifest()
    files, metrics = manifest["files"], run.metrics or {}
    if missing := [name for name in (_ADAPTER, f"{_MODEL}/{LABELS_FILE}") if name not in files]:
        raise StorageError(f"{run.folder} holds no adapter: no {missing[0]}", "train again with its config.yaml")
    labels = load_json(folder.final_model / LABELS_FILE)
    base = manifest["base"]
    facts = {
        "run_name": run.name,
        "base": _describe_base(base, labels),
        "data": {**_describe_data(run, manifest), "scripts": count_scripts(run, versions)},
        "score": _describe_score(run, metrics),
        "labels": list(label_names(labels.get("targets") or {"label_names": labels["label_names"]})),
        "max_length": labels["max_length"],
        "adapter": {key: run.config["lora"][key] for key in ("r", "lora_alpha", "target_modules")},
        "doubts": [doubt["words"]["en"] for doubt in metrics.get("doubts") or []],
        "travel_faults": find_travel_faults(folder.final_model),
    }
    made = NewVersion(
        run_id=run.id,
        problem_type=str(labels["problem_type"]),
        manifest_sha256=str(run.manifest_sha256),
        adapter_sha256=files[_ADAPTER]["sha256"],
        labels_sha256=files[f"{_MODEL}/{LABELS_FILE}"]["sha256"],
        base_sha256=str(base.get("sha256") or ""),
        facts=facts,
    )
    return made, manifest


def count_scripts(run: Run, versions: VersionStore) -> dict[str, float]:
    """Return script -> share of the evaluation rows written in it; nothing where these are not stored any more."""
    import polars as pl

    from finetune30.data.validation.set_rules import name_scripts

    texts = [next(iter(cells.values())) or "" for cells in load_row_texts(run, versions).values()]
    if not texts:
        return {}
    counts = Counter(script for script in name_scripts(pl.Series(texts, dtype=pl.String)) if script)
    return {script: round(n / len(texts), 4) for script, n in counts.most_common() if n >= _LEAST_SHARE * len(texts)}


def _describe_base(base: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, Any]:
    told = labels.get("base") or {}
    name = told.get("name") or base.get("id") or Path(str(base.get("name", ""))).name
    return {"name": name, "revision": base.get("revision"), "sha256": base.get("sha256")}


def _describe_data(run: Run, manifest: Mapping[str, Any]) -> dict[str, Any]:
    data = manifest.get("data") or {}
    name = str(data.get("id") or Path(str(data.get("name") or run.dataset_name or "")).name)
    metrics = run.metrics or {}
    rows = {"train": metrics.get("train_samples"), "evaluation": metrics.get("eval_samples")}
    return {"name": name, "commit": data.get("commit"), "digest": run.dataset_digest, "rows": rows}


def _describe_score(run: Run, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the score with the interval of the figure that shows it, where the problem tells one."""
    figures = (block for block in build_result_blocks(metrics) if isinstance(block, Figure))
    shown = next((figure for figure in figures if figure.value == run.score), None)
    return {
        "name": run.score_name,
        "value": run.score,
        "format": run.score_format,
        "greater_is_better": run.score_greater_is_better,
        "interval": list(shown.interval) if shown and shown.interval else None,
        "rows": shown.rows if shown else None,
    }
