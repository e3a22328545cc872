"""Which requests any process of the API answers; all others belong to the first one.

Any process answers what the database, the files of runs and the settings tell. What an API has only once stays with its
first process: models that answer, searches for suspects, places for reading data, the shares of event streams, tables
that are kept for the next page. A route that is not named here is answered by the first process.
"""

from __future__ import annotations

import re

_TARGETS = (
    r"(?:GET|HEAD) /(?:healthz|readyz|status|version|me|metrics)",
    r"GET /experiments(?:/[^/?\s]+(?:/(?:history|logs|config|report))?)?",
    r"GET /task/[^/?\s]+",
    r"GET /config/(?:schema|default|presets(?:/[^/?\s]+)?)",
    r"POST /(?:train|config/validate|config/estimate)",
)
_LINE = re.compile(rf"(?:{'|'.join(_TARGETS)})(?:\?\S*)? HTTP/1\.[01]\r?".encode())


def is_answered_anywhere(request_line: bytes) -> bool:
    """Tell it of the first line of a request, as it came, without its line feed; what is no such line belongs to the
    first process."""
    return _LINE.fullmatch(request_line) is not None
