"""Who works at this machine, for the trail of changes made from the command line."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetune30.store import RunStore


def local_actor() -> str:
    """Return `local:` and the name of the account."""
    try:
        return f"local:{getpass.getuser()[:100]}"
    except (KeyError, OSError):  # an account without a name, as in some containers
        return "local:unknown"


def record_local(store: RunStore, action: str, target: str) -> None:
    """Enter a change that was made from the command line into the audit trail."""
    from finetune30.store.access import record_audit

    record_audit(store, actor=local_actor(), role="admin", action=action, target=target)
