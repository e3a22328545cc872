"""How values look: numbers with units, local times, and text from elsewhere that must stay text."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

NOTHING = "–"
LONGEST_TEXT = 300

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=@])")
_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def plain(text: Any, limit: int = LONGEST_TEXT) -> str:
    """Return text for places where Streamlit reads Markdown (labels, messages): every sign of it is escaped."""
    return _MARKDOWN.sub(r"\\\1", raw(text, limit)).replace("\n", " ")


def plain_lines(text: Any, limit: int = LONGEST_TEXT) -> str:
    """Return text of several lines for places where Streamlit reads Markdown, with lines and indentation kept."""
    return "  \n".join(_keep_indentation(plain(line, limit)) for line in str(text)[:limit].splitlines())


def raw(text: Any, limit: int = LONGEST_TEXT) -> str:
    """Return text for places without Markdown: no control or direction-changing characters, not endless."""
    shown = str(text)[: limit + 1]
    if not shown.isprintable():  # what is printable is harmless, and nearly all that is shown
        shown = "".join(filter(_is_harmless, shown))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def file_name(value: Any) -> str:
    """Return the last part of a path of files that the API keeps, anything else as it is."""
    text = str(value or NOTHING)
    return text.replace("\\", "/").rstrip("/").rpartition("/")[2] if "uploads" in re.split(r"[/\\]", text) else text


def number(value: Any, digits: int = 4) -> str:
    """Return a number with so many significant digits, thousands separated."""
    if not _is_number(value):
        return NOTHING
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"


def percent(value: Any) -> str:
    """Return a share (0-1) as per cent."""
    return f"{100 * value:.1f} %" if _is_number(value) else NOTHING


def rate(value: Any) -> str:
    """Return a small number such as a learning rate."""
    return f"{value:.3g}" if _is_number(value) else NOTHING


def size(value: Any) -> str:
    """Return bytes in the unit that people read."""
    if not _is_number(value):
        return NOTHING
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:,.3g} TB"


def duration(seconds: Any, say: Callable[..., str]) -> str:
    """Return seconds as `3.2 s`, `4 min 05 s` or `2 h 10 min`; `say` gives a text of the page by its key."""
    if not _is_number(seconds) or seconds < 0:
        return NOTHING
    if seconds < 60:
        return say("unit.seconds", seconds=f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return say("unit.minutes", minutes=minutes, seconds=f"{rest:02d}")
    hours, minutes = divmod(minutes, 60)
    return say("unit.hours", hours=hours, minutes=f"{minutes:02d}")


def moment(value: Any) -> datetime | None:
    """Return an ISO 8601 text as an aware moment."""
    try:
        parsed = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def find_zone(name: str | None) -> ZoneInfo:
    """Return a time zone by its name; UTC for none, and for one that nothing here knows."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def local_time(value: Any, zone: str | None) -> str:
    """Return an ISO 8601 moment in a time zone such as Asia/Taipei."""
    at = moment(value)
    return at.astimezone(find_zone(zone)).strftime("%Y-%m-%d %H:%M:%S") if at else NOTHING


def clock_in(seconds: float, zone: str | None, now: datetime | None = None) -> str:
    """Return what a clock in a time zone says in so many seconds, with the date where that is another day."""
    here = (now or datetime.now(UTC)).astimezone(find_zone(zone))
    then = here + timedelta(seconds=seconds)
    return then.strftime("%H:%M" if then.date() == here.date() else "%Y-%m-%d %H:%M")


def utc_time(value: Any) -> str:
    """Return an ISO 8601 moment in UTC, with its unit."""
    at = moment(value)
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at else NOTHING


def save_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Return CSV (UTF-8 with mark, for spreadsheets) in which no cell is taken for a formula."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([_without_formula(column) for column in columns])
    for row in rows:
        writer.writerow([_without_formula(cell) for cell in row])
    return b"\xef\xbb\xbf" + buffer.getvalue().encode()


def _keep_indentation(line: str) -> str:
    """Return a line whose first blanks do not break: four blanks make code of a line, in which escapes would show."""
    bare = line.lstrip()
    return line[: len(line) - len(bare)].replace("\t", "    ").replace(" ", "\N{NO-BREAK SPACE}") + bare


def _without_formula(cell: Any) -> Any:
    if isinstance(cell, str) and cell.lstrip(" ").startswith(_STARTS_FORMULA):
        return "'" + cell
    return "" if cell is None else cell


def _is_harmless(character: str) -> bool:
    return character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
