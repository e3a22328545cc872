"""What the data commands tell and write: an analysis, what is wrong with rows, clean rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.config.schema import ModelConfig
from finetune30.files import save_bytes_atomic, save_json_atomic
from finetune30.service.datasets.checking import Checked, check_rows
from finetune30.service.datasets.html_report import Language, build_html
from finetune30.service.datasets.operations import (
    DatasetRequest,
    Log,
    clean,
    load_dataset_rows,
    load_recipe,
    request_of_source,
)
from finetune30.service.datasets.token_counting import find_token_counter
from finetune30.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.encoding import CountTokens
    from finetune30.data.loading import LoadedRows
    from finetune30.hub.fetching import OnTransfer


def analyze_data(
    request: DatasetRequest,
    settings: Settings,
    log: Log,
    *,
    model: str | None = None,
    against: str | None = None,
    html_file: Path | None = None,
    language: Language = "en",
    on_transfer: OnTransfer | None = None,
) -> dict[str, Any]:
    """Return the analysis (see `analyze_rows`), and write it as a page where a file is named.

    Tokens are counted under the model, or those of the request. `against`, a source, adds a comparison as `drift`.
    """
    from finetune30.data.analysis.drift import compare_rows
    from finetune30.data.analysis.statistics import analyze_rows

    loaded = load_dataset_rows(request, settings, log, on_transfer)
    count_tokens = _find_counter(request, model, loaded, settings, log, on_transfer)
    rows = _chosen(loaded.rows, request)
    name = str(loaded.source["name"])
    if request.sampled and name == request.data.offline_fallback != request.data.dataset_name:
        log("data: sampled as the configuration says; a training that falls back takes all rows of the starter")
    analysis = analyze_rows(rows, loaded.problem, name=name, count_tokens=count_tokens)
    if against is not None:
        wanted = replace(request_of_source(against), problem_type=request.problem_type)
        other = load_dataset_rows(wanted, settings, log, on_transfer)
        before, after = (part.filter(part["split"] == "train") for part in (_chosen(other.rows, wanted), rows))
        analysis["drift"] = {"name": other.source["name"], **compare_rows(before, after, loaded.problem)}
    if html_file is not None:
        save_bytes_atomic(html_file, build_html(analysis, language, drift=analysis.get("drift")).encode("utf-8"))
        log(f"report: {html_file}")
    return analysis


def check_data(
    request: DatasetRequest,
    settings: Settings,
    log: Log,
    *,
    model: str | None = None,
    report_file: Path | None = None,
    quarantine_file: Path | None = None,
    on_transfer: OnTransfer | None = None,
) -> Checked:
    """Apply every rule; write all findings (JSON) and the rows set aside (JSONL) where files are named.

    Tokens are counted under the model, or those of the request; without a tokenizer a word says what is left open.
    """
    from finetune30.data.validation.quarantine import encode_quarantine

    def find_counter(loaded: LoadedRows, max_length: int) -> CountTokens | None:
        counter = _find_counter(request, model, loaded, settings, log, on_transfer, max_length=max_length)
        if counter is None:
            log(
                "data: which rows are cut (truncated) or give the model nothing to read (no_tokens) is seen in the "
                "training; name a base model to see it here: --model NAME"
            )
        return counter

    checked = check_rows(request, settings, log, find_counter, on_transfer)
    if report_file is not None:
        save_json_atomic(report_file, checked.as_dict())
        log(f"report: {report_file}")
    if quarantine_file is not None:
        save_bytes_atomic(quarantine_file, encode_quarantine(checked.quarantine))
        log(f"rows set aside: {quarantine_file}")
    return checked


def clean_data(
    request: DatasetRequest,
    settings: Settings,
    log: Log,
    folder: Path,
    *,
    recipe: Path | None = None,
    format_name: str = "csv",
    overwrite: bool = False,
    on_transfer: OnTransfer | None = None,
) -> dict[str, Any]:
    """Run a recipe (a file, else the default one), write the clean rows into a folder and return what was done."""
    from finetune30.data.versions.checkout import save_splits
    from finetune30.data.versions.schema import schema_of_roles
    from finetune30.data.versions.storage import digest_version

    steps = load_recipe(recipe)
    loaded, counts, splits = clean(request, settings, log, steps, on_transfer)
    schema = schema_of_roles(loaded.problem.columns, grouped=loaded.groups is not None)
    paths = save_splits(splits, folder, format_name, schema, overwrite=overwrite)
    return {
        "dataset_name": loaded.source["name"],
        **counts,
        "rows_before": loaded.rows.height,
        "rows_after": sum(rows.height for rows in splits.values()),
        "content_digest": digest_version({}, splits, schema),
        "files": [str(path) for path in paths],
    }


def _find_counter(
    request: DatasetRequest,
    model: str | None,
    loaded: LoadedRows,
    settings: Settings,
    log: Log,
    on_transfer: OnTransfer | None,
    *,
    max_length: int | None = None,
) -> CountTokens | None:
    models = request.models if model is None else (ModelConfig(name=model),)
    folder = settings.data_folder
    return find_token_counter(models, loaded.problem, request.chat, log, folder, on_transfer, max_length=max_length)


def _chosen(rows: pl.DataFrame, request: DatasetRequest) -> pl.DataFrame:
    """Return the rows that a training would sample, or all of them."""
    import polars as pl

    from finetune30.data.splitting import sample_rows

    if not request.sampled:
        return rows
    wanted = {"train": request.data.train_samples, "evaluation": request.data.eval_samples}
    parts = []
    for (split,), part in rows.group_by("split", maintain_order=True):
        count = wanted[str(split)]
        chosen = None if count is None else sample_rows(part["label_text"].fill_null(""), count, request.seed)
        parts.append(part if chosen is None else part[chosen])
    return pl.concat(parts)
