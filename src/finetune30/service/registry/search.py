"""Looking for models: by base model, script of the texts, problem, tags of the runs, and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune30.errors import NotFoundError
from finetune30.service.runs.open_records import Records
from finetune30.store.model_records import Model, ModelVersion
from finetune30.store.model_registry import find_models
from finetune30.store.queries import name_key


@dataclass(frozen=True)
class ModelQuery:
    """What a version must have, all of it; None and "" ask for nothing.

    `base` is part of the base model's name, `script` one in which evaluation rows are written (Latin, Han …), `tag` one
    of the run's tags, `text` words that stand in the names of model, run, data, base and labels or in the run's note.
    """

    base: str | None = None
    script: str | None = None
    problem: str | None = None
    tag: str | None = None
    text: str | None = None


def search_models(records: Records, query: ModelQuery) -> list[dict[str, Any]]:
    """Return the models with a version that has all that is asked for, as `Model.as_dict`, with those versions only."""
    found = []
    for model in find_models(records.store):
        kept = [version for version in model.versions if _fits(records, model, version, query)]
        if kept or (query == ModelQuery()):
            shown = {version.number for version in kept}
            tree = model.as_dict()
            found.append({**tree, "versions": [one for one in tree["versions"] if one["number"] in shown]})
    return found


def _fits(records: Records, model: Model, version: ModelVersion, query: ModelQuery) -> bool:
    facts = version.facts
    try:
        run = records.store.get(version.run_id)
        tags, note = run.tags, run.note
    except NotFoundError:  # only whoever changes the database itself can remove it
        tags, note = (), ""
    texts = (model.name, facts["run_name"], facts["data"]["name"], facts["base"]["name"], note, *facts["labels"])
    return (
        _holds(facts["base"]["name"], query.base)
        and (not query.script or query.script.lower() in {script.lower() for script in facts["data"]["scripts"]})
        and (not query.problem or query.problem == model.problem_type)
        and (not query.tag or query.tag in tags)
        and all(any(_holds(text, word) for text in texts) for word in _words(query.text))
    )


def _holds(text: str, wanted: str | None) -> bool:
    return not wanted or name_key(wanted) in name_key(text)


def _words(text: str | None) -> Sequence[str]:
    return (text or "").split()
