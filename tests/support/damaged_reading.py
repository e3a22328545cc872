"""Reading files that may be damaged, in child processes with limits of memory and time, and counting their rows anew.

Run as a script this module is the child: it reads paths, one a line, and answers each with a line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import traceback
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from finetune30.service.datasets.operations import DatasetRequest
    from finetune30.settings import Settings

#: Memory of a child beyond what it takes at its start, and seconds of the processor for one file.
_MEMORY_BYTES = 2 << 30
_SECONDS = 10
LIMITS = f"{_MEMORY_BYTES >> 20} MiB and {_SECONDS} s of the processor a file"
#: Files that one child reads: what libraries keep from file to file is not what is looked for.
_FILES = 2_000
#: Seconds after which a child does not answer any more, on a machine that has much else to do.
_SILENT_SECONDS = 300


class Reader:
    """Asks a child to read files, and starts another one where it ended or hung; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def read(self, path: Path) -> tuple[str, str]:
        """Return what became of a file, in a word that begins with WRONG where it must not be, and the detail."""
        self._count += 1
        if self._count % _FILES == 0:
            self._end()
        child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{path}\n".encode())
        child.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            is_answered = bool(selector.select(_SILENT_SECONDS))
        answer = child.stdout.readline() if is_answered else b""
        if not answer:
            self._end()
            how = f"exit code {child.returncode}" if is_answered else f"no answer within {_SILENT_SECONDS} s"
            return "WRONG: the reader ended or hung", how
        outcome, detail = json.loads(answer)
        return str(outcome), str(detail)

    def _start(self) -> subprocess.Popen[bytes]:
        tests = Path(__file__).resolve().parents[1]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent / "src"), str(tests)])}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "support.damaged_reading"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self._folder, env=environment,
        )  # fmt: skip
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            for stream in (self._child.stdin, self._child.stdout):
                assert stream is not None
                with contextlib.suppress(OSError):
                    stream.close()
            self._child = None


def count_rows(path: Path, tables: list[Any]) -> int | None:
    """Return how many rows a file has by a count of its own; None: there is no simple one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    [first, *others] = tables
    if others or first.format not in ("csv", "tsv", "jsonl", "parquet"):
        return None
    if first.format == "parquet":
        with contextlib.suppress(pa.ArrowException, OSError):
            return int(pq.ParquetFile(path).metadata.num_rows)
        return None
    if path.suffix in (".gz", ".zip"):
        return None
    codec = first.text.codec if first.text else "utf-8-sig"
    text = path.read_bytes().decode(codec)
    if first.format == "jsonl":
        spanning = any("span lines" in note for note in first.notes)
        return None if spanning else sum(bool(line.strip("\ufeff \t\r")) for line in text.split("\n"))
    dialect = first.text.dialect if first.text else None
    if dialect is None or dialect.backslash or dialect.spaced or dialect.comments:
        return None
    mark = dialect.quote if dialect.quoted else ""
    return _count_records(text, dialect.delimiter, mark) - 1 - dialect.declared


def _count_records(text: str, delimiter: str, mark: str) -> int:
    """Count records as RFC 4180 says, where lines may end in CR, LF or both and blank ones are none."""
    count, is_quoted, is_closed, is_blank, at_start = 0, False, False, True, True
    for character in text.replace("\r\n", "\n"):
        if is_quoted:
            is_closed = character == mark
            is_quoted = not is_closed
        elif character in "\r\n":
            count += not is_blank
            is_blank, at_start, is_closed = True, True, False
        else:
            is_quoted = character == mark and (at_start or is_closed)  # two marks in a quoted cell are one
            is_blank, is_closed, at_start = False, False, character == delimiter
    return count + (not is_blank)


@cache
def _defaults() -> tuple[Settings, DatasetRequest]:
    from finetune30.service.datasets.operations import request_of_source
    from finetune30.settings import load_settings

    return load_settings(), request_of_source("a.csv")


def _read(path: Path) -> tuple[str, str]:
    from finetune30.errors import Finetune30Error
    from finetune30.service.datasets.checking import check_rows

    try:
        signal.setitimer(signal.ITIMER_PROF, _SECONDS)  # its signal ends the process
        settings, request = _defaults()
        data = request.data.model_copy(update={"dataset_name": str(path)})
        checked = check_rows(replace(request, data=data), settings, lambda _: None)
        tree = json.dumps(checked.as_dict())
    except Finetune30Error as error:
        json.dumps(error.as_dict())
        if "are accounted" in error.message:
            return "WRONG: lines", error.message
        return f"refused ({error.code})", error.message[:300]
    except BaseException:  # noqa: BLE001 - whatever it is, it is what is looked for
        return "WRONG: traceback", traceback.format_exc()[-1500:]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    tables = checked.loaded.tables
    rows, counted = sum(table.frame.height for table in tables), count_rows(path, tables)
    if counted is not None and rows != counted:
        return "WRONG: count", f"{rows} rows read, {counted} counted; {[table.notes for table in tables]}"
    return f"read{'' if counted is None else ', counted anew'}", tree[:100]


def main() -> None:
    """Answer paths until there are no more; what libraries print goes to standard error."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        _read(Path(__file__))  # imports what it needs before the limit
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + _MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for line in sys.stdin:
            answers.write(json.dumps(_read(Path(line.rstrip("\n")))) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
