"""TLS to Redis, for every library that connects: one reading of a rediss:// address."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from finetune30.errors import ConfigError

_VERIFICATION = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")


def split_tls(url: str) -> tuple[str, dict[str, Any]]:
    """Return a Redis URL without its TLS options, and these as redis-py names them; none for redis://.

    With rediss:// the certificate is verified against the system's authorities, or those of `ssl_ca_certs=FILE`, unless
    `ssl_cert_reqs=none` is given. Raises ConfigError for another value.
    """
    parts = urlsplit(url)
    if parts.scheme != "rediss":
        return url, {}
    given = dict(parse_qsl(parts.query))
    wanted = given.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if wanted not in _VERIFICATION:
        raise ConfigError(
            f"FT30_REDIS_URL: ssl_cert_reqs={given['ssl_cert_reqs'][:40]!r} is not known",
            f"allowed: {', '.join(_VERIFICATION)}",
        )
    checked = wanted != "none" and given.get("ssl_check_hostname", "true").lower() not in ("false", "0", "no")
    options = {"ssl_cert_reqs": _VERIFICATION[wanted], "ssl_check_hostname": checked}
    return urlunsplit(parts._replace(query="")), options | {name: given[name] for name in _FILES if name in given}
