"""Kombu's Redis transport, made deaf to what is no message.

Whatever lies in the queue's list and cannot be read as an envelope is logged and dropped; as it comes, the transport
would end the worker over it.
"""

from __future__ import annotations

import logging
from typing import Any

from kombu.transport import redis
from kombu.transport.virtual import Empty

_log = logging.getLogger(__name__)


class Channel(redis.Channel):
    """A channel that survives forged entries."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("dropped an entry of the queue that is no message (%s)", type(error).__name__)
            raise Empty from error


class Transport(redis.Transport):
    """The transport that uses it."""

    Channel = Channel
