"""Kombu's Redis transport, made deaf to what is no message, and patient with a Redis that refuses.

Whatever lies in the queue's list and cannot be read as an envelope is logged and dropped; as it comes, the transport
would end the worker over it. A command that Redis refuses (a key of another kind, too few replicas, no memory) is tried
again after a pause: the worker connects anew (`broker_channel_error_retry`), and runs come from the database meanwhile.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from kombu.transport import redis
from kombu.transport.virtual import Empty
from redis.exceptions import ResponseError

#: Celery tries again at once, and a refusal mostly lasts.
REFUSED_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Channel(redis.Channel):
    """A channel that survives forged entries."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except ResponseError as error:
            _log.warning("Redis refuses to give the queue's next message: %s", error)
            time.sleep(REFUSED_SECONDS)
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("dropped an entry of the queue that is no message (%s)", type(error).__name__)
            raise Empty from error


class Transport(redis.Transport):
    """The transport that uses it."""

    Channel = Channel
