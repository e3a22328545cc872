"""Several processes that answer for one API: started, given connections in turn, started again, stopped together.

This process listens and answers nothing. A connection goes to the next process that is ready, and from there to the
first process when a request comes that only that one answers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from typing import Any

from finetune30.api.connection_pipe import ConnectionPipe
from finetune30.errors import ServiceUnavailableError
from finetune30.settings import Settings, variable_name

_FIRST_BACK_OFF_SECONDS = 1.0
_LONGEST_BACK_OFF_SECONDS = 30.0
#: A process that lived so long starts again without a growing pause.
_HEALTHY_SECONDS = 30.0
#: How long to wait after a connection that the system could not give, for want of descriptors for example.
_REFUSED_SECONDS = 1.0
#: Where prometheus_client keeps the figures of several processes.
_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

Say = Callable[[str], None]


class ProcessGroup:
    """`count` processes behind one listening socket."""

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        count: int,
        say: Say,
        *,
        access_log: bool,
        stop_seconds: float,
    ) -> None:
        """`stop_seconds`: how long a process may take to end before it is killed."""
        self._settings, self._listener, self._say = settings, listener, say
        self._access_log, self._stop_seconds = access_log, stop_seconds
        self._members = [_Member(number) for number in range(1, count + 1)]
        self._some_ready = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until SIGINT or SIGTERM. Raises ServiceUnavailableError when a process was never ready."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        self._listener.setblocking(False)
        with tempfile.TemporaryDirectory(prefix="finetune30-api-") as folder:
            stopped = self._begin(stop.wait())
            served = [self._begin(self._deal_out())]
            served += [self._begin(self._look_after(member, folder)) for member in self._members]
            try:
                await asyncio.wait([stopped, *served], return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._listener.close()
                for task in list(self._tasks):
                    task.cancel()
                await asyncio.gather(*(member.stop(self._stop_seconds) for member in self._members))
        for task in served:
            if task.done() and not task.cancelled():
                task.result()

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _deal_out(self) -> None:
        loop, turn = asyncio.get_running_loop(), 0
        while True:
            await self._wait_for(lambda: any(member.pipe for member in self._members))
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError:  # the caller has gone again, or there are too many connections
                await asyncio.sleep(_REFUSED_SECONDS)
                continue
            with connection:
                while True:
                    ready = await self._wait_for(lambda: [member.pipe for member in self._members if member.pipe])
                    turn += 1
                    try:
                        await ready[turn % len(ready)].send(connection)
                        break
                    except OSError:  # it has just ended
                        await asyncio.sleep(0)

    async def _wait_for(self, found: Callable[[], Any]) -> Any:
        async with self._some_ready:
            return await self._some_ready.wait_for(found)

    async def _look_after(self, member: _Member, folder: str) -> None:
        back_off = 0.0
        while True:
            began = time.monotonic()
            code = await self._carry_out(member, folder)
            if not member.was_ready:
                raise ServiceUnavailableError(
                    f"process {member.number} of the API {_describe_end(code)} as it started",
                    "its last lines say why; FT30_API_PROCESSES=1 serves without further processes",
                )
            healthy = time.monotonic() - began > _HEALTHY_SECONDS
            back_off = (
                _FIRST_BACK_OFF_SECONDS if healthy or not back_off else min(2 * back_off, _LONGEST_BACK_OFF_SECONDS)
            )
            how = _describe_end(code)
            self._say(f"process {member.number} of the API {how}; starting it again in {back_off:.0f} s")
            await asyncio.sleep(back_off)

    async def _carry_out(self, member: _Member, folder: str) -> int:
        """Start a process and serve it until it ends; return its exit code."""
        pipe = await member.start(self._command(member.number), self._environment(folder))
        try:
            while True:
                connection, received = await pipe.receive()
                if connection is None:
                    member.pipe, member.was_ready = pipe, True
                    async with self._some_ready:
                        self._some_ready.notify_all()
                else:
                    self._begin(self._give_to_first(connection, received))
        except EOFError:
            member.pipe = None
            return await member.wait()
        finally:
            pipe.close()

    async def _give_to_first(self, connection: socket.socket, received: bytes) -> None:
        """Pass a connection on, once the first process is there."""
        with connection:
            first: ConnectionPipe = await self._wait_for(lambda: self._members[0].pipe)
            try:
                await first.send(connection, received)
            except OSError:  # it has just ended: as if the request had come to it a moment earlier
                return

    def _command(self, number: int) -> list[str]:
        log = "--access-log" if self._access_log else "--no-access-log"
        return [sys.executable, "-m", "finetune30", "api-process", str(number), str(os.getpid()), log]

    def _environment(self, folder: str) -> dict[str, str]:
        own = {"api_host": self._settings.api_host, "api_port": str(self._settings.api_port)}
        given = {variable_name(name): value for name, value in own.items()}
        return {**os.environ, **given, _METRICS_VARIABLE: folder}


class _Member:
    """One of the processes; `pipe` while it takes connections."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pipe: ConnectionPipe | None = None
        self.was_ready = False
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, command: list[str], environment: dict[str, str]) -> ConnectionPipe:
        """Start the process; return this end of its pipe, whose other end is its last argument."""
        own, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C reaches this process alone, which stops them
                stdin=asyncio.subprocess.DEVNULL,
                env=environment,
            )
        return ConnectionPipe(own)

    async def wait(self) -> int:
        """Return the exit code, once it ended."""
        assert self._process is not None  # noqa: S101 - it was started
        return await self._process.wait()

    async def stop(self, seconds: float) -> None:
        """Let it end its answers, or kill it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            process.kill()
            await process.wait()


def _describe_end(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
