"""Rows under every rule, and what a training would do about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from finetune30.config import ExperimentConfig
from finetune30.config.conversations import follow_conversations
from finetune30.errors import DataError
from finetune30.service.datasets.operations import DatasetRequest, Log, load_dataset_rows
from finetune30.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from finetune30.config.data import DataConfig
    from finetune30.data.encoding import CountTokens
    from finetune30.data.loading import LoadedRows
    from finetune30.data.validation.validate import Validation
    from finetune30.hub.fetching import OnTransfer


@dataclass(frozen=True)
class Checked:
    """What the rules say.

    `quarantine`: the rows that a training would set aside, with why. `refusal`: why a
    training would not start at all (None: it would).
    """

    loaded: LoadedRows
    validation: Validation
    quarantine: pl.DataFrame
    refusal: str | None

    def as_dict(self, limit: int | None = None) -> dict[str, Any]:
        """Return a JSON tree; `limit` cuts the findings."""
        findings = self.validation.findings
        return {
            "dataset_name": self.loaded.source["name"],
            "rows": self.loaded.rows.height,
            "problem_type": self.loaded.problem.name,
            "detected": [asdict(found) for found in self.loaded.detected],
            "files": self.loaded.describe_files(),
            "rule_shares": [share.as_tree() for share in self.validation.shares],
            "errors": self.validation.error_count,
            "summary": self.validation.summary(),
            "set_aside": self.quarantine.height,
            "would_train": self.refusal is None,
            "refusal": self.refusal,
            "findings": (findings if limit is None else findings.head(limit)).to_dicts(),
        }


def check_rows(
    request: DatasetRequest,
    settings: Settings,
    log: Log,
    find_counter: Callable[[LoadedRows, int], CountTokens | None] = lambda _, __: None,
    on_transfer: OnTransfer | None = None,
) -> Checked:
    """Load rows and apply every rule; those about tokens only where `find_counter` finds what counts them.

    It is asked with the rows and the tokens that a row may have, which follow what the rows turned out to be.
    """
    from finetune30.data.validation.quarantine import apply_gate, open_gate
    from finetune30.data.validation.validate import validate_rows

    loaded = load_dataset_rows(request, settings, log, on_transfer)
    gate = request.data.gate
    data = _followed(request, loaded.problem.name)
    counter = find_counter(loaded, data.max_length)
    validation = validate_rows(loaded, data, expected_labels=request.num_labels, count_tokens=counter)
    try:
        return Checked(loaded, validation, apply_gate(validation, loaded.rows, gate).quarantine, None)
    except DataError as error:
        aside = apply_gate(validation, loaded.rows, open_gate(gate)).quarantine
        return Checked(loaded, validation, aside, error.message)


def _followed(request: DatasetRequest, problem: str) -> DataConfig:
    """Return the data section with the defaults that a training takes for such rows."""
    config, _ = follow_conversations(ExperimentConfig(data=request.data), problem, request.explicit)
    return config.data
