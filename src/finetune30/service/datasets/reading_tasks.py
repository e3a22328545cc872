"""What a process that reads data for the API can be asked (see `reading_process`)."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from finetune30.config.loading import LoadedConfig, validate_tree
from finetune30.errors import DataError, Finetune30Error
from finetune30.settings import Settings, load_settings

#: Reading gives way to whoever asks quick questions.
_NICENESS = 5


def answer_question(asked: TextIO, answered: BinaryIO) -> None:
    """Read one question (a JSON line), write its answer (JSON); end when the asker goes away meanwhile.

    Whatever goes wrong is an answer too: what nobody expected is a DataError that names the data, and goes to standard
    error whole.
    """
    _give_way()
    question = json.loads(asked.readline())
    threading.Thread(target=_end_with, args=(asked,), daemon=True).start()
    task, name = question.pop("task"), question.pop("name")
    try:
        answer = TASKS[task](load_settings(), name, **question)
        content = json.dumps(answer).encode()
    except Finetune30Error as error:
        content = json.dumps(error.as_dict()).encode()
    except Exception as error:  # noqa: BLE001 - whatever a file can bring about is said of that file
        traceback.print_exc()
        found = " ".join(str(error).split())[:200]
        reason = f"{type(error).__name__}: {found}" if found else type(error).__name__
        shape = DataError(
            f"{name} cannot be read as data ({reason})",
            "look at it with: ft30 data validate FILE; the log of the API says more",
        )
        content = json.dumps(shape.as_dict()).encode()
    answered.write(content)
    answered.flush()


def _give_way() -> None:
    """Let others have the processor first, and the system take this process first when memory runs out."""
    os.nice(_NICENESS)
    with suppress(OSError):  # there is no such file but on Linux
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_with(asker: TextIO) -> None:
    """End this process when the other end of the pipe is closed."""
    while asker.read(1):
        pass
    os._exit(1)


def read_upload(
    _settings: Settings, name: str, path: str, encoding: str | None = None, sheet: str | None = None
) -> dict[str, Any]:
    """Return columns and number of rows of a file; `encoding` and `sheet` are what data.encoding and data.sheet say.

    Of an archive with several splits those of the training rows. Raises DataError and DataFileError.
    """
    from finetune30.data.sources.options import FileOptions
    from finetune30.data.sources.resolve import TRAIN, load_local

    tables = load_local(Path(path), FileOptions(encoding, sheet), name)[TRAIN]
    return {"columns": tables[0].columns, "rows": sum(table.frame.height for table in tables)}


def read_preview(settings: Settings, _name: str, config: Mapping[str, Any], explicit: Sequence[str]) -> dict[str, Any]:
    """Return what `preview_data` shows of a configuration's data; `explicit` names the dotted keys that were given."""
    from finetune30.service.datasets.preview import preview_data

    return preview_data(LoadedConfig(validate_tree(dict(config)), frozenset(explicit)), settings)


def read_tokens(
    settings: Settings, _name: str, config: Mapping[str, Any], explicit: Sequence[str], row: str | None
) -> dict[str, Any]:
    """Return one row of a configuration's data, token by token (see `view_tokens`)."""
    from finetune30.service.datasets.fetch_limit import limit_fetching
    from finetune30.service.datasets.token_view import view_tokens

    loaded = LoadedConfig(validate_tree(dict(config)), frozenset(explicit))
    limit = limit_fetching(settings.max_fetch_bytes)
    return view_tokens(loaded, row, settings, lambda _: None, limit).as_dict()


def read_proposal(settings: Settings, _name: str, config: Mapping[str, Any], **_explicit: Any) -> dict[str, Any]:
    """Return what a configuration's data are and the settings that they want (see `propose_settings`)."""
    from finetune30.service.datasets.proposal import propose_settings

    return propose_settings(validate_tree(dict(config)), settings)


def read_report(settings: Settings, _name: str, digest: str) -> dict[str, Any]:
    """Return the report of a version (see `report_version`)."""
    from finetune30.service.datasets.version_report import report_version

    return report_version(digest, settings)


def read_version(
    settings: Settings, _name: str, config: Mapping[str, Any], explicit: Sequence[str], note: str
) -> dict[str, Any]:
    """Store all rows of a configuration's data as a version; return digest, rows, `is_new` and `replaced`."""
    from finetune30.service.datasets.fetch_limit import limit_fetching
    from finetune30.service.datasets.operations import DatasetRequest, create_version

    asked = validate_tree(dict(config))
    whole = DatasetRequest(asked.data, problem_type=asked.model.problem_type, explicit=frozenset(explicit))
    limit = limit_fetching(settings.max_fetch_bytes)
    stored = create_version(whole, settings, lambda _: None, note=note, on_transfer=limit)
    facts = {"digest": stored.manifest.digest, "rows": stored.manifest.rows}
    return {**facts, "is_new": stored.is_new, "replaced": stored.replaced}


def read_questions(
    settings: Settings,
    name: str,
    path: str,
    run: str,
    encoding: str | None,
    sheet: str | None,
    named: Mapping[str, str | None],
    limit: int,
) -> dict[str, Any]:
    """Return the first rows of a file as questions to a run's model, and how they were read.

    Raises ConflictError (no model), DataError and DataFileError.
    """
    from finetune30.data.questions import read_question_file
    from finetune30.data.sources.options import FileOptions
    from finetune30.service.runs.asked_texts import describe_texts

    asked = describe_texts(settings, None, run)
    read = read_question_file(Path(path), asked, named, FileOptions(encoding, sheet), name=name)
    questions = [
        {"row_id": asking.row_id, "text": asking.text, "text_pair": asking.text_pair, "columns": dict(asking.others)}
        for asking in read.questions[:limit]
    ]
    facts = {"rows": len(read.questions), "columns": list(read.available), "read": dict(read.columns)}
    return {"questions": questions, **facts, "reads_pairs": asked.reads_pairs, "notes": list(read.notes)}


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "upload": read_upload,
    "preview": read_preview,
    "tokens": read_tokens,
    "proposal": read_proposal,
    "report": read_report,
    "version": read_version,
    "questions": read_questions,
}


def main(more: Mapping[str, Callable[..., dict[str, Any]]]) -> None:
    """Answer on what is standard output now; whatever else is printed goes to standard error.

    `more` are tasks of other rooms, which work with data too.
    """
    TASKS.update(more)
    with os.fdopen(os.dup(1), "wb") as answered:
        os.dup2(2, 1)
        answer_question(sys.stdin, answered)
    sys.stderr.flush()
    os._exit(0)  # without waiting for threads of libraries
