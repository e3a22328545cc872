"""How much the API may fetch by itself for a look at data."""

from __future__ import annotations

from finetune30.errors import TooLargeError
from finetune30.hub.fetching import OnTransfer, Transfer


def limit_fetching(most_bytes: int) -> OnTransfer:
    """Return what ends a download of more than so many bytes before its first one. Raises TooLargeError then."""

    def refuse_large(transfer: Transfer) -> None:
        if transfer.total_bytes > most_bytes:
            raise TooLargeError(
                f"{transfer.name} would fetch {transfer.total_bytes:,} bytes, allowed here are {most_bytes:,}",
                "train on it without a look before (its worker fetches it), or raise FT30_MAX_FETCH_BYTES",
            )

    return refuse_large
