"""The keys in force, known to this process: those of FT30_API_KEYS and those on record, read anew every 2 s."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from finetune30.api.context import Caller
from finetune30.errors import AuthenticationError
from finetune30.settings import Settings
from finetune30.store import RunStore
from finetune30.store.access import Role, digest_key, load_keys

#: The longest that a revoked key may still open the API.
REFRESH_SECONDS = 2.0
_REMEDY = "send the header Authorization: Bearer KEY; an admin makes keys with: ft30 keys create NAME"


class KeyRing:
    """Tells callers by their key; safe to share between threads. `own` is a key that a server made for itself."""

    def __init__(
        self,
        settings: Settings,
        store: RunStore,
        clock: Callable[[], float] = time.monotonic,
        own: Mapping[str, Caller] | None = None,
    ) -> None:
        self._own = {digest_key(secret): caller for secret, caller in (own or {}).items()}
        secrets = [key.get_secret_value() for key in settings.api_keys]
        self._fixed = {
            digest_key(secret): Caller(f"FT30_API_KEYS[{n}]", Role.ADMIN) for n, secret in enumerate(secrets)
        }
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._known = self._load()
        self._loaded_at = clock()

    def is_stale(self) -> bool:
        """Tell whether the next look reads the database."""
        return self._clock() - self._loaded_at >= REFRESH_SECONDS

    def refresh(self) -> None:
        """Read the keys anew when they are older than 2 s. Raises StorageError."""
        with self._lock:
            if self.is_stale():
                self._known = self._load()
                self._loaded_at = self._clock()

    @property
    def in_use(self) -> bool:
        """Whether any key was ever made: then nobody gets in without one, also once all are revoked."""
        return bool(self._known)

    def find_own(self, secret: str | None) -> Caller | None:
        """Return who has a key that this server made for itself."""
        return None if secret is None else self._own.get(digest_key(secret))

    def find(self, secret: str | None) -> Caller:
        """Return the caller with this key. Raises AuthenticationError."""
        if secret is None:
            raise AuthenticationError("a key is needed", _REMEDY)
        caller = self._known.get(digest_key(secret))
        if caller is None:
            raise AuthenticationError("the key is unknown or revoked", _REMEDY)
        return caller

    def _load(self) -> dict[str, Caller | None]:
        recorded = {
            key.digest: None if key.revoked_at else Caller(key.name, key.role) for key in load_keys(self._store)
        }
        return {**recorded, **self._fixed}
