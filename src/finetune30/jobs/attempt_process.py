"""The process of an attempt: started in a group of its own, watched, stopped, and its end explained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from finetune30.errors import AttemptError, MemoryKilledError, ProcessCrashedError
from finetune30.jobs.slots import Slot
from finetune30.store import Claim

_TAIL_BYTES = 4_000
_CGROUP_EVENTS = Path("/sys/fs/cgroup/memory.events")
_KERNEL_EVENTS = Path("/proc/vmstat")


class AttemptProcess:
    """One `ft30 attempt`; leaving the context kills whatever is left of its group.

    Of a training in several processes this is the one that starts them; they end with it, killed or not.
    """

    def __init__(self, claim: Claim, slot: Slot) -> None:
        self._claim, self._slot = claim, slot
        self._killed = False

    def __enter__(self) -> Self:
        # What it prints matters only when it cannot write its log: kept in a file without a name, which never blocks.
        self._output = tempfile.TemporaryFile()
        self._memory_kills = count_memory_kills()
        claim = self._claim
        command = [sys.executable, "-m", "finetune30", "attempt"]
        command += ["--", claim.run_id, str(claim.attempt), claim.owner, str(os.getpid())]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self._slot.environment},
            start_new_session=True,
            pass_fds=self._slot.locks,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._process.wait()
        self._output.close()

    @property
    def pid(self) -> int:
        """Its process id, which is its group's id too."""
        return self._process.pid

    def wait(self, seconds: float) -> bool:
        """Wait for its end, at most so long; tell whether it has ended."""
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ask_to_stop(self) -> None:
        """Let it checkpoint and hand the run back."""
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End the whole group at once."""
        self._killed = self._killed or self._process.poll() is None
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return  # nothing is left of it; macOS answers "not permitted" for a group of zombies

    def explain_end(self) -> AttemptError:
        """Return what became of a process that ended without recording its own end."""
        code = self._process.returncode
        run, number = self._claim.run_id[:8], self._claim.attempt
        output = self._tail()
        details = {"exit_code": code, "output": output}
        if code == -signal.SIGKILL and not self._killed and count_memory_kills() > self._memory_kills:
            return MemoryKilledError(
                f"attempt {number} of run {run} was killed because the machine ran out of memory",
                "submit it anew with a lower data.max_length, or a lower training.per_device_train_batch_size and as "
                "much higher training.gradient_accumulation_steps; or give the machine more memory, then: "
                f"ft30 retry {run}",
                details=details,
            )
        if code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
            how += " (often: out of memory)" if code == -signal.SIGKILL else ""
        else:
            how = f"ended with exit code {code} before it could say why"
        return ProcessCrashedError(
            f"attempt {number} of run {run} {how}",
            f"see ft30 runs logs {run} and ft30 runs show {run}; try again with: ft30 retry {run}",
            details=details,
        )

    def _tail(self) -> str:
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - _TAIL_BYTES))
        return self._output.read().decode(errors="replace").strip()


def count_memory_kills() -> int:
    """Return how often the system killed a process here for lack of memory; 0 where it does not tell."""
    for path in (_CGROUP_EVENTS, _KERNEL_EVENTS):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0
