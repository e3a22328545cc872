"""What went wrong between here and the hub, told apart by kind: each has words of its own and a remedy that is true.

Only `HubUnavailableError` means that nobody answered; everything else is an answer and never leads to a stand-in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from finetune30.errors import (
    Finetune30Error,
    HubAccessError,
    HubAnswerError,
    HubBusyError,
    HubNotFoundError,
    HubUnavailableError,
    first_line,
)
from finetune30.hub.names import NAME_KEYS, REVISION_KEYS, WORDS, Kind
from finetune30.hub.reach import hub_endpoint, unreachable_reason


@contextmanager
def hub_faults(kind: Kind, name: str, revision: str | None) -> Iterator[None]:
    """Turn what the hub's client raises into one of our errors."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except (httpx2.HTTPError, errors.OfflineModeIsEnabled) as error:  # the client's errors for answers are HTTPErrors
        response = getattr(error, "response", None)
        if response is None:
            raise _explain_silence(kind, name, error) from error
        raise _explain_answer(kind, name, revision, error, response) from error
    except errors.HFValidationError as error:
        raise not_a_name(kind, name) from error
    except errors.LocalTokenNotFoundError as error:
        raise HubAccessError(f"the token of the hub is missing: {first_line(error)}", _LOGIN) from error
    except (errors.LocalEntryNotFoundError, errors.FileMetadataError) as error:
        if isinstance(cause := error.__cause__, httpx2.HTTPError | OSError) and not isinstance(
            cause, errors.FileMetadataError
        ):
            with hub_faults(kind, name, revision):
                raise cause from None
        raise no_hub(first_line(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # a page that is no answer of a hub
        raise no_hub(first_line(error)) from error


def unavailable(kind: Kind, name: str, reason: str | None = None) -> HubUnavailableError:
    """Return the error for something that lies neither here nor, since nobody answers, anywhere else."""
    return HubUnavailableError(
        f"the {WORDS[kind]} {name!r} is not cached on this machine and {reason or unreachable_reason()}",
        {
            "model": "go online once, name a local folder, or use the starter: --preset starter",
            "dataset": "connect and try again, name a local file, or use the data that comes along: starter",
        }[kind],
        details={NAME_KEYS[kind].partition(".")[2]: name},
    )


def not_a_name(kind: Kind, name: str) -> HubNotFoundError:
    """Return the error for a name that no repository can have."""
    return HubNotFoundError(
        f"{NAME_KEYS[kind]}: {name!r} is neither a file or folder here nor a name that the hub can have",
        f"check {NAME_KEYS[kind]}: names of the hub look like namespace/name",
    )


def no_hub(found: str) -> HubAnswerError:
    """Return the error for an answer that is not a hub's: a login page of the network, a wrong mirror."""
    return HubAnswerError(
        f"what answers at {hub_endpoint()} is not the hub: {found}",
        "log in to this network in a browser where it asks for that, or check HF_ENDPOINT and the proxy",
    )


_TOKEN_REFUSED = "Invalid credentials in Authorization header"  # noqa: S105 - a message
_LOGIN = "set HF_TOKEN to a valid token, or log in with: hf auth login"


def _explain_silence(kind: Kind, name: str, error: Exception) -> Finetune30Error:
    import httpx2

    said = first_line(error)
    if isinstance(error, httpx2.ConnectError) and any(word in said for word in ("SSL", "TLS")) and "CERT" not in said:
        return no_hub(f"it does not speak https ({said})")
    if "certificate" in said.lower():
        return HubAnswerError(
            f"the certificate of {hub_endpoint()} is not accepted: {said}",
            "name the authority of your network's proxy in SSL_CERT_FILE, or check the clock of this machine",
        )
    return unavailable(kind, name)


def _explain_answer(kind: Kind, name: str, revision: str | None, error: Exception, response: Any) -> Finetune30Error:
    from huggingface_hub import errors

    status, word = response.status_code, WORDS[kind]
    if isinstance(error, errors.GatedRepoError):
        page = f"{hub_endpoint()}/{'datasets/' if kind == 'dataset' else ''}{name}"
        return HubAccessError(
            f"{word} {name!r} is gated on the hub",
            f"ask for access at {page}, then set HF_TOKEN to a token of that account",
        )
    if isinstance(error, errors.DisabledRepoError):
        return HubAccessError(f"{word} {name!r} has been disabled on the hub", f"choose another {word}")
    if isinstance(error, errors.RevisionNotFoundError):
        return HubNotFoundError(
            f"{word} {name!r} has no revision {revision!r} on the hub",
            f"set {REVISION_KEYS[kind]} to one of its branches, tags or commits, or to null for the newest",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return _not_found(kind, name)
    if status == 401 and response.headers.get("X-Error-Message") != _TOKEN_REFUSED:
        return _not_found(kind, name)  # what the hub answers for whatever a visitor may not see
    if status == 401:
        return HubAccessError(
            "the hub does not accept the token that is set",
            "set HF_TOKEN to a valid token, or unset it; log in with: hf auth login",
        )
    if status == 403:
        return HubAccessError(
            f"the hub does not let this token read {word} {name!r}", "use a token with read access to it: HF_TOKEN"
        )
    if status == 429:
        return _busy(response)
    if status == 404:
        return no_hub(f"it answers 404 for {response.url.path}")
    return HubAnswerError(
        f"the hub answers {status} for {word} {name!r}",
        "try again later, or name a mirror in HF_ENDPOINT",
        details={"status": status},
    )


def _not_found(kind: Kind, name: str) -> HubNotFoundError:
    from huggingface_hub import get_token

    remedy = f"check {NAME_KEYS[kind]}; a private one needs HF_TOKEN, or: hf auth login"
    if get_token():
        remedy = f"check {NAME_KEYS[kind]}; the token that is set may not see a private one"
    there = "folder" if kind == "model" else "file or folder"
    return HubNotFoundError(f"{name!r} is neither a {there} here nor a {WORDS[kind]} on the hub", remedy)


def _busy(response: Any) -> HubBusyError:
    from huggingface_hub import get_token

    seconds = retry_after(response)
    wait = "later" if seconds is None else f"in {seconds:.0f} s"
    return HubBusyError(
        "the hub answers 429: too many requests from here",
        f"try again {wait}" if get_token() else f"try again {wait}; with HF_TOKEN the hub allows more",
        details={} if seconds is None else {"retry_after_seconds": seconds},
    )


def retry_after(response: Any) -> float | None:
    """Return the seconds that an answer asks to wait, by the hub's own header or the usual one, if it does."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    limits = parse_ratelimit_headers(response.headers)
    if limits is not None and limits.remaining == 0:
        return float(limits.reset_in_seconds)
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:
        return None
