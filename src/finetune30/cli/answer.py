"""`ft30 answer`: the process that holds a model for the API. Not for people, who use `ft30 predict` and `ft30 chat`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from finetune30.service.models.open_answers import OpenAnswers
    from finetune30.service.models.predict import LoadedModel


@click.command("answer", hidden=True)
@click.argument("run")
def command(run: str) -> None:
    """Answer every JSON line of standard input with one on standard output.

    A line has texts and text_pairs, or suspects, or test, or certify, or export, or a conversation: chat begins an
    answer, step asks for its next token, leave gives it up.
    """
    import json
    import sys

    from finetune30.errors import Finetune30Error, ServiceUnavailableError, first_line

    held = _Held(run)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            shape = _work_on(run, asked) or held.answer(asked)
        except Finetune30Error as error:
            shape = error.as_dict()
        except Exception as error:  # noqa: BLE001 - whoever asked is told, whatever it is
            shape = ServiceUnavailableError(
                f"the model's process failed: {type(error).__name__}: {first_line(error)}",
                "ask again; if it stays so: ft30 predict RUN TEXT shows why",
            ).as_dict()
        print(json.dumps(shape), flush=True)  # noqa: T201


class _Held:
    """The model of a run, loaded by the first question."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._model: LoadedModel | None = None
        self._answers: OpenAnswers | None = None

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one line."""
        if "chat" in asked:
            return self._open_answers().begin(asked["chat"])
        if "step" in asked:
            return self._open_answers().step(asked["step"])
        if "leave" in asked:
            return self._open_answers().leave(asked["leave"])
        return self._predict(asked)

    def _load(self) -> LoadedModel:
        from finetune30.service.models.predict import load_model
        from finetune30.settings import load_settings

        if self._model is None:
            settings = load_settings()
            self._model = load_model(settings, None, self._run, settings.answer_device)
        return self._model

    def _open_answers(self) -> OpenAnswers:
        from finetune30.service.models.open_answers import OpenAnswers

        if self._answers is None:
            self._answers = OpenAnswers(self._load(), self._run)
        return self._answers

    def _predict(self, asked: dict[str, Any]) -> dict[str, Any]:
        from finetune30.data.questions import Question, require_sides
        from finetune30.service.models.predict import answer_questions

        pairs = asked["text_pairs"] or [None] * len(asked["texts"])
        model = self._load()
        questions = [Question(*both) for both in zip(asked["texts"], pairs, strict=True)]
        require_sides(model.asked, questions, give="give text_pairs, as many as texts", leave="leave text_pairs out")
        return {"answers": [answer.as_dict() for answer in answer_questions(model, questions)]}


def _work_on(run: str, asked: dict[str, Any]) -> dict[str, Any] | None:
    """Return what came of a work that leaves its result on record; None: it is a question to the model."""
    if "suspects" in asked:
        return _search_suspects(run, asked["suspects"]["folds"])
    if "certify" in asked:
        return _certify(asked["certify"]["version"], asked["certify"]["by"])
    if "export" in asked:
        return _export(run, Path(asked["export"]["record"]), overwrite=asked["export"]["overwrite"])
    return _look_at_test_rows(run, **asked["test"]) if "test" in asked else None


def _certify(name: str, by: str) -> dict[str, str]:
    """Check a version on behalf of whoever registered it over the API."""
    from finetune30.service.datasets.operations import versions_of
    from finetune30.service.registry.certifying import certify_version
    from finetune30.service.registry.registering import load_version
    from finetune30.service.runs.open_records import open_records
    from finetune30.settings import load_settings

    settings = load_settings()
    with open_records(settings) as records:
        version = load_version(records, name)
        return {"state": certify_version(records, version, versions_of(settings, records.store), actor=by).state}


def _export(run_id: str, record: Path, *, overwrite: bool) -> dict[str, str]:
    """Make the export of a run that is on record, and say there how far it is; it ends with whoever asked."""
    from finetune30.jobs.parent_watch import die_with_parent
    from finetune30.service.exports.asked import load_asked, note_stage
    from finetune30.service.exports.export import export_model
    from finetune30.settings import load_settings

    die_with_parent(os.getppid())
    asked = load_asked(record)
    assert asked is not None  # noqa: S101 - it is put on record before it is asked for
    made = export_model(
        load_settings(),
        None,
        run_id,
        asked.form,
        lambda line: note_stage(record, line),
        overwrite=overwrite,
        accepted_gap=asked.accepted_gap,
        by=asked.by,
        into=asked.into,
        precision=asked.precision,
        called=asked.called,
    )
    return {"folder": made.folder.name}


def _look_at_test_rows(run: str, by: str, counts: list[int], other: str | None) -> dict[str, list[int]]:
    """Open the test rows of one run, or of two, for whoever asked the API, unless somebody else has taken that look."""
    from finetune30.service.testing.admission import LookTakenError
    from finetune30.service.testing.look import look_at_test_rows
    from finetune30.service.testing.pairing import compare_on_test_rows
    from finetune30.settings import load_settings

    with contextlib.suppress(LookTakenError):
        if other is None:
            look_at_test_rows(load_settings(), run, lambda _: None, by=by, count=counts[0])
        else:
            compare_on_test_rows(load_settings(), (run, other), lambda _: None, by=by, counts=counts)
    return {"looks": counts}


def _search_suspects(run_name: str, folds: int | None) -> dict[str, int]:
    """Rank the training rows of a run and keep the ranking in its folder."""
    from finetune30.service.runs.open_records import open_records
    from finetune30.service.suspects.search import save_suspects
    from finetune30.service.suspects.suspects import find_suspects
    from finetune30.settings import load_settings

    settings = load_settings()
    found = find_suspects(settings, run_name, lambda _: None, folds=folds)
    with open_records(settings) as records:
        folder = records.require_folder(records.store.get(found.run_id)).path
    save_suspects(found.rows, found.facts, folder)
    return {"suspects": int(found.rows["is_suspect"].sum())}
