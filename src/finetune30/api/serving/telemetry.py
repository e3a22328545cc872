"""Metrics of a server of models, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from finetune30.api.telemetry import REQUEST_BUCKETS

if TYPE_CHECKING:
    from finetune30.api.serving.context import Serving

_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
_TOKENS = (16, 64, 256, 1024, 4096, 16384)


class ServingTelemetry:
    """Counts of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._latency = Histogram(
            "ft30_request_seconds",
            "Time from a request to the first byte of its answer.",
            ("method", "route", "status"),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self._batch_rows = Histogram(
            "ft30_batch_rows", "Rows that were asked together.", buckets=_ROWS, registry=registry
        )
        self._batch_tokens = Histogram(
            "ft30_batch_tokens", "Tokens computed for them.", buckets=_TOKENS, registry=registry
        )
        self._rows = Counter("ft30_rows", "Texts answered.", ("model", "version"), registry=registry)
        self._truncated = Counter(
            "ft30_truncated_rows", "Texts that were cut.", ("model", "version"), registry=registry
        )
        self._tokens = Counter("ft30_generated_tokens", "Tokens of answers.", ("model", "version"), registry=registry)
        self._refused = Counter("ft30_refused_requests", "Requests refused.", ("reason",), registry=registry)
        self._swaps = Counter("ft30_swaps", "Versions swapped in, or refused.", ("name", "outcome"), registry=registry)
        self._waiting = Gauge("ft30_waiting_rows", "Rows that wait for the model.", registry=registry)
        self._in_work = Gauge("ft30_answers_in_work", "Answers of language models in work.", registry=registry)
        self._version = Gauge("ft30_served_version", "The version that answers.", ("name",), registry=registry)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._latency.labels(method, route, str(status)).observe(seconds)

    def observe_batch(self, rows: int, tokens: int) -> None:
        """Count rows that were asked together."""
        self._batch_rows.observe(rows)
        self._batch_tokens.observe(tokens)

    def count_rows(self, model: str, version: int, rows: int, truncated: int) -> None:
        """Count answered texts."""
        self._rows.labels(model, str(version)).inc(rows)
        self._truncated.labels(model, str(version)).inc(truncated)

    def count_tokens(self, model: str, version: int, tokens: int) -> None:
        """Count the tokens of an answer."""
        self._tokens.labels(model, str(version)).inc(tokens)

    def count_refused(self, reason: str) -> None:
        """Count a request that was refused; `reason` is the code of the error."""
        self._refused.labels(reason).inc()

    def count_swap(self, name: str, outcome: str) -> None:
        """Count a version that was swapped in, or not."""
        self._swaps.labels(name, outcome).inc()

    def render(self, serving: Serving) -> tuple[bytes, str]:
        """Return the exposition and its media type."""
        self._waiting.set(serving.batcher.waiting)
        self._in_work.set(serving.talks.in_work)
        for slot in serving.slots.slots:
            if slot.live is not None:
                self._version.labels(str(slot.reference)).set(slot.live.version.number)
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4
