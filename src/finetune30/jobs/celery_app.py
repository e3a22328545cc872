"""The Celery application: one queue, one task, JSON only; nothing of value ever lies in Redis.

A message says "there is work" and names the run that it was sent for. It is acknowledged before the work begins: the
run's row decides whether there is work, so neither a lost nor a doubled message matters. Remote control is off, because
whoever can write to Redis could otherwise stop workers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from finetune30.jobs.tls import split_tls
from finetune30.settings import Settings

QUEUE = "finetune30"
TASK = "finetune30.run"

#: A broker that does not answer is given up after these times; publishing must end within 2 s.
CONNECT_SECONDS = 0.8
ANSWER_SECONDS = 1.0
#: How long a worker waits for a command's answer, and how often idle connections are tested.
WORKER_ANSWER_SECONDS = 10.0
HEALTH_SECONDS = 10

_TRANSPORT = "finetune30.jobs.transport:Transport"


def build_publishing_app(settings: Settings) -> Celery:
    """Return the application of a process that only sends; it gives up at once where a worker would wait."""
    app = _build_app(settings, ANSWER_SECONDS)
    app.conf.broker_transport_options |= {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
    app.conf.update(broker_pool_limit=4, task_publish_retry=False)
    # Made here, by one thread: several that send their first message at once would each set the pool's limit, and it
    # refuses to shrink below what they hold. Nothing connects yet.
    app.amqp.producer_pool  # noqa: B018
    return app


def build_worker_app(settings: Settings, take_turn: Callable[[tuple[Any, ...], object], None]) -> Celery:
    """Return the application of a worker; every message calls `take_turn` with its arguments and its sender's version.

    Whatever else a version after this one puts into a message is ignored.
    """
    app = _build_app(settings, WORKER_ANSWER_SECONDS)
    app.conf.update(
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # what Redis refuses delays a worker, and does not end it
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )

    def run(*arguments: Any, **named: Any) -> None:
        take_turn(arguments, named.get("version"))

    app.task(name=TASK, ignore_result=True)(run)
    setup_logging.connect(_leave_logging_alone, weak=False)
    return app


def _build_app(settings: Settings, answer_seconds: float) -> Celery:
    broker, broker_tls = split_tls(settings.redis_url)
    backend, backend_tls = split_tls(settings.result_backend_url)
    app = Celery("finetune30", broker=broker, backend=backend, set_as_current=False)
    app.conf.update(
        broker_use_ssl=broker_tls or None,
        redis_backend_use_ssl=backend_tls or None,
        broker_transport=_TRANSPORT,
        broker_transport_options={
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": answer_seconds,
            "socket_keepalive": True,
            "health_check_interval": HEALTH_SECONDS,
        },
        broker_connection_timeout=CONNECT_SECONDS,
        task_default_queue=QUEUE,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        task_create_missing_queues=False,
        result_expires=86_400,
        redis_socket_connect_timeout=CONNECT_SECONDS,
        redis_socket_timeout=ANSWER_SECONDS,
        enable_utc=True,
        timezone="UTC",
    )
    return app


def _leave_logging_alone(**_: Any) -> None:
    """Celery sets up no logging of its own while something listens to this signal."""
