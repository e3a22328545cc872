"""`ft30 answer`: the process that holds a model for the API. Not for people, who use `ft30 predict`."""

from __future__ import annotations

import click


@click.command("answer", hidden=True)
@click.argument("run")
def command(run: str) -> None:
    """Answer every JSON line of standard input (texts and text_pairs, or suspects) with one on standard output."""
    import json
    import sys

    from finetune30.data.questions import Question, require_sides
    from finetune30.errors import Finetune30Error
    from finetune30.service.models.predict import answer_questions, load_model
    from finetune30.settings import load_settings

    model = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if "suspects" in asked:
                print(json.dumps(_search_suspects(run, asked["suspects"]["folds"])), flush=True)  # noqa: T201
                continue
            pairs = asked["text_pairs"] or [None] * len(asked["texts"])
            model = model or load_model(load_settings(), None, run)
            questions = [Question(*both) for both in zip(asked["texts"], pairs, strict=True)]
            require_sides(
                model.asked, questions, give="give text_pairs, as many as texts", leave="leave text_pairs out"
            )
            answers = [answer.as_dict() for answer in answer_questions(model, questions)]
            shape = {"answers": answers}
        except Finetune30Error as error:
            shape = error.as_dict()
        print(json.dumps(shape), flush=True)  # noqa: T201


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
