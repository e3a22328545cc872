"""The data of a run on the record: its version, the rows set aside, and a ledger that agrees with the trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from finetune30.data.ledger import describe_ledger, reconcile
from finetune30.errors import DataError
from finetune30.files import encode_json

if TYPE_CHECKING:
    from finetune30.data.encoding import EncodedSplit
    from finetune30.data.prepare import PreparedData
    from finetune30.settings import Settings
    from finetune30.store.run_folder import AttemptFolder
    from finetune30.store.run_store import RunStore
    from finetune30.training.progress import Progress


def record_data(data: PreparedData, attempt: AttemptFolder, store: RunStore, settings: Settings) -> None:
    """Store the run's rows as a dataset version and show the report and the rows set aside in the run folder."""
    from finetune30.data.prepare import record_version
    from finetune30.data.validation.quarantine import encode_quarantine
    from finetune30.data.versions.storage import VersionStore
    from finetune30.store.dataset_versions import DatasetIndex

    attempt.reveal("data_report.json", encode_json(data.report))
    if data.quarantine.height:
        attempt.reveal("quarantine.jsonl", encode_quarantine(data.quarantine))
    record_version(data, VersionStore(settings.data_folder, DatasetIndex(store)))


def settle_ledger(
    data: PreparedData, train: EncodedSplit, evaluation: EncodedSplit, log: Callable[[str], None]
) -> PreparedData:
    """Return the data with a ledger that names truncated rows, compared with what the trainer was given.

    Rows of which the chat template leaves something out, or of which an answer carries no loss, are among the findings.
    Raises DataError where a row is missing or too many.
    """
    truncated = {
        split: [row_id for row_id, cut in zip(encoded.row_ids, encoded.truncated.tolist(), strict=True) if cut]
        for split, encoded in (("train", train), ("evaluation", evaluation))
    }
    ledger = reconcile(data.ledger, train.row_count, evaluation.row_count, truncated)
    for line in describe_ledger(ledger):
        log(f"ledger: {line}")
    data = replace(data, ledger=ledger, report={**data.report, "ledger": ledger})
    told = _tell_of_templates({"train": train, "evaluation": evaluation})
    if not told:
        return data
    from finetune30.data.setting_aside import warn_of_rows

    return warn_of_rows(data, told)


def _tell_of_templates(splits: Mapping[str, EncodedSplit]) -> dict[str, dict[str, dict[str, str]]]:
    """Return what the token ledger counts beside tokens, row by row: rule -> split -> row id -> words."""
    words = {
        "dropped_characters": "characters of its messages that the chat template leaves out: {:,}",
        "unlike_asked": "answers without loss, as the chat template would ask for them behind another text: {:,}",
    }
    told: dict[str, dict[str, dict[str, str]]] = {}
    for rule, text in words.items():
        for name, split in splits.items():
            counts = split.token_counts.get(rule)
            if counts is not None and counts.any():
                rows = {split.row_ids[place]: text.format(int(counts[place])) for place in counts.nonzero()[0]}
                told.setdefault(rule, {})[name] = rows
    return told


def describe_limits(ledger: Mapping[str, Any]) -> list[str]:
    """Return a line for each split of which a limit leaves rows unused, with the key that sets it."""
    keys = {"train": "data.train_samples", "evaluation": "data.eval_samples"}
    lines = []
    for split, total in ledger["totals"].items():
        if unused := total["dropped"].get("not_sampled", 0):
            good = total["used"] + unused
            lines.append(
                f"data: {total['used']:,} of {good:,} {split} rows are used, as {keys[split]} says (null: all)"
            )
    return lines


def check_consumption(train: EncodedSplit, evaluation: EncodedSplit, progress: Progress, evaluated: int) -> None:
    """Compare what the ledger was settled with and what the trainer counted step by step: rows, or parts of long ones.

    Whole epochs must have taken each once, a broken-off one at most once. Raises DataError (the run must fail) where
    they differ.
    """
    used = len(train)
    least = progress.epoch * used
    most = least + (used if progress.step_in_epoch else 0)
    if not least <= progress.samples <= most:
        message = f"the trainer took {progress.samples} rows in {progress.epochs_done:g} epochs of {used} used rows"
        raise DataError(message, "the run is not trustworthy; please report this with its config.yaml")
    if evaluated != len(evaluation):
        message = f"the trainer evaluated {evaluated} rows, the ledger says {len(evaluation)} are used"
        raise DataError(message, "the run is not trustworthy; please report this with its config.yaml")
