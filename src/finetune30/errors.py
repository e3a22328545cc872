"""Every error that finetune30 raises on purpose.

    Finetune30Error                     exit 1   HTTP 500
    ├── UsageError                      exit 2   HTTP 400   a command or request that cannot be read
    │   ├── HostError                            HTTP 403   a host name or web page that the API does not serve
    │   ├── MediaTypeError                       HTTP 415   a body of another kind
    │   ├── GenerationMissingError               HTTP 428   a move that does not say which state it saw
    │   └── TooLargeError                        HTTP 413   a body beyond the limit
    ├── AccessError                     exit 1   HTTP 403   the key's role does not allow it
    │   └── AuthenticationError                  HTTP 401   no key, or an unknown or revoked one
    ├── QuotaError                      exit 1   HTTP 429   too many open runs or streams
    ├── ConfigError                     exit 2   HTTP 422   faults of a configuration, all of them at once
    ├── DataError                       exit 1   HTTP 422   rows, files or columns that cannot be used
    │   └── DataFileError                                   … with `file:line:column`
    ├── ModelError                      exit 1   HTTP 422   base model, tokenizer or adapter
    ├── DeviceError                     exit 1   HTTP 422   device or precision that this machine lacks
    ├── HubError                        exit 1   HTTP 502   the hub, or what stands between here and it
    │   ├── HubUnavailableError                             nothing cached and nobody answers
    │   ├── HubNotFoundError                     HTTP 422   no such model, data set or revision
    │   ├── HubAccessError                       HTTP 422   gated, private, or a token that is not accepted
    │   ├── HubBusyError                         HTTP 503   too many requests from here
    │   ├── HubAnswerError                                  an answer that is a fault, or no hub's
    │   └── HubDownloadError                                a download that broke off
    ├── TrainingError                   exit 1   HTTP 500   the training itself broke
    │   ├── NonFiniteLossError                              NaN or infinite loss
    │   └── OutOfMemoryError                                after every smaller micro-batch was tried, or none helps
    ├── AttemptError                    exit 1   HTTP 500   the process of an attempt ended without a result
    │   ├── ProcessLostError                                it or its worker vanished
    │   ├── ProcessCrashedError                             a signal or an exit code of its own
    │   ├── MemoryKilledError                               the system took it because memory ran out
    │   ├── NoProgressError                                 it stood still and was stopped
    │   ├── PeerLostError                                   one of several processes on one training is gone
    │   └── HandedBackError                                 its launcher stopped it; nobody wished the run to end
    ├── CheckpointError                 exit 1   HTTP 409   no checkpoint fits
    ├── SelfTestError                   exit 1   HTTP 500   the saved adapter does not answer like the trained one
    ├── NotFoundError                   exit 1   HTTP 404   no such run, preset, version …
    ├── ConflictError                   exit 1   HTTP 409   the state does not allow it
    │   ├── StaleAttemptError                               another attempt holds the run
    │   ├── IdempotencyError                     HTTP 422   the key was used before for another request
    │   └── StaleGenerationError                 HTTP 412   somebody else moved the alias since
    ├── StorageError                    exit 1   HTTP 507   disk or database
    ├── ServiceUnavailableError         exit 1   HTTP 503   Redis, API or worker out of reach
    │   └── NoRedisError                                    no Redis, and none here to start
    ├── TrackerError                    exit 1   HTTP 502   a tracker (MLflow …) refuses what it is told
    └── CancelledError                  exit 130 HTTP 409   asked to stop

A message says what failed, the value and what is allowed; the remedy is the next thing to do.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

_LONGEST_LINE = 300


class Finetune30Error(Exception):
    """Base of all deliberate errors.

    `code` is stable and machine-readable, `cause` the class of causes that it belongs to, `retryable` says whether the
    same thing may work later.
    """

    code: ClassVar[str] = "internal_error"
    cause: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        remedy: str = "",
        *,
        details: dict[str, Any] | None = None,
        next_step: Literal["resume"] | None = None,
    ) -> None:
        """`next_step` is what helps with the run, after the remedy; who knows the run writes the command."""
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.next_step = next_step
        self.details = details or {}

    def as_dict(self) -> dict[str, Any]:
        """Return the one JSON shape of an error: error, message, remedy (and details when there are any)."""
        shape: dict[str, Any] = {"error": self.code, "message": self.message, "remedy": self.remedy}
        if self.details:
            shape["details"] = self.details
        return shape


class UsageError(Finetune30Error):
    """A command or request that cannot be read."""

    code = "usage_error"
    cause = "request"
    exit_code = 2
    http_status = 400


class HostError(UsageError):
    """A request for a host name, or from a web page, that the API does not serve."""

    code = "host_refused"
    http_status = 403


class MediaTypeError(UsageError):
    """A body of a kind that the route does not read."""

    code = "media_type_refused"
    http_status = 415


class GenerationMissingError(UsageError):
    """A move of an alias that does not say which generation it saw."""

    code = "generation_missing"
    http_status = 428


class TooLargeError(UsageError):
    """A body beyond the limit."""

    code = "too_large"
    http_status = 413


class AccessError(Finetune30Error):
    """The role of the caller does not allow it."""

    code = "access_denied"
    cause = "request"
    http_status = 403


class AuthenticationError(AccessError):
    """No key, or one that is unknown or revoked."""

    code = "authentication_required"
    http_status = 401


class QuotaError(Finetune30Error):
    """The caller has too much open at once."""

    code = "quota_exceeded"
    cause = "request"
    http_status = 429
    retryable = True


class ConfigError(Finetune30Error):
    """One or more faults of a configuration; `details["faults"]` lists all of them."""

    code = "config_error"
    cause = "configuration"
    exit_code = 2
    http_status = 422


class DataError(Finetune30Error):
    """Rows, files or columns that cannot be used."""

    code = "data_error"
    cause = "data"
    http_status = 422


class DataFileError(DataError):
    """A fault at a place in a file; `line` and `column` count from 1 (0: unknown)."""

    code = "data_file_error"

    def __init__(self, file: str, line: int, column: int, found: str, remedy: str = "") -> None:
        place = ":".join([file, *(str(n) for n in (line, column) if n > 0)])
        super().__init__(f"{place}: {found}", remedy, details={"file": file, "line": line, "column": column})
        self.file, self.line, self.column = file, line, column


class ModelError(Finetune30Error):
    """Base model, tokenizer or adapter cannot be used."""

    code = "model_error"
    cause = "model"
    http_status = 422


class NotFiniteError(ModelError):
    """A model answered with what is no number."""

    code = "not_finite"
    http_status = 500

    def __init__(self, message: str) -> None:
        super().__init__(message, "ask otherwise, or another version of the model")


class DeviceError(Finetune30Error):
    """A device or precision that this machine does not have."""

    code = "device_error"
    cause = "device"
    http_status = 422


class HubError(Finetune30Error):
    """The hub did not give what was asked for."""

    code = "hub_error"
    cause = "hub"
    http_status = 502
    retryable = True


class HubUnavailableError(HubError):
    """Nothing cached and nobody answers: the only error for which something else may stand in."""

    code = "hub_unavailable"


class HubNotFoundError(HubError):
    """The hub has no such model, data set or revision."""

    code = "hub_not_found"
    cause = "configuration"
    http_status = 422
    retryable = False


class HubAccessError(HubError):
    """Gated, private or disabled, or a token that the hub does not accept."""

    code = "hub_access_denied"
    cause = "configuration"
    http_status = 422
    retryable = False


class HubBusyError(HubError):
    """The hub asks to wait; `details["retry_after_seconds"]` says how long, where it said so."""

    code = "hub_busy"
    http_status = 503


class HubAnswerError(HubError):
    """The hub answers with a fault of its own (`details["status"]`), or what answers is no hub."""

    code = "hub_fault"


class HubDownloadError(HubError):
    """A download broke off."""

    code = "hub_download_broke_off"


class TrainingError(Finetune30Error):
    """The training itself broke."""

    code = "training_error"
    cause = "training"


class NonFiniteLossError(TrainingError):
    """The loss or the gradient norm became NaN or infinite."""

    code = "non_finite_loss"


class OutOfMemoryError(TrainingError):
    """The device's memory did not suffice, also for smaller micro-batches, or where none is to be made smaller."""

    code = "out_of_memory"
    cause = "memory"


class AttemptError(Finetune30Error):
    """The process of an attempt ended without recording how."""

    code = "attempt_failed"
    cause = "process"
    retryable = True


class ProcessLostError(AttemptError):
    """The process, or the worker that watched it, vanished."""

    code = "process_lost"


class ProcessCrashedError(AttemptError):
    """The process was ended by a signal or by an exit code of its own."""

    code = "process_crashed"


class MemoryKilledError(AttemptError):
    """The operating system killed the process because memory ran out."""

    code = "memory_killed"
    cause = "memory"


class NoProgressError(AttemptError):
    """The process stood still for too long and was stopped."""

    code = "no_progress"


class PeerLostError(AttemptError):
    """One of several processes on one training is gone; `details["lost"]` names rank and host of each."""

    code = "peer_lost"


class HandedBackError(AttemptError):
    """The launcher stopped all processes of a training: preempted or shut down, not cancelled by anybody."""

    code = "handed_back"


class CheckpointError(Finetune30Error):
    """No checkpoint can be used, or the one at hand belongs to another training."""

    code = "checkpoint_error"
    cause = "training"
    http_status = 409


class SelfTestError(Finetune30Error):
    """The saved adapter, loaded afresh, does not give the logits of the trained model."""

    code = "self_test_failed"
    cause = "training"


class NotFoundError(Finetune30Error):
    """There is no such run, preset, dataset version or file."""

    code = "not_found"
    cause = "request"
    http_status = 404


class ConflictError(Finetune30Error):
    """The present state does not allow what was asked."""

    code = "conflict"
    cause = "request"
    http_status = 409


class StaleAttemptError(ConflictError):
    """Another attempt holds the run; this one must stop without touching anything."""

    code = "stale_attempt"


class IdempotencyError(ConflictError):
    """The idempotency key was used before for another request."""

    code = "idempotency_key_reused"
    http_status = 422


class StaleGenerationError(ConflictError):
    """Somebody else moved the alias since; `details["alias"]` is where it leads now."""

    code = "stale_generation"
    http_status = 412


class StorageError(Finetune30Error):
    """Disk or database failed."""

    code = "storage_error"
    cause = "storage"
    http_status = 507
    retryable = True


class ServiceUnavailableError(Finetune30Error):
    """A service (Redis, API, worker) is out of reach."""

    code = "service_unavailable"
    cause = "service"
    http_status = 503
    retryable = True


class NoRedisError(ServiceUnavailableError):
    """No Redis answers, and this machine has none to start. Runs are carried out all the same, only not at once."""


class TrackerError(Finetune30Error):
    """A tracker refuses what it is told, or is not what it should be."""

    code = "tracker_refused"
    cause = "service"
    http_status = 502


class CancelledError(Finetune30Error):
    """The run was asked to stop."""

    code = "cancelled"
    cause = "cancelled"
    exit_code = 130
    http_status = 409


def first_line(error: BaseException) -> str:
    """Return the first line of any error's text, shortened, for the message of an error of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:_LONGEST_LINE]
