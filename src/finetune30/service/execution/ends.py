"""How an attempt ends: what an error says to whoever reads it, and what the row is told."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from finetune30 import failpoints
from finetune30.errors import (
    CancelledError,
    Finetune30Error,
    HandedBackError,
    OutOfMemoryError,
    StaleAttemptError,
    StorageError,
)
from finetune30.service.execution.pausing import find_rung
from finetune30.store.run_folder import AttemptFolder

if TYPE_CHECKING:
    from finetune30.service.execution.execute import Execution
    from finetune30.service.execution.run_log import RunLog


def end_attempt(execution: Execution, error: BaseException, log: RunLog) -> BaseException:
    """Record the end of an attempt, in the log and in the row; return the error that is told of it."""
    told = _tell_memory(error)
    _name_the_next_command(told, execution)
    _record_end_or_say_why_not(execution, told, log, may_retry=_may_pass(error))
    return told


def _tell_memory(error: BaseException) -> BaseException:
    """Return the error, or that memory ran out where no smaller micro-batch helps: at loading, at the first update."""
    problem = _describe_memory(error)
    if problem is None:
        return error
    return OutOfMemoryError(
        f"out of memory outside of a step: {problem}",
        "free the device: nvidia-smi and ps show which processes hold its memory",
        next_step="resume",
    )


def _may_pass(error: BaseException) -> bool:
    """Tell whether the same thing may work later: on a disk, a network or a device that others have left by then."""
    if isinstance(error, Finetune30Error):
        return error.retryable
    return isinstance(error, OSError | MemoryError) or _describe_memory(error) is not None or _is_device_fault(error)


def _describe_memory(error: BaseException) -> str | None:
    """Return how an allocator words it that memory ran out; None for any other error, and for one told already."""
    if isinstance(error, Finetune30Error) or "torch" not in sys.modules:
        return None
    from finetune30.modeling.memory import describe_out_of_memory

    return describe_out_of_memory(error)


def _is_device_fault(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return False
    from finetune30.modeling.memory import is_device_fault

    return is_device_fault(error)


def _name_the_next_command(error: BaseException, execution: Execution) -> None:
    """Put the command that goes on with the run into the remedy; whoever raised the error knows of no runs."""
    if isinstance(error, Finetune30Error) and error.next_step == "resume" and not _is_pause(error):
        run, group = execution.run, execution.group
        command = group.command("resume", run.id[:8])
        error.remedy = f"{error.remedy}; then: {command}" if error.remedy else f"go on with: {command}"


def _record_end_or_say_why_not(execution: Execution, error: BaseException, log: RunLog, *, may_retry: bool) -> None:
    """Record the end; when the database cannot take it, say so: the next look at the runs finds the process gone."""
    try:
        _record_end(execution, error, log, may_retry=may_retry)
    except StorageError as problem:
        log.line(f"the end of this attempt could not be recorded: {problem.message}")


def _record_end(execution: Execution, error: BaseException, log: RunLog, *, may_retry: bool) -> None:
    """Write down how the attempt ended: in the log, and in the row unless another attempt holds it.

    The console is left to whoever catches the error, which says it there once.
    """
    store, claim = execution.store, execution.claim
    if execution.console:
        execution.console.close()
    if isinstance(error, StaleAttemptError) or getattr(error, "details", {}).get("reason") == "lost":
        log.line("another attempt holds this run; nothing was changed")
    elif isinstance(error, CancelledError) and error.details.get("reason") == "released":
        log.line(f"handed back: {error.message}")
        _hand_back(execution, error)
    elif isinstance(error, CancelledError) and _is_pause(error):
        _pause(execution, error, log)
    elif isinstance(error, CancelledError | KeyboardInterrupt):
        log.to_file(f"CANCELLED: {error.message if isinstance(error, CancelledError) else 'interrupted'}")
        store.cancelled(claim)
    elif isinstance(error, Finetune30Error):
        log.to_file(f"FAILED: {error.message}")
        log.to_file(f"remedy: {error.remedy}")
        store.fail(claim, error.as_dict(), may_retry=may_retry)
    else:
        log.line(f"FAILED: {type(error).__name__}: {error}")
        log.to_file("".join(traceback.format_exception(error)))
        shape = Finetune30Error(f"{type(error).__name__}: {error}", f"see {execution.folder.logs}").as_dict()
        store.fail(claim, shape, may_retry=may_retry)


def _is_pause(error: Finetune30Error) -> bool:
    return error.details.get("reason") == "paused"


def _pause(execution: Execution, error: CancelledError, log: RunLog) -> None:
    """Let the run wait to be decided on, with the evaluation that it paused at."""
    run, total = execution.run, error.details["total_steps"]
    history = AttemptFolder(execution.folder, execution.claim.attempt).history
    rung = find_rung(history, run.pause_at or 0.0, total) or {"total_steps": total, "metrics": {}}
    log.to_file(f"PAUSED: {error.message}")
    failpoints.reach("pause.before_row")
    execution.store.pause(execution.claim, {"step": error.details["step"], **rung})
    failpoints.reach("pause.after_row")


def _hand_back(execution: Execution, error: CancelledError) -> None:
    """Give the run to whoever takes it next: a queued one to the queue; a local one waits for a person, or a script."""
    if execution.run.kind == "queued":
        execution.store.release(execution.claim, "stopped by its worker")
        return
    handed_back = HandedBackError(f"its launcher stopped it (SIGTERM): {error.message}", error.remedy)
    execution.store.fail(execution.claim, handed_back.as_dict())
