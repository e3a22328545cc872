"""Telling the workers that a run waits: bounded in time, whatever state Redis is in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, Self

import finetune30
from finetune30.errors import ServiceUnavailableError, first_line
from finetune30.jobs.addresses import describe_address
from finetune30.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

PUBLISH_SECONDS = 2.0
_THREADS = 4
_REMEDY = "start it with: ft30 services, or point FT30_REDIS_URL and FT30_RESULT_BACKEND_URL at the right one"


class QueuePublisher:
    """Sends run ids to the queue. Safe to share between threads; connects when first used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="publish")
        self._app: Celery | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of Redis."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._app is not None:
            self._app.close()

    def publish(self, run_id: str) -> None:
        """Send one message. Raises ServiceUnavailableError within 2 s."""
        self._within_time(self._send, run_id)

    def count_waiting(self) -> int:
        """Return the number of messages that no worker has fetched yet. Raises ServiceUnavailableError within 2 s."""
        return int(self._within_time(self._count))

    def _within_time(self, work: Any, *arguments: Any) -> Any:
        address = describe_address(self._settings.redis_url)
        try:
            return self._threads.submit(work, *arguments).result(timeout=PUBLISH_SECONDS)
        except FutureTimeoutError as error:
            raise ServiceUnavailableError(f"Redis at {address} did not answer in time", _REMEDY) from error
        except Exception as error:
            from kombu.exceptions import KombuError
            from redis.exceptions import RedisError

            if not isinstance(error, KombuError | RedisError | OSError):
                raise
            raise ServiceUnavailableError(f"Redis at {address} is out of reach: {_cause(error)}", _REMEDY) from error

    def _send(self, run_id: str) -> None:
        from finetune30.jobs.celery_app import TASK

        named = {"version": finetune30.__version__}  # for people: no version depends on it
        self._load_app().send_task(TASK, args=(run_id,), kwargs=named, ignore_result=True, retry=False)

    def _count(self) -> int:
        from finetune30.jobs.celery_app import QUEUE

        with self._load_app().connection_for_read() as connection:
            return int(connection.default_channel.client.llen(QUEUE))

    def _load_app(self) -> Celery:
        if self._app is None:
            from finetune30.jobs.celery_app import build_publishing_app

            self._app = build_publishing_app(self._settings)
        return self._app


def _cause(error: BaseException) -> str:
    return first_line(error).rstrip(".")
