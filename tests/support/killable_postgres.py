"""A PostgreSQL server that survives being killed: the same data folder and socket after every restart."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil

from support.run_store_lab import new_postgresql_database, postgresql_server


class KillablePostgres:
    """Starts a server of its own; `kill_and_restart` ends it the hard way and brings it up again."""

    def __enter__(self) -> Self:
        self._context = postgresql_server()
        self._server = self._context.__enter__()
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # here what was committed must survive
            self._server.psql(f"ALTER SYSTEM RESET {setting}")
        self._server.psql("ALTER SYSTEM SET recovery_init_sync_method = syncfs")  # or recovery opens every file
        self._server.psql("SELECT pg_reload_conf()")
        self.url = new_postgresql_database(self._server)
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(None, None, None)

    def kill_and_restart(self) -> None:
        self.kill()
        self.start_again()

    def kill(self) -> None:
        """End it the hard way; nobody answers until `start_again`."""
        server = psutil.Process(self._pid())
        family = [server, *server.children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=10)

    def start_again(self, tries: int = 60) -> None:
        """Start it; recovery after a kill may take longer than the package waits, which then finds it half way up."""
        for left in reversed(range(tries)):
            time.sleep(1.0)
            try:
                self._server.ensure_postgres_running()
            except (subprocess.SubprocessError, psutil.NoSuchProcess, AssertionError):
                if not left:
                    raise
            else:
                return

    def _pid(self) -> int:
        return int((Path(self._server.pgdata) / "postmaster.pid").read_text().splitlines()[0])
