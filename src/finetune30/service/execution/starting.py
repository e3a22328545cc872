"""Starting the processes of one training on this host, as `torchrun --standalone` does, by the same agent of PyTorch.

The agent is this process: it starts `ft30` once for each, tells each by its environment who it is (see `launch`),
passes SIGTERM, Ctrl-C and a hang-up on to all, and ends all when one has failed. It restarts none: a run is gone on
with by its next attempt. What becomes of the run is recorded by the first process.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from finetune30.errors import CancelledError, ServiceUnavailableError, first_line
from finetune30.modeling.heavy_imports import import_heavy
from finetune30.service.execution.launch import was_launched
from finetune30.service.execution.noted_ends import note_ends

#: How long processes that were asked to end may take; whoever cannot wait so long asks once more, or kills.
_END_SECONDS = 24 * 3600
_ADDRESS = "127.0.0.1"


def count_to_start(find_count: Callable[[], int]) -> int:
    """Return how many processes this one has to start for a training: 0 for one, and where it is one of them itself."""
    if was_launched(os.environ):
        return 0
    count = find_count()
    return count if count > 1 else 0


def start_together(arguments: Sequence[str], count: int) -> int:
    """Run `ft30 ARGUMENTS` in so many processes of this host, and return the exit code of the first one.

    They end with this process, however that ends. Where the first one was killed, this process ends by the same signal.
    Raises ServiceUnavailableError where they cannot be started.
    """
    import_heavy("torch")
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous.api import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory(prefix="ft30-") as folder:
        end = Path(folder) / "end"
        note_ends(Path(folder))
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint=f"{_ADDRESS}:0",
            rdzv_configs={"is_host": True},
            local_addr=_ADDRESS,
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            signals_to_handle=",".join(number.name for number in _passed_on()),
            shutdown_timeout=_END_SECONDS,
        )
        member = ["-m", "finetune30", "member", str(os.getpid()), str(end), *arguments]
        logging.disable(logging.CRITICAL)  # the agent's own lines: what has ended is said by the process itself
        try:
            elastic_launch(config, sys.executable)(*member)
        except ChildFailedError as failed:
            codes = {rank: failure.exitcode for rank, failure in failed.failures.items()}
            return _exit_code_of(end, choose_exit_code(codes))
        except SignalException:
            return _exit_code_of(end, CancelledError.exit_code)
        except (RendezvousError, OSError) as error:
            raise ServiceUnavailableError(
                f"the {count} processes of this training could not be started: {first_line(error)}",
                "try again, or start them by hand as docs/distributed.md shows",
            ) from error
        finally:
            logging.disable(logging.NOTSET)
    return 0


def choose_exit_code(codes: Mapping[int, int]) -> int:
    """Return the code that stands for all, of those that failed, by rank (negative: a signal): that of the first one.

    Where the agent ended the first one because another had failed, it is that one's.
    """
    first = codes.get(0, next(iter(codes.values())))
    return next((code for code in codes.values() if code > 0), first) if first == -signal.SIGTERM else first


def _passed_on() -> list[signal.Signals]:
    """Return the signals that go on to all; a terminal that goes away is none under nohup, which ignores it."""
    heard = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    return [number for number in heard if signal.getsignal(number) is not signal.SIG_IGN]


def _exit_code_of(end: Path, otherwise: int) -> int:
    """Return what the first process ended with, as it wrote itself; one that was killed could not."""
    try:
        return int(end.read_text())
    except FileNotFoundError:
        if otherwise < 0:
            if -otherwise != signal.SIGKILL:
                signal.signal(-otherwise, signal.SIG_DFL)
            os.kill(os.getpid(), -otherwise)
        return abs(otherwise)
