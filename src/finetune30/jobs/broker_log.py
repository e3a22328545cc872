"""What a worker's log says while Redis is away: one line, instead of Celery's two for every try."""

from __future__ import annotations

import logging

from finetune30.jobs.addresses import describe_address
from finetune30.settings import Settings

_LOST = "celery.worker.consumer.consumer"
_FOUND = "celery.worker.consumer.connection"


class BrokerLog(logging.Filter):
    """Replaces the first of Celery's "Cannot connect" messages by what follows from it, and drops the others."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._address = describe_address(settings.redis_url)
        self._wait_seconds = settings.reconcile_seconds
        self._is_away = False

    def install(self) -> None:
        """Listen to Celery's loggers."""
        for name in (_LOST, _FOUND):
            logging.getLogger(name).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is shown, and change it where it is the first of a kind."""
        if record.name == _FOUND:
            self._is_away = False
            return True
        if not str(record.msg).startswith("consumer: Cannot connect to"):
            return True
        is_first, self._is_away = not self._is_away, True
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args = self.describe_absence(), ()
        return is_first

    def describe_absence(self) -> str:
        """Return the line: what is missing, what happens all the same, and what would change it."""
        return (
            f"no Redis at {self._address}: queued runs are taken from the database, each within "
            f"{self._wait_seconds:g} s, and at once when one answers (make start-services)"
        )
