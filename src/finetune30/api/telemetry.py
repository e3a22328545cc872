"""Metrics for Prometheus: requests as the API answers them, runs as the database tells of them.

Where several processes answer, prometheus_client keeps what each of them counts in a folder that they share (named by
PROMETHEUS_MULTIPROC_DIR before it is imported), and whichever is asked tells the sum, also of what ended processes
counted.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finetune30.service.submitting.waiting import count_waits
from finetune30.store import RunStore
from finetune30.store.mirrors import MirrorState, load_mirrors
from finetune30.store.totals import RunTotals, load_run_totals

#: However many scrapers ask, the database counts no more often.
TOTALS_SECONDS = 2.0
REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Telemetry:
    """The metrics of one application; has a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._latency = Histogram(
            "ft30_request_seconds",
            "Time from a request to the first byte of its answer.",
            ("method", "route", "status"),
            buckets=REQUEST_BUCKETS,
            registry=self._registry,
        )
        self._lock = threading.Lock()
        self._totals: tuple[float, RunTotals, dict[str, int], list[MirrorState]] | None = None

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._latency.labels(method, route, str(status)).observe(seconds)

    def render(self, store: RunStore, most_running: int | None = None) -> tuple[bytes, str]:
        """Return the exposition and its media type; `most_running`: see `RunStore.queue`. Raises StorageError."""
        with self._lock:
            if self._totals is None or time.monotonic() - self._totals[0] > TOTALS_SECONDS:
                self._totals = (
                    time.monotonic(),
                    load_run_totals(store),
                    count_waits(store, most_running),
                    load_mirrors(store),
                )
            totals, waits, mirrors = self._totals[1:]
        runs = CollectorRegistry()
        runs.register(_RunCollector(totals, waits))
        runs.register(_MirrorCollector(mirrors))
        return generate_latest(self._counted()) + generate_latest(runs), CONTENT_TYPE_PLAIN_0_0_4

    def _counted(self) -> CollectorRegistry:
        """Return what all processes counted."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return self._registry
        together = CollectorRegistry()
        MultiProcessCollector(together, folder)  # type: ignore[no-untyped-call]
        return together


class ObservesRequests(Protocol):
    """Whoever counts requests."""

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        ...


class RequestMeter:
    """ASGI middleware that times every request, also those that the gate refuses."""

    def __init__(self, app: ASGIApp, telemetry: ObservesRequests) -> None:
        self._app, self._telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and note when the answer starts."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def send_timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "(none)")
                method = scope["method"] if scope["method"] in _METHODS else "(other)"
                self._telemetry.observe(method, route, message["status"], time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, send_timed)


#: Other words would let a caller make as many time series as it likes.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _RunCollector:
    def __init__(self, totals: RunTotals, waits: dict[str, int]) -> None:
        self._totals, self._waits = totals, waits

    def collect(self) -> Iterator[Any]:
        """Yield one family a metric."""
        totals = self._totals
        states = GaugeMetricFamily("ft30_runs", "Runs by state.", labels=["status"])
        for status, count in totals.by_status.items():
            states.add_metric([status], count)
        yield states
        yield GaugeMetricFamily("ft30_queue_length", "Runs that wait for a worker.", value=totals.queue_length)
        yield GaugeMetricFamily(
            "ft30_oldest_wait_seconds", "Wait of the longest waiting run.", value=totals.oldest_wait
        )
        waits = GaugeMetricFamily("ft30_waiting_runs", "Waiting runs by what they wait for.", labels=["reason"])
        for reason, count in self._waits.items():
            waits.add_metric([reason], count)
        yield waits
        yield GaugeMetricFamily("ft30_workers", "Workers heard of lately.", value=totals.workers)
        places = GaugeMetricFamily("ft30_places", "Places of these workers, a run each.", labels=["state"])
        places.add_metric(["busy"], totals.busy)
        places.add_metric(["free"], max(0, totals.places - totals.busy))
        yield places
        if totals.shortest_lease is not None:
            yield GaugeMetricFamily(
                "ft30_shortest_lease_seconds",
                "How long the lease that ends first is still good for; below 0 its run is about to be lost.",
                value=totals.shortest_lease,
            )
        yield SummaryMetricFamily(
            "ft30_train_runtime_seconds",
            "Training time of SUCCEEDED runs.",
            count_value=totals.timed_runs,
            sum_value=totals.total_runtime,
        )
        events = CounterMetricFamily("ft30_run_events", "Changes of runs by kind.", labels=["kind"])
        for kind, count in totals.events.items():
            events.add_metric([kind], count)
        yield events
        yield CounterMetricFamily("ft30_attempts", "Attempts begun.", value=totals.events.get("claimed", 0))
        yield CounterMetricFamily("ft30_leases_lost", "Attempts lost.", value=totals.events.get("lost", 0))


class _MirrorCollector:
    def __init__(self, mirrors: list[MirrorState]) -> None:
        self._mirrors = mirrors

    def collect(self) -> Iterator[Any]:
        """Yield one family a metric; none where no mirror is followed."""
        if not self._mirrors:
            return
        behind = GaugeMetricFamily(
            "ft30_mirror_runs_behind", "Runs that a tracker does not know in full.", labels=["mirror"]
        )
        refused = GaugeMetricFamily("ft30_mirror_runs_refused", "Those of them that it refuses.", labels=["mirror"])
        reachable = GaugeMetricFamily(
            "ft30_mirror_reachable", "Whether the tracker answered in the last look.", labels=["mirror"]
        )
        for mirror in self._mirrors:
            behind.add_metric([mirror.name], mirror.behind)
            refused.add_metric([mirror.name], mirror.refused)
            reachable.add_metric([mirror.name], float(mirror.error is None))
        yield from (behind, refused, reachable)
