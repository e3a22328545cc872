"""What validation and analysis say about a dataset version, and which of its rows a training would set aside."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from finetune30.service.datasets.checking import check_rows
from finetune30.service.datasets.operations import request_of_source
from finetune30.settings import Settings

SHOWN_FINDINGS = 500
SHOWN_ROWS = 1000
KEPT = 8


class VersionReports:
    """The last reports of versions; `make` returns that of a digest."""

    def __init__(self, make: Callable[[str], dict[str, Any]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def load(self, digest: str) -> dict[str, Any]:
        """Return the report of a version; the same digest is always the same report. Raises DataError."""
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
                return self._kept[digest]
        report = self._make(digest)
        with self._lock:
            self._kept[digest] = report
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return report


def report_version(digest: str, settings: Settings) -> dict[str, Any]:
    """Validate and analyse all rows of a version under the default rules, without a tokenizer.

    Returns a JSON tree: `analysis` (see `analyze_rows`), findings by rule and the first ones, and the quarantine.
    """
    from finetune30.data.analysis.statistics import analyze_rows

    checked = check_rows(request_of_source(f"version:{digest}"), settings, lambda _: None)
    loaded = checked.loaded
    return {
        **checked.as_dict(SHOWN_FINDINGS),
        "digest": digest,
        "analysis": analyze_rows(loaded.rows, loaded.problem, name=f"version:{digest[:12]}"),
        "quarantine": checked.quarantine.head(SHOWN_ROWS).to_dicts(),
    }
