"""The application: routes behind the gate, opened and closed with the process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

import finetune30
from finetune30.api.access_gate import Gate
from finetune30.api.answer_stream import AnswerStream
from finetune30.api.answers import add_error_handlers
from finetune30.api.context import READINGS_AT_A_TIME, Services, limit_threads
from finetune30.api.event_stream import EventStream
from finetune30.api.health import HealthWatch, Readiness
from finetune30.api.keys import KeyRing
from finetune30.api.routes import (
    chat,
    comparison,
    configuration,
    dataset_details,
    dataset_rows,
    datasets,
    estimates,
    evaluation_rows,
    experiments,
    exports,
    mirrors,
    model_changes,
    models,
    predictions,
    proposals,
    questions,
    run_edits,
    run_sets,
    searches,
    suspects,
    system,
    tasks,
    test_looks,
)
from finetune30.api.telemetry import RequestMeter, Telemetry
from finetune30.jobs.publishing import QueuePublisher
from finetune30.jobs.reconciler import Reconciler
from finetune30.service.datasets.reading_process import Readings
from finetune30.service.datasets.uploads import remove_abandoned
from finetune30.service.datasets.version_report import VersionReports
from finetune30.service.exports.in_work import ExportsInWork, clear_killed
from finetune30.service.models.model_package import PackageSizes
from finetune30.service.models.model_process import ModelProcesses
from finetune30.service.registry.checks import ChecksInWork
from finetune30.service.runs.evaluation_frames import EvaluationFrames
from finetune30.service.searches.looks import SearchLooks
from finetune30.service.submitting.forecast import HubWatch
from finetune30.service.suspects.search import SuspectSearches
from finetune30.service.testing.looking import LooksInWork
from finetune30.settings import Settings
from finetune30.store import open_store

if TYPE_CHECKING:
    from finetune30.service.submitting.submission import Publisher

DESCRIPTION = """Fine-tune a model with LoRA, and never lose, mix up or fail to repeat an experiment.

Errors have one shape: `{"error": code, "message": …, "remedy": …}`, with `details.faults` where there are several.
Times are ISO 8601 in UTC. Where keys are in use, send `Authorization: Bearer KEY`."""
TAGS = [
    {"name": "tasks", "description": "Submit runs and follow them."},
    {"name": "experiments", "description": "Runs on record."},
    {"name": "models", "description": "Versions of models, and the aliases that lead to them."},
    {"name": "datasets", "description": "Dataset versions, and files to train on."},
    {"name": "configuration", "description": "What a run can be told."},
    {"name": "system", "description": "The service itself."},
]
#: In this order: /experiments/compare must be asked before /experiments/{id}.
ROUTES = (
    tasks,
    comparison,
    experiments,
    run_edits,
    mirrors,
    evaluation_rows,
    predictions,
    chat,
    questions,
    models,
    model_changes,
    suspects,
    test_looks,
    exports,
    run_sets,
    searches,
    datasets,
    dataset_rows,
    dataset_details,
    proposals,
    configuration,
    estimates,
    system,
)


def build_app(settings: Settings, *, publisher: Publisher | None = None, is_first: bool = True) -> FastAPI:
    """Return the application; it opens store and queue, and looks after lost runs, from its start to its end.

    With a `publisher` of its own it uses that one and leaves lost runs to others. One that is not the first process of
    its API leaves to that one what is done once.
    """
    app = FastAPI(
        title="finetune30",
        version=finetune30.__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=partial(_lifespan, settings, publisher, is_first),
        redirect_slashes=False,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.telemetry = Telemetry()
    app.state.event_stream = EventStream(settings.max_running_runs)
    app.state.health = HealthWatch()
    app.state.readiness = Readiness()
    app.state.hub_watch = HubWatch()
    for part in ROUTES:
        app.router.routes.extend(_named(route) for route in part.router.routes)
    add_error_handlers(app)
    if settings.allowed_origins:
        _allow_origins(app, settings)
    app.add_middleware(Gate, settings=settings, keys=lambda: app.state.keys, store=lambda: app.state.services.store)
    app.add_middleware(RequestMeter, telemetry=app.state.telemetry)
    return app


def _named(route: BaseRoute) -> BaseRoute:
    """Return a route, to be added as it is, under its function's name: an included router is asked three times each
    request whether it has a route, which takes a fifth of the time of the event loop."""
    assert isinstance(route, APIRoute)  # noqa: S101 - our routers have no others
    route.operation_id = route.name
    return route


@asynccontextmanager
async def _lifespan(
    settings: Settings, publisher: Publisher | None, is_first: bool, app: FastAPI
) -> AsyncIterator[None]:
    app.state.slow_threads = limit_threads()
    async with AsyncExitStack() as stack:
        store = await run_in_threadpool(open_store, settings.resolved_database_url)
        stack.callback(store.close)
        if publisher is None:
            publisher = queue = stack.enter_context(QueuePublisher(settings))
            if is_first:
                reconciler = Reconciler(store, queue, settings)
                reconciler.start()
                stack.push_async_callback(run_in_threadpool, reconciler.stop)
        app.state.services = Services(settings, store, publisher)
        app.state.keys = KeyRing(settings, store)
        app.state.models = processes = ModelProcesses()
        stack.push_async_callback(run_in_threadpool, processes.close)
        app.state.answers = AnswerStream(processes, app.state.slow_threads)
        app.state.evaluations = EvaluationFrames()
        app.state.listed_runs = experiments.build_listed_runs()
        app.state.package_sizes = PackageSizes()
        app.state.suspects = searches = SuspectSearches()
        stack.push_async_callback(run_in_threadpool, searches.close)
        app.state.checks = checks = ChecksInWork()
        stack.push_async_callback(run_in_threadpool, checks.close)
        app.state.test_looks = looks = LooksInWork()
        stack.push_async_callback(run_in_threadpool, looks.close)
        app.state.search_looks = search_looks = SearchLooks()
        stack.push_async_callback(run_in_threadpool, search_looks.close)
        app.state.exports = made = ExportsInWork()
        stack.push_async_callback(run_in_threadpool, made.close)
        if is_first:
            await run_in_threadpool(remove_abandoned, settings.data_folder)
            await run_in_threadpool(clear_killed, settings.results_folder)
        app.state.reading_places = CapacityLimiter(READINGS_AT_A_TIME)
        app.state.readings = readings = Readings(settings)
        stack.callback(readings.close)
        app.state.version_reports = VersionReports(
            lambda digest: readings.ask("report", f"version:{digest[:12]}", digest=digest)
        )
        yield
        app.state.event_stream.stop()


def _allow_origins(app: FastAPI, settings: Settings) -> None:
    """Let the pages of these origins read answers; the gate lets their requests in."""
    from starlette.middleware.cors import CORSMiddleware

    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.allowed_origins),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "Last-Event-ID", "X-API-Key"],
        expose_headers=["ETag"],
    )
